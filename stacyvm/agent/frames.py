"""The frame codec and the protocol's numbers; the server's channel imports them too.

It stands on the C half of ``json`` where it can: the rest of that package is regular expressions
for error messages, and importing them costs more than everything else the agent does to start.
"""

from __future__ import annotations

import binascii

try:
    from _json import encode_basestring_ascii, make_encoder, make_scanner
except ImportError:  # an interpreter without the accelerator
    from json.decoder import JSONDecoder
    from json.encoder import JSONEncoder

    _decoder, _encoder = JSONDecoder(), JSONEncoder(separators=(",", ":"), allow_nan=False)
    _scan, _text = _decoder.scan_once, _encoder.encode  # type: ignore[attr-defined]
else:

    class _Scanning:
        """What the C scanner reads its settings from."""

        strict = True
        object_hook = None
        object_pairs_hook = None
        parse_float = float
        parse_int = int
        memo: dict[str, str] = {}  # noqa: RUF012 - the scanner's own cache of keys

        @staticmethod
        def parse_constant(name: str) -> object:
            raise ValueError(f"{name} is not JSON")

    def _refuse(value: object) -> object:
        raise TypeError(f"{type(value).__name__} is not JSON")

    _scan = make_scanner(_Scanning())  # type: ignore[arg-type]
    _pieces = make_encoder(
        None, _refuse, encode_basestring_ascii, None, ":", ",", False, False, False
    )

    def _text(o: object) -> str:
        return "".join(_pieces(o, 0))


PROTOCOL = 1
VERSION = "0.1.0"
MAX_FRAME = 1 << 20  # bytes of one line, newline included
MAX_CHUNK = 256 << 10  # raw bytes in one frame
DEFAULT_WINDOW = 1 << 20  # raw bytes unacknowledged, per request and direction
MAX_WINDOW = 8 << 20

Frame = dict[str, object]


def encode(frame: Frame) -> bytes:
    """Return ``frame`` as one line."""
    return _text(frame).encode("ascii") + b"\n"


# Bytes that JSON text holds as they are, or with a two-letter escape.
_PLAIN = bytes(range(0x20, 0x7F)) + b"\t\n\r"


def encode_data(request_id: int, fd: int, data: bytes) -> bytes:
    """Return the line of a ``data`` event; several times faster than ``encode``.

    Plain text goes as ``text``, which is shorter than base64 and costs both ends far less; most
    of what programs print is nothing else.
    """
    head = b'{"id":%d,"ev":"data","fd":%d,' % (request_id, fd)
    if data.translate(None, _PLAIN):
        return b"".join((head, b'"data":"', binascii.b2a_base64(data, newline=False), b'"}\n'))
    text = data.replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"\n", b"\\n")
    text = text.replace(b"\t", b"\\t").replace(b"\r", b"\\r")
    return b"".join((head, b'"text":"', text, b'"}\n'))  # `%` copies many times slower


def text_size(text: str) -> int:
    """Return how many bytes ``text`` takes in a frame."""
    return len(_text(text))


def decode(line: bytes) -> Frame:
    """Return the object in ``line``.

    Raises:
        ValueError: It is not exactly one JSON object.
    """
    text = line.decode("ascii").strip(" \t\r")
    try:
        value, end = _scan(text, 0)
    except (StopIteration, RecursionError, SystemError) as error:
        # SystemError: the scanner of 3.11 misses the error class of the package left out above.
        raise ValueError("not JSON") from error
    if end != len(text) or type(value) is not dict:
        raise ValueError("not one JSON object")
    return value


def decode_data(value: object) -> bytes:
    """Return the bytes in the field ``data``.

    Raises:
        ValueError: It is not base64 text, or of more than MAX_CHUNK bytes.
    """
    if type(value) is not str or len(value) > MAX_CHUNK * 4 // 3 + 4:
        raise ValueError("data must be base64 text within the limit")
    data = binascii.a2b_base64(value, strict_mode=True) if value else b""
    if len(data) > MAX_CHUNK:
        raise ValueError(f"data of {len(data)} bytes, limit {MAX_CHUNK}")
    return data


class LineSplitter:
    """Cuts a byte stream into lines, holding at most MAX_FRAME bytes of an unfinished one."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self._skipping = False

    def feed(self, data: bytes) -> list[bytes | None]:
        """Return the lines that ``data`` completes, without newline; None for one too long."""
        first, *rest = data.split(b"\n")
        self._keep(first)
        if not rest:
            return []
        lines: list[bytes | None] = [None if self._skipping else b"".join(self._parts)]
        self._parts, self._size, self._skipping = [], 0, False
        tail = rest.pop()
        lines += [line if len(line) < MAX_FRAME else None for line in rest]
        self._keep(tail)
        return lines

    def _keep(self, part: bytes) -> None:
        if self._skipping or not part:
            return
        self._size += len(part)
        if self._size >= MAX_FRAME:
            self._parts, self._skipping = [], True
        else:
            self._parts.append(part)
