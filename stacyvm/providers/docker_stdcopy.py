"""Docker's framing of a container's stdout and stderr over one connection."""

from collections.abc import Callable

from stacyvm.domain.errors import ChannelClosedError

_HEADER = 8
_STDOUT, _STDERR = 1, 2


class Demultiplexer:
    """Takes the stream apart as it comes, however it is cut, and holds back at most a header."""

    def __init__(self, stderr: Callable[[bytes], None]) -> None:
        """Give what belongs to stderr to ``stderr``."""
        self._stderr = stderr
        self._header = b""
        self._kind = 0
        self._left = 0  # bytes of the present frame still to come

    def feed(self, data: bytes) -> bytes:
        """Return the bytes of stdout in ``data``.

        Raises:
            ChannelClosedError: This is not Docker's framing.
        """
        out: list[bytes] = []
        at = 0
        while at < len(data):
            if not self._left:
                at = self._read_header(data, at)
                continue
            piece = data[at : at + self._left]
            at += len(piece)
            self._left -= len(piece)
            if self._kind == _STDOUT:
                out.append(piece)
            else:
                self._stderr(piece)
        return out[0] if len(out) == 1 else b"".join(out)

    def _read_header(self, data: bytes, at: int) -> int:
        end = at + _HEADER - len(self._header)
        self._header += data[at:end]
        if len(self._header) == _HEADER:
            self._kind = self._header[0]
            if self._kind not in {_STDOUT, _STDERR} or any(self._header[1:4]):
                raise ChannelClosedError("the engine's attached stream is malformed")
            self._left = int.from_bytes(self._header[4:], "big")
            self._header = b""
        return end
