"""Newline-delimited JSON as it comes from an exec stream."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import httpx

from stacyvm_sdk.exceptions import InvalidResponse

# Far above the longest line a server sends; a line beyond it is no exec stream.
MAX_LINE = 64 * 2**20


@dataclass(frozen=True, slots=True)
class StreamChunk:
    """A piece of output. ``stream`` is ``stdout`` or ``stderr``."""

    stream: str
    data: str


class LineSplitter:
    r"""Splits bytes into lines at ``\n`` alone.

    Text splitters (``str.splitlines``, ``httpx.Response.iter_lines``) also cut at U+0085, U+2028
    and others, which may stand inside a JSON string.
    """

    def __init__(self) -> None:
        self._tail: list[bytes] = []
        self._held = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines that ``data`` completes; an unfinished one is kept for the next call.

        Raises:
            InvalidResponse: A line is longer than ``MAX_LINE``.
        """
        *lines, rest = data.split(b"\n")
        if lines:
            lines[0] = b"".join((*self._tail, lines[0]))
            self._tail, self._held = [], 0
        self._tail.append(rest)
        self._held += len(rest)
        if self._held > MAX_LINE:
            raise InvalidResponse(f"a line of the stream is longer than {MAX_LINE} bytes")
        return lines

    def rest(self) -> bytes:
        """Return the last line where no newline ends it."""
        return b"".join(self._tail)


def iter_ndjson(response: httpx.Response) -> Iterator[StreamChunk]:
    """Iterate over the chunks of a streaming response, as StacyVM's own client does.

    Every JSON object is yielded, the final ``exit`` line too; lines that are not JSON are passed
    over. ``Sandbox.exec_stream`` is stricter, and also tells how the command ended.
    """
    lines = LineSplitter()
    for data in response.iter_bytes():
        yield from _read(lines.feed(data))
    yield from _read([lines.rest()])


def _read(lines: list[bytes]) -> Iterator[StreamChunk]:
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            yield StreamChunk(str(event.get("stream", "stdout")), str(event.get("data", "")))
