"""The way out: frames of many requests, batched into few writes."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

from stacyvm.agent.frames import MAX_FRAME
from stacyvm.domain.errors import ChannelClosedError, InvalidRequestError
from stacyvm.domain.pipe import Pipe

_HIGH_WATER = 1 * 2**20
# A healthy agent always reads; one that lets this much pile up does not.
_STALLED = 16 * 2**20

_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def encode_frame(frame: dict[str, Any]) -> bytes:
    """Return the line for ``frame``.

    Raises:
        InvalidRequestError: It is larger than a frame may be, or not JSON.
    """
    try:
        line = _encode(frame).encode("ascii") + b"\n"
    except ValueError as error:
        raise InvalidRequestError(f"invalid input: {error}") from error
    if len(line) > MAX_FRAME:
        raise InvalidRequestError(
            f"invalid input: the request has {len(line)} bytes on its way to the sandbox, "
            f"limit {MAX_FRAME}"
        )
    return line


class FrameWriter:
    """Sends frames without waiting.

    What the pipe takes at once goes at once; the rest is queued, and written in batches from one
    task (``run``).
    """

    def __init__(self, pipe: Pipe, *, failed: Callable[[str], None]) -> None:
        """Write to ``pipe``; call ``failed`` with a reason when that can go on no longer."""
        self._pipe = pipe
        self._failed = failed
        self._frames: list[bytes] = []
        self._size = 0  # bytes queued or being written
        self._ready = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    def post(self, frame: dict[str, Any]) -> None:
        """Send a frame, or queue it.

        Raises:
            InvalidRequestError: The frame is too large.
        """
        line = encode_frame(frame)
        if not self._size and self._pipe.write_now(line):
            return
        self._frames.append(line)
        self._size += len(line)
        self._ready.set()
        if self._size > _HIGH_WATER:
            self._room.clear()
        if self._size > _STALLED:
            self._failed("the agent does not read its input")

    async def room(self) -> None:
        """Wait until less than 1 MiB is queued."""
        while self._size > _HIGH_WATER:
            await self._room.wait()

    def stop(self) -> None:
        """Drop what is queued and let everyone in ``room`` go on."""
        self._frames.clear()
        self._size = 0
        self._room.set()

    async def run(self) -> None:
        """Write until cancelled or the pipe is gone."""
        while True:
            await self._ready.wait()
            self._ready.clear()
            batch = b"".join(self._frames)
            self._frames.clear()
            try:
                await self._pipe.write(batch)
            except ChannelClosedError as error:
                self._failed(error.message)
                return
            self._size -= len(batch)
            if self._size <= _HIGH_WATER:
                self._room.set()
