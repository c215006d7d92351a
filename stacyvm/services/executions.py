"""Run commands in sandboxes."""

import asyncio
import logging
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from stacyvm.channel.events import Data, Event, Info
from stacyvm.channel.stream import Stream
from stacyvm.config import Settings
from stacyvm.domain.errors import (
    AgentError,
    ChannelClosedError,
    ExecTimeoutError,
    SandboxLostError,
    StacyError,
)
from stacyvm.domain.execution import Command, ExecResult, Outcome, Output
from stacyvm.services.sandboxes import Sandboxes

log = logging.getLogger(__name__)

KILL_GRACE_MS = 2000  # from SIGTERM to SIGKILL
# Seconds beyond a command's own limit that its agent may stay silent before it counts as lost.
SILENCE = 15.0

_STREAMS: dict[int, Literal["stdout", "stderr"]] = {1: "stdout", 2: "stderr"}


@dataclass(kw_only=True)
class RunningExecution:
    """A command under way: iterate its output, then read ``outcome``."""

    sandbox_id: str
    timeout: float  # seconds
    _stream: Stream
    _sandboxes: Sandboxes
    _started: float = field(default_factory=lambda: asyncio.get_running_loop().time())
    _outcome: Outcome | None = None

    @property
    def outcome(self) -> Outcome:
        """How it ended; only after the iteration has."""
        if self._outcome is None:
            raise RuntimeError("the execution has not ended")
        return self._outcome

    async def begun(self) -> None:
        """Wait until the agent has accepted the command; what it refuses is raised here.

        Raises:
            StacyError: The agent refuses it (working directory, environment), or is lost.
        """
        if not isinstance(await self._next(aiter(self._stream)), Info):
            raise AgentError("the agent did not say that it has begun the command")

    async def __aiter__(self) -> AsyncIterator[Output]:
        """Yield output in the order the agent read it, until the command has ended.

        A consumer that is slow makes the command wait; nothing is dropped.

        Raises:
            SandboxLostError: The sandbox died or fell silent; there is no outcome.
        """
        events = aiter(self._stream)
        while (event := await self._next(events)) is not None:
            if isinstance(event, Data) and event.fd in _STREAMS:
                yield Output(_STREAMS[event.fd], event.data)
        self._outcome = _outcome(self._stream.result)

    async def _next(self, events: AsyncIterator[Event]) -> Event | None:
        """Return the next event, None at the end; a silent agent is marked unhealthy.

        Raises:
            SandboxLostError: The sandbox died or fell silent.
        """
        try:
            if self._stream.ready:  # mostly: a short command's events come all at once
                return await anext(events, None)
            async with asyncio.timeout(self._patience()):
                return await anext(events, None)
        except ChannelClosedError as error:
            reason = await self._sandboxes.why_lost(self.sandbox_id)
            raise SandboxLostError(self.sandbox_id, reason) from error
        except TimeoutError as error:
            reason = f"its agent stayed silent for {SILENCE:g}s after a command's time limit"
            await self._sandboxes.mark_unhealthy(self.sandbox_id, reason)
            raise SandboxLostError(self.sandbox_id, reason) from error

    def _patience(self) -> float:
        """Return how many seconds the agent may take now.

        It enforces the command's time limit itself; but the guest can stop it, as they share a
        uid, and then nobody would ever answer.
        """
        now = asyncio.get_running_loop().time()
        return max(self._started + self.timeout - now, 0.0) + SILENCE


@dataclass(frozen=True, kw_only=True)
class Executions:
    """The use cases around commands."""

    settings: Settings
    sandboxes: Sandboxes

    async def run(
        self,
        sandbox_id: str,
        command: Command,
        *,
        stdin: AsyncIterable[bytes] | None = None,
        owner_id: str = "",
    ) -> ExecResult:
        """Run a command to its end and return its output, up to ``max_exec_output`` bytes of it.

        A non-zero exit is a result, not an error.

        Raises:
            ExecTimeoutError: It hit its time limit and was killed; holds the partial output.
            SandboxNotFoundError: No such sandbox for this owner.
            SandboxLostError: The sandbox died meanwhile.
        """
        kept = {"stdout": bytearray(), "stderr": bytearray()}
        limit = self.settings.max_exec_output
        async with self._open(sandbox_id, command, stdin, owner_id, max_output=limit) as execution:
            async for output in execution:
                kept[output.stream] += output.data
        stdout, stderr = (kept[name].decode("utf-8", "replace") for name in ("stdout", "stderr"))
        outcome = execution.outcome
        if outcome.timed_out:
            raise ExecTimeoutError(
                sandbox_id,
                timeout=command.timeout,
                stdout=stdout,
                stderr=stderr,
                truncated=outcome.truncated,
            )
        return ExecResult(outcome=outcome, stdout=stdout, stderr=stderr)

    @asynccontextmanager
    async def stream(
        self,
        sandbox_id: str,
        command: Command,
        *,
        stdin: AsyncIterable[bytes] | None = None,
        owner_id: str = "",
    ) -> AsyncIterator[RunningExecution]:
        """Start a command and give its output as it comes. Leaving early kills it.

        Raises:
            SandboxNotFoundError: No such sandbox for this owner.
            InvalidRequestError: The agent refuses the command (working directory, environment).
        """
        async with self._open(sandbox_id, command, stdin, owner_id, max_output=0) as execution:
            yield execution

    @asynccontextmanager
    async def _open(
        self,
        sandbox_id: str,
        command: Command,
        stdin: AsyncIterable[bytes] | None,
        owner_id: str,
        *,
        max_output: int,
    ) -> AsyncIterator[RunningExecution]:
        channel = await self.sandboxes.channel(sandbox_id, owner_id=owner_id)
        async with channel.stream("exec", **_fields(command, max_output)) as stream:
            execution = RunningExecution(
                sandbox_id=sandbox_id,
                timeout=command.timeout,
                _stream=stream,
                _sandboxes=self.sandboxes,
            )
            await execution.begun()
            if stdin is None:
                yield execution
                return
            feeder = asyncio.create_task(_feed(stream, stdin), name=f"stdin of {sandbox_id}")
            try:
                yield execution
            finally:
                feeder.cancel()
                with suppress(asyncio.CancelledError):
                    await feeder


async def _feed(stream: Stream, stdin: AsyncIterable[bytes]) -> None:
    """Send stdin until it ends; a command that stops reading early is no error."""
    try:
        async for chunk in stdin:
            await stream.send(chunk)
        await stream.send(b"", eof=True)
    except StacyError as error:
        log.debug("stdin ended early: %s", error)
    except ConnectionError:
        # The caller broke off in the middle of its stdin: what came is not all, so no end of file
        # may pretend that it is.
        await stream.cancel()


def _fields(command: Command, max_output: int) -> dict[str, Any]:
    return {
        "argv": list(command.argv),
        "env": command.env,
        "cwd": command.workdir,
        "stdin": command.stdin,
        "timeout_ms": int(command.timeout * 1000),
        "grace_ms": KILL_GRACE_MS,
        "max_output": max_output,
    }


def _outcome(fields: dict[str, Any]) -> Outcome:
    try:
        return Outcome(
            exit_code=int(fields["exit_code"]),
            duration=float(fields["duration_ms"]) / 1000,
            signal=str(fields.get("signal", ""))[:20],
            timed_out=fields.get("timed_out") is True,
            truncated=fields.get("truncated") is True,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise AgentError(
            f"the agent's account of the command's end is malformed: {error}"
        ) from error
