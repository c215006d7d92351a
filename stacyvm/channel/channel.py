"""A channel: many requests over one pipe to one agent."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from stacyvm.agent.frames import DEFAULT_WINDOW, MAX_FRAME
from stacyvm.channel.events import parse_frame
from stacyvm.channel.greeting import HELLO_ID, AgentInfo, greet
from stacyvm.channel.lines import LineSplitter
from stacyvm.channel.live import LiveRequest
from stacyvm.channel.stream import Stream
from stacyvm.channel.violation import ProtocolViolationError
from stacyvm.channel.writer import FrameWriter
from stacyvm.domain.errors import (
    AgentError,
    ChannelClosedError,
    DeadlineExceededError,
    StacyError,
)
from stacyvm.domain.pipe import Pipe

_log = logging.getLogger(__name__)

# Operations that may answer with data; only they carry a window.
_WINDOWED = frozenset({"exec", "read", "pack"})
# Frames handled before other tasks get a turn, so a flood of tiny ones cannot hold the loop.
_FRAMES_A_TURN = 256
# Seconds beyond the polite part of a kill to wait for the end of a request that was left.
_SETTLE = 3.0


class Channel:
    """The server's end of the pipe to an agent. Made by ``open``; safe to use from many tasks.

    It closes by itself when the pipe ends or the agent breaks the protocol; all live requests
    then raise ChannelClosedError with the reason.
    """

    def __init__(
        self, pipe: Pipe, info: AgentInfo, splitter: LineSplitter, lines: Sequence[bytes]
    ) -> None:
        self.info = info
        self._pipe = pipe
        self._splitter = splitter
        self._last_id = HELLO_ID
        self._live: dict[int, LiveRequest] = {}
        self._reason = ""
        self._closing: asyncio.Task[None] | None = None
        self._ended = asyncio.Event()
        self._writer = FrameWriter(pipe, failed=self._end)
        self._tasks = (
            asyncio.create_task(self._read(lines), name="channel-read"),
            asyncio.create_task(self._writer.run(), name="channel-write"),
        )

    @classmethod
    async def open(cls, pipe: Pipe, *, lease: float, timeout: float) -> "Channel":
        """Greet the agent and return a channel to it; this ends every former client's requests.

        Args:
            pipe: The channel owns it from now on, and closes it also when this raises.
            lease: Seconds after which the agent ends the sandbox unless renewed.
            timeout: Longest time to wait for the greeting, in seconds.

        Raises:
            AgentError: The agent ended, or is not one this server can talk to.
            DeadlineExceededError: It did not answer in time.
        """
        splitter = LineSplitter(MAX_FRAME)
        try:
            async with asyncio.timeout(timeout):
                info, lines = await greet(pipe, splitter, lease=lease)
        except TimeoutError as error:
            await pipe.close()
            said = _last_words(pipe)
            raise DeadlineExceededError(
                f"the agent did not answer within {timeout:g}s{said}"
            ) from error
        except AgentError as error:
            await pipe.close()
            raise AgentError(
                error.message + _last_words(pipe), agent_code=error.agent_code
            ) from error
        except BaseException:
            await pipe.close()
            raise
        return cls(pipe, info, splitter, lines)

    @property
    def closed(self) -> bool:
        """True once no request can be made any more."""
        return self._closing is not None

    @property
    def reason(self) -> str:
        """Why it closed; empty while it is open."""
        return self._reason

    async def call(self, op: str, /, *, timeout: float = 30.0, **fields: Any) -> dict[str, Any]:
        """Make a request with one answer, and return its ``ok`` frame.

        When the caller is cancelled or the time is over, the agent is told to cancel it too.

        Raises:
            DeadlineExceededError: No answer within ``timeout`` seconds.
            ChannelClosedError: The channel closed before the answer.
            StacyError: What the agent's error means.
        """
        live = self._begin(op, fields, window=0, streams=False)
        try:
            async with asyncio.timeout(timeout):
                await live.ended.wait()
        except TimeoutError as error:
            raise DeadlineExceededError(
                f"the agent did not answer {op} within {timeout:g}s"
            ) from error
        finally:
            self._leave(live)
        return live.result()

    @asynccontextmanager
    async def stream(
        self, op: str, /, *, window: int = DEFAULT_WINDOW, **fields: Any
    ) -> AsyncIterator[Stream]:
        """Make a request with many events.

        Leaving the block before its end cancels it, and waits until the agent says it has ended,
        a few seconds at most.

        Args:
            op: The operation.
            window: Bytes the agent may be ahead of the consumer.
            fields: The operation's own fields.

        Raises:
            ChannelClosedError: The channel is closed.
        """
        if op in _WINDOWED:
            fields["window"] = window
        live = self._begin(op, fields, window=window if op in _WINDOWED else 0, streams=True)
        stream = Stream(live, self._writer, self.call)
        try:
            yield stream
        finally:
            try:
                await stream.settle(_SETTLE + fields.get("grace_ms", 2000) / 1000)
            finally:
                self._live.pop(live.id, None)

    async def renew(self, ttl: float) -> None:
        """Set the agent's lease to ``ttl`` seconds from now.

        Raises:
            StacyError: As ``call``.
        """
        await self.call("lease", ttl_ms=round(ttl * 1000))

    async def wait_closed(self) -> str:
        """Wait until the channel and its pipe are closed, and return the reason."""
        await self._ended.wait()
        await self.close()
        return self._reason

    async def close(self, reason: str = "closed") -> None:
        """Close the channel and its pipe. Idempotent; the first reason stays."""
        self._end(reason)
        if self._closing is not None:
            await asyncio.shield(self._closing)

    def _begin(self, op: str, fields: dict[str, Any], *, window: int, streams: bool) -> LiveRequest:
        if self.closed:
            raise self._closed_error()
        request_id = self._last_id + 1
        path = fields.get("path", fields.get("src", ""))
        live = LiveRequest(request_id, op, path=path, window=window, streams=streams)
        self._live[request_id] = live
        try:
            self._writer.post({"id": request_id, "op": op, **fields})
        except BaseException:
            del self._live[request_id]
            raise
        self._last_id = request_id
        return live

    def _leave(self, live: LiveRequest) -> None:
        if self._live.pop(live.id, None) and not live.ended.is_set() and not self.closed:
            self._writer.post({"op": "cancel", "to": live.id})

    async def _read(self, lines: Sequence[bytes]) -> None:
        reason = "internal failure"
        try:
            await self._take(lines)
            while data := await self._pipe.read():
                await self._take(self._splitter.feed(data))
            reason = "the agent's side of the pipe is gone" + _last_words(self._pipe)
        except ProtocolViolationError as error:
            reason = error.message
        except ChannelClosedError as error:
            reason = error.message
        finally:
            self._end(reason)

    async def _take(self, lines: Sequence[bytes]) -> None:
        for count, line in enumerate(lines, 1):
            self._dispatch(line)
            if not count % _FRAMES_A_TURN:
                await asyncio.sleep(0)

    def _dispatch(self, line: bytes) -> None:
        frame = parse_frame(line)
        if live := self._live.get(frame["id"]):
            if live.ended.is_set():
                return
            live.accept(frame, len(line))
            self._after(live, frame)
        elif frame["id"] > self._last_id:
            raise ProtocolViolationError(f"an answer to request {frame['id']!r:.20}, never made")

    def _after(self, live: LiveRequest, frame: dict[str, Any]) -> None:
        """Tell the agent when a request ended on this side alone."""
        if live.ended.is_set() and frame["ev"] not in {"ok", "error"}:
            self._writer.post({"op": "cancel", "to": live.id})

    def _end(self, reason: str) -> None:
        if self._closing is not None:
            return
        self._reason = reason
        self._closing = asyncio.create_task(self._finish(), name="channel-close")
        self._ended.set()
        self._writer.stop()
        for live in self._live.values():
            live.end(self._closed_error())
        self._live.clear()

    async def _finish(self) -> None:
        for task in self._tasks:
            task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(StacyError):  # closing a pipe that broke may say so once more
            await self._pipe.close()
        for result in results:
            if isinstance(result, Exception):
                _log.error("a channel failed", exc_info=result)

    def _closed_error(self) -> ChannelClosedError:
        return ChannelClosedError(f"channel closed: {self._reason}")


def _last_words(pipe: Pipe) -> str:
    said = pipe.last_words()
    return f"; it said: {said}" if said else ""
