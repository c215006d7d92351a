"""What a stream yields, and the reading of frames that come from hostile territory."""

import binascii
import json
from dataclasses import dataclass
from typing import Any, NoReturn

from stacyvm.agent.frames import MAX_CHUNK
from stacyvm.channel.violation import ProtocolViolationError

_TERMINAL = frozenset({"ok", "error"})
_LARGEST_CREDIT = 2**40


@dataclass(frozen=True, slots=True)
class Data:
    """Bytes of a process (``fd`` 1 or 2) or of a file or archive (``fd`` 1)."""

    fd: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Items:
    """A part of a listing. The items are unchecked JSON values."""

    items: list[Any]


@dataclass(frozen=True, slots=True)
class Info:
    """Facts sent before the data. The values are unchecked JSON values."""

    fields: dict[str, Any]


Event = Data | Items | Info


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_decode = json.JSONDecoder(parse_constant=_refuse_constant).decode


def parse_frame(line: bytes) -> dict[str, Any]:
    """Return the frame in ``line``, with ``id`` an int from 0 on and ``ev`` a str.

    Raises:
        ProtocolViolationError: It is not such a frame.
    """
    try:
        frame = _decode(line.decode("ascii"))
    except (ValueError, RecursionError) as error:
        raise ProtocolViolationError(f"a line that is not JSON: {line[:80]!r}") from error
    if type(frame) is not dict:
        raise ProtocolViolationError("a frame that is not an object")
    if type(frame.get("id")) is not int or frame["id"] < 0 or type(frame.get("ev")) is not str:
        raise ProtocolViolationError("a frame without a proper id and ev")
    return frame


def is_terminal(frame: dict[str, Any]) -> bool:
    """Tell whether ``frame`` ends its request."""
    return frame["ev"] in _TERMINAL


def parse_event(frame: dict[str, Any]) -> Event:
    """Return the event in a frame that is neither terminal nor ``credit``.

    Raises:
        ProtocolViolationError: An unknown event, or one with wrong fields.
    """
    match frame["ev"]:
        case "data":
            return _parse_data(frame)
        case "items":
            if type(items := frame.get("items")) is not list:
                raise ProtocolViolationError("items that are not a list")
            return Items(items)
        case "info":
            return Info({key: value for key, value in frame.items() if key not in {"id", "ev"}})
    raise ProtocolViolationError(f"an unknown event {frame['ev'][:40]!r}")


def parse_credit(frame: dict[str, Any]) -> int:
    """Return the bytes a ``credit`` frame grants.

    Raises:
        ProtocolViolationError: It grants no sensible number.
    """
    count = frame.get("bytes")
    if type(count) is not int or not 0 <= count <= _LARGEST_CREDIT:
        raise ProtocolViolationError("a credit of no sensible size")
    return count


def _parse_data(frame: dict[str, Any]) -> Data:
    fd = frame.get("fd", 1)
    if type(fd) is not int or fd not in {1, 2}:
        raise ProtocolViolationError("a data event with wrong fields")
    data = _plain(frame["text"]) if "text" in frame else _decoded(frame.get("data"))
    if len(data) > MAX_CHUNK:
        raise ProtocolViolationError(f"a chunk of more than {MAX_CHUNK} bytes")
    return Data(fd, data)


def _plain(text: object) -> bytes:
    if type(text) is not str or not text.isascii():
        raise ProtocolViolationError("text that is not ASCII")
    return text.encode("ascii")


def _decoded(text: object) -> bytes:
    if type(text) is not str:
        raise ProtocolViolationError("a data event with wrong fields")
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError as error:
        raise ProtocolViolationError("data that is not base64") from error
