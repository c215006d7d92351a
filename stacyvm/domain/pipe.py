"""The byte pipe a provider gives: all that the rest of stacyvm knows of a sandbox."""

from typing import Protocol


class Pipe(Protocol):
    """Two byte streams to the agent, in order and without loss.

    One reader and one writer at a time. Both ends may vanish at any moment.
    """

    async def read(self) -> bytes:
        """Return the next bytes from the agent; ``b""``, for ever, once its side is gone."""
        ...

    async def write(self, data: bytes) -> None:
        """Send all of ``data``; waits while the pipe is full.

        Raises:
            ChannelClosedError: The other side is gone.
        """
        ...

    def write_now(self, data: bytes) -> bool:
        """Send all of ``data`` if nothing waits to be sent yet; else, or if it is gone, False.

        To be called only while no ``write`` is under way.
        """
        ...

    async def close(self) -> None:
        """Let go of the pipe. Does not end the sandbox. Idempotent."""
        ...

    def last_words(self) -> str:
        """Return the end of what the agent wrote to its standard error, for error messages."""
        ...
