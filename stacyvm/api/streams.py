"""Answers that are sent while they come into being."""

import asyncio
import json
import logging
from codecs import IncrementalDecoder
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiohttp import web

from stacyvm.domain.errors import StacyError

log = logging.getLogger(__name__)

# Bytes that JSON text holds as they are, or with a two-letter escape.
_PLAIN = bytes(range(0x20, 0x7F)) + b"\t\n\r"

# Seconds a reader may take no byte before it counts as gone.
STALL_TIMEOUT = 300.0


class LineWriter:
    """The one NDJSON writer: ASCII lines, one write each, and blank lines in times of silence.

    A slow reader makes ``send`` wait, and so whatever feeds it; nothing piles up here.
    """

    def __init__(self, response: web.StreamResponse) -> None:
        self.response = response
        self._clock = asyncio.get_running_loop().time
        self._last = self._clock()  # when something was last sent
        self._sending = False

    async def send(self, record: Mapping[str, Any]) -> None:
        """Send one line.

        Raises:
            ConnectionError: The reader is gone, or takes nothing any more.
        """
        await self._write(json.dumps(record, separators=(",", ":")).encode("ascii") + b"\n")

    async def send_output(self, stream: str, data: bytes, decoder: IncrementalDecoder) -> None:
        """Send a piece of output as a line; a character cut at its end waits for the next piece.

        Raises:
            ConnectionError: As ``send``.
        """
        if data and not decoder.getstate()[0] and not data.translate(None, _PLAIN):
            # Most output is plain text, which this turns to JSON ten times faster than ``json``.
            text = data.replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"\n", b"\\n")
            text = text.replace(b"\t", b"\\t").replace(b"\r", b"\\r")
            head = b'{"stream":"%b","data":"' % stream.encode("ascii")
            await self._write(b"".join((head, text, b'"}\n')))  # `%` copies many times slower
        elif characters := decoder.decode(data):
            await self.send({"stream": stream, "data": characters})

    async def beat(self, interval: float) -> None:
        """Send a blank line after every ``interval`` seconds without any other, for ever."""
        while True:
            await asyncio.sleep(max(self._last + interval - self._clock(), 0.001))
            if not self._sending and self._clock() - self._last >= interval:
                await self._write(b"\n")

    async def _write(self, line: bytes) -> None:
        self._sending = True
        try:
            await write(self.response, line)
        finally:
            self._sending = False
            self._last = self._clock()


@asynccontextmanager
async def ndjson(request: web.Request, *, heartbeat: float) -> AsyncIterator[LineWriter]:
    """Begin an NDJSON answer; it is ended properly when the block ends without an error."""
    response = web.StreamResponse(
        headers={"Content-Type": "application/x-ndjson", "Cache-Control": "no-cache"}
    )
    response.headers["X-Accel-Buffering"] = "no"  # else nginx holds lines back
    await response.prepare(request)
    writer = LineWriter(response)
    beats = asyncio.create_task(writer.beat(heartbeat), name="heartbeat")
    try:
        yield writer
    finally:
        beats.cancel()
        with suppress(asyncio.CancelledError, ConnectionError):
            await beats
    await response.write_eof()


async def send_body(
    request: web.Request, response: web.StreamResponse, chunks: AsyncIterator[bytes]
) -> web.StreamResponse:
    """Send a body whose source may yet fail; then the connection is cut.

    A cut is the only honest end once the status has gone out: the reader must not take a part for
    the whole.
    """
    await response.prepare(request)
    try:
        async for chunk in chunks:
            await write(response, chunk)
        await response.write_eof()
    except StacyError as error:
        log.warning("answer to %s cut short: %s", request.rel_url.raw_path, error)
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionError(error.message) from error
    return response


async def write(response: web.StreamResponse, data: bytes) -> None:
    """Send bytes, waiting for a slow reader, but not for one who has stopped for good.

    Raises:
        ConnectionError: The reader is gone, or takes nothing any more.
    """
    try:
        async with asyncio.timeout(STALL_TIMEOUT):
            await response.write(data)
    except TimeoutError as error:
        raise ConnectionError(f"the reader took nothing for {STALL_TIMEOUT:g} seconds") from error
