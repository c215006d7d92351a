"""A pipe over a pair of asyncio streams: what all providers have in common."""

import asyncio

from stacyvm.domain.errors import ChannelClosedError
from stacyvm.providers.tail import Tail

READ_SIZE = 256 * 1024


class StreamPipe:
    """A ``Pipe`` over one connection. Closing it closes the connection and nothing else."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, tail: Tail
    ) -> None:
        """Take over both streams; ``tail`` holds what the agent writes to its standard error."""
        self._reader = reader
        self._writer = writer
        self._tail = tail

    async def read(self) -> bytes:
        """Return the next bytes from the agent, or ``b""`` once its side is gone."""
        try:
            return await self._reader.read(READ_SIZE)
        except OSError:  # a reset connection is as gone as one that ended
            return b""

    async def write(self, data: bytes) -> None:
        """Send all of ``data``; waits while the pipe is full.

        Raises:
            ChannelClosedError: The other side is gone, or the pipe was closed.
        """
        if self._writer.is_closing():
            raise ChannelClosedError("the agent's side of the pipe is gone")
        self._writer.write(data)
        try:
            await self._writer.drain()
        except OSError as error:
            raise ChannelClosedError(
                f"the agent's side of the pipe is gone ({error.__class__.__name__})"
            ) from error

    def write_now(self, data: bytes) -> bool:
        """Send all of ``data`` if nothing waits to be sent yet; else, or if it is gone, False."""
        if self._writer.is_closing() or self._writer.transport.get_write_buffer_size():
            return False
        self._writer.write(data)
        return True

    async def close(self) -> None:
        """Close the connection, dropping what is not yet sent. Idempotent."""
        # A polite close would wait for an agent that may never read again.
        self._writer.transport.abort()
        try:
            await self._writer.wait_closed()
        except OSError:
            return  # it had broken before; it is closed now

    def last_words(self) -> str:
        """Return the end of the agent's standard error as text."""
        return self._tail.text()
