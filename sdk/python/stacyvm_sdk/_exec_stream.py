"""Output of a running command as it comes, and then how it ended."""

from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Self

import httpx

from stacyvm_sdk._http import open_stream, open_stream_async, translated
from stacyvm_sdk._wire.call import Call
from stacyvm_sdk._wire.executions import EventReader
from stacyvm_sdk.exceptions import StacyVMError, StreamInterrupted
from stacyvm_sdk.models import ExecOutcome
from stacyvm_sdk.streaming import StreamChunk


class _Report:
    """What is known of the execution so far."""

    def __init__(self) -> None:
        self._events = EventReader()
        self._ready: Iterator[StreamChunk] = iter(())
        self._ended = False

    @property
    def result(self) -> ExecOutcome:
        """How the command ended.

        Raises:
            StacyVMError: The stream has not been read to its end.
        """
        if self._events.outcome is None:
            raise StacyVMError(
                "the outcome is known only when the stream has been read to its end",
                code="STREAM_NOT_READ",
            )
        return self._events.outcome

    @property
    def exit_code(self) -> int:
        """As a shell gives it; 128 + n after signal n."""
        return self.result.exit_code

    @property
    def duration(self) -> str:
        """How long the command ran, such as ``1.2s``."""
        return self.result.duration

    @property
    def timed_out(self) -> bool:
        """True when the command was killed because its time was up."""
        return self.result.timed_out

    @property
    def truncated(self) -> bool:
        """True when the server dropped output."""
        return self.result.truncated

    @property
    def signal(self) -> str:
        """``SIGKILL`` and so on when a signal ended the command, else empty."""
        return self.result.signal

    @property
    def ok(self) -> bool:
        """True when the exit code is 0."""
        return self.result.ok


class ExecStream(_Report, Iterator[StreamChunk]):
    """Iterates over a command's output; the command starts with the first chunk asked for.

    Read to the end, it knows the outcome. Closed before, by ``close()`` or by leaving a ``with``
    block, it kills the command.
    """

    def __init__(self, http: httpx.Client, call: Call[None]) -> None:
        super().__init__()
        self._http = http
        self._call = call
        self._response: httpx.Response | None = None
        self._bytes: Iterator[bytes] = iter(())

    def __next__(self) -> StreamChunk:
        """Return the next piece of output.

        Raises:
            StreamInterrupted: The connection ended before the outcome.
            StacyVMError: The server answered an error, before or within the stream.
        """
        self._start()
        try:
            while (chunk := next(self._ready, None)) is None and not self._ended:
                self._read()
        except BaseException:
            self.close()
            raise
        if chunk is None:
            self.close()
            raise StopIteration
        return chunk

    def close(self) -> None:
        """Stop reading; a command that still runs is killed. Doing it twice is harmless."""
        self._ended = True
        if self._response is not None:
            self._response.close()

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _start(self) -> None:
        if self._response is None and not self._ended:
            self._response = open_stream(self._http, self._call)
            self._bytes = self._response.iter_bytes()

    def _read(self) -> None:
        try:
            with translated(self._http, StreamInterrupted):
                self._ready = self._events.feed(next(self._bytes))
        except StopIteration:
            self._ended = True
            self._events.finish()
        except StreamInterrupted:
            self._ended = True
            if self._events.outcome is None:
                raise


class AsyncExecStream(_Report, AsyncIterator[StreamChunk]):
    """Iterates over a command's output; the command starts with the first chunk asked for.

    Read to the end, it knows the outcome. Closed before, by ``close()`` or by leaving an
    ``async with`` block, it kills the command.
    """

    def __init__(self, http: httpx.AsyncClient, call: Call[None]) -> None:
        super().__init__()
        self._http = http
        self._call = call
        self._response: httpx.Response | None = None
        self._bytes: AsyncIterator[bytes]

    async def __anext__(self) -> StreamChunk:
        """Return the next piece of output.

        Raises:
            StreamInterrupted: The connection ended before the outcome.
            StacyVMError: The server answered an error, before or within the stream.
        """
        await self._start()
        try:
            while (chunk := next(self._ready, None)) is None and not self._ended:
                await self._read()
        except BaseException:
            await self.close()
            raise
        if chunk is None:
            await self.close()
            raise StopAsyncIteration
        return chunk

    async def close(self) -> None:
        """Stop reading; a command that still runs is killed. Doing it twice is harmless."""
        self._ended = True
        if self._response is not None:
            await self._response.aclose()

    async def __aenter__(self) -> Self:
        await self._start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _start(self) -> None:
        if self._response is None and not self._ended:
            self._response = await open_stream_async(self._http, self._call)
            self._bytes = self._response.aiter_bytes()

    async def _read(self) -> None:
        try:
            with translated(self._http, StreamInterrupted):
                self._ready = self._events.feed(await anext(self._bytes))
        except StopAsyncIteration:
            self._ended = True
            self._events.finish()
        except StreamInterrupted:
            self._ended = True
            if self._events.outcome is None:
                raise
