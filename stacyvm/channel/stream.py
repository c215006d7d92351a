"""A request whose answer is many events, and that may take input."""

import asyncio
import binascii
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from stacyvm.agent.frames import MAX_CHUNK
from stacyvm.channel.events import Data, Event
from stacyvm.channel.live import LiveRequest
from stacyvm.channel.writer import FrameWriter
from stacyvm.domain.errors import StacyError


class Stream:
    """One streaming request. Iterate it in one task; send input from that task or one other.

    The agent may be at most a window ahead of the consumer, so a slow consumer stops the process
    and never another stream.
    """

    def __init__(
        self, live: LiveRequest, writer: FrameWriter, call: Callable[..., Awaitable[Any]]
    ) -> None:
        self._live = live
        self._writer = writer
        self._call = call

    @property
    def result(self) -> dict[str, Any]:
        """The ``ok`` frame, once iteration has ended.

        Raises:
            StacyError: The request ended with an error.
        """
        return self._live.result()

    @property
    def ready(self) -> bool:
        """True if the next event, or the end, is there without waiting."""
        return self._live.waiting

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        """Return the next event; the one before counts as consumed.

        Raises:
            StacyError: The agent's error, or ChannelClosedError, after all events that came first.
        """
        live = self._live
        self._give_back()
        while (event := live.take()) is None:
            if live.ended.is_set():
                live.result()
                raise StopAsyncIteration
            await live.arrived.wait()
        if isinstance(event, Data):
            live.unreturned += len(event.data)
        return event

    async def send(self, data: bytes, *, eof: bool = False) -> None:
        """Send input, at the pace at which the agent takes it.

        Input for a request that has ended well is dropped, as a process may end without reading.

        Raises:
            StacyError: The request has ended with an error, or the channel with it.
        """
        view = memoryview(data)
        while view:
            live = self._live
            while not live.credit and not live.ended.is_set():
                live.credited.clear()
                await live.credited.wait()
            await self._writer.room()
            if live.ended.is_set():
                live.result()
                return
            size = min(live.credit, MAX_CHUNK)
            live.credit -= min(size, len(view))
            self._post_input(view[:size], eof=eof and size >= len(view))
            view = view[size:]
        if eof and not data:
            self._post_input(view, eof=True)

    async def signal(self, name: str) -> None:
        """Send a signal such as ``SIGINT`` to the process group.

        Raises:
            StacyError: The agent refuses the signal.
        """
        await self._call("signal", to=self._live.id, signal=name)

    async def cancel(self) -> None:
        """Ask the agent to end the request; its end still arrives by iteration. Idempotent."""
        if not self._live.ended.is_set():
            self._writer.post({"op": "cancel", "to": self._live.id})

    async def settle(self, timeout: float) -> None:
        """Cancel the request unless it has ended, and wait at most ``timeout`` seconds for its end.

        What still arrives is taken and dropped, so that a full window cannot hold the end back.
        """
        if self._live.ended.is_set():
            return
        await self.cancel()
        # How a request ended that its caller has left is nobody's business any more.
        with contextlib.suppress(TimeoutError, StacyError):
            async with asyncio.timeout(timeout):
                async for _ in self:
                    pass

    def _post_input(self, data: memoryview, *, eof: bool) -> None:
        if self._live.ended.is_set():
            return
        text = binascii.b2a_base64(data, newline=False).decode("ascii")
        self._writer.post({"op": "input", "to": self._live.id, "data": text, "eof": eof})

    def _give_back(self) -> None:
        live = self._live
        if not live.ended.is_set() and (count := live.take_credit()):
            self._writer.post({"op": "credit", "to": live.id, "bytes": count})
