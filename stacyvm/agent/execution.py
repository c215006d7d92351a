"""The operation ``exec``: one command from its start to its only end."""

from __future__ import annotations

import os
import signal
import time

from stacyvm.agent.children import Children, Family, Mark
from stacyvm.agent.ending import Ending
from stacyvm.agent.failure import Failure
from stacyvm.agent.feed import Feed, InputWindow
from stacyvm.agent.frames import MAX_CHUNK
from stacyvm.agent.logs import Logs
from stacyvm.agent.loop import Loop, Timer
from stacyvm.agent.pump import Leftovers, Pump
from stacyvm.agent.requests import Live, Reply, override
from stacyvm.agent.spawn import Spawned


class Limits:
    """What a command may take. Times in seconds; 0 is no limit for ``timeout`` and ``output``."""

    __slots__ = ("grace", "output", "timeout", "window")

    def __init__(self, *, timeout: float, grace: float, output: int, window: int) -> None:
        self.timeout = timeout
        self.grace = grace
        self.output = output
        self.window = window


class Commands:
    """What all commands of an agent share."""

    def __init__(self, loop: Loop, children: Children, logs: Logs) -> None:
        self.loop = loop
        self.children = children
        self.logs = logs
        self.leftovers = Leftovers(loop, logs)
        self.running: set[Execution] = set()

    def kill_running(self, reason: str) -> None:
        """Kill every command under way; its end says why."""
        for execution in list(self.running):
            execution.kill(0, reason)


class Execution(Live):
    """A command under way.

    It is over when its process has ended, its pipes are empty, and its kill, if any, is done.
    """

    def __init__(
        self,
        reply: Reply,
        commands: Commands,
        spawned: Spawned,
        mark: Mark,
        limits: Limits,
        started: float,
    ) -> None:
        """Take charge of ``spawned``, whose environment carries ``mark``.

        ``started`` is the monotonic time before its start: a short command may be over by now.
        """
        super().__init__(reply)
        self._commands = commands
        self._loop = commands.loop
        self._children = commands.children
        self._pid = spawned.pid
        self._mark = mark
        self._limits = limits
        self._window = limits.window
        self._kept = 0  # bytes of output sent
        self._started = started
        self._ended = 0.0
        self._status: int | None = None
        self._timed_out = self._truncated = self._over = False
        self._reason = ""
        self._feed = Feed(self._loop, spawned.stdin, InputWindow(self._grant))
        self._open = 0
        self._pumps: list[Pump] = []
        self._ending = Ending(
            self._loop, self._children, self._pid, self._family, lambda: self.guarded(self._settle)
        )
        self._timer: Timer | None = None
        commands.running.add(self)
        for fd, number in ((spawned.stdout, 1), (spawned.stderr, 2)):
            if fd >= 0:
                self._open += 1
                self._pumps.append(self._pump(fd, number))
        if limits.timeout:
            self._timer = self._loop.later(limits.timeout, self._time_over)
        if self._pid:
            self._children.on_exit(self._pid, self._exited)

    def failed(self, status: int) -> None:
        """Count as ended with ``status``, as no process could be started."""
        self._ended = time.monotonic()
        self._status = status << 8  # as waitpid would have said it
        self._settle()

    def signal(self, number: int) -> None:
        """Send a signal to the process group.

        Raises:
            Failure: The process has ended.
        """
        # Once reaped, the number may be another process's.
        if self._status is not None:
            raise Failure("invalid", "the command has ended")
        os.killpg(self._pid, number)

    def kill(self, grace: float, reason: str = "") -> None:
        """End the command and all it started; ``grace`` seconds lie between SIGTERM and SIGKILL."""
        self._reason = self._reason or reason
        if not self._ending.begun:
            self._children.listen(self._ending.look)
        self._ending.begin(grace)

    @override
    def take_input(self, data: bytes, *, eof: bool) -> None:
        """Feed the command's stdin; without one, input is dropped."""
        self._feed.put(data, eof=eof)

    @override
    def credit(self, count: int) -> None:
        """Let the client have more output."""
        self._window = min(self._window + count, self._limits.window)
        self._resume()

    @override
    def cancel(self) -> None:
        """Kill the command; it still ends with ``ok``.

        Once its process has ended by itself, only what is unsent is left out.
        """
        if self._status is not None and not self._ending.begun:
            self._truncated = self._open > 0
            self._close_pumps()
            self._settle()
        else:
            self.kill(self._limits.grace)

    @override
    def abandon(self) -> None:
        """Kill the command; nobody reads its output any more."""
        self._close_pumps()
        self.cancel()

    @override
    def release(self) -> None:
        """Let everything go after a fault of ours or the client's; what still runs is killed."""
        self._close_pumps()
        if not self._over:
            self.kill(0)

    def _pump(self, fd: int, number: int) -> Pump:
        return Pump(
            self._loop,
            fd,
            self._room,
            lambda data: self.guarded(lambda: self._output(number, data)),
            lambda: self.guarded(self._pipe_done),
        )

    def _room(self) -> int:
        if self._dropping:
            return MAX_CHUNK
        if self.reply.outbox.full:
            self.reply.outbox.when_room(self._resume)
            return 0
        return self._window

    @property
    def _dropping(self) -> bool:
        return bool(self._limits.output) and self._kept >= self._limits.output

    def _output(self, number: int, data: bytes) -> None:
        self._commands.logs.add(data)
        if self._limits.output:
            kept = data[: self._limits.output - self._kept]
            self._truncated = self._truncated or len(kept) < len(data)
            data = kept
        if data:
            self._kept += len(data)
            self._window -= len(data)
            self.reply.data(number, data)

    def _resume(self) -> None:
        for pump in self._pumps:
            pump.resume()

    def _grant(self, count: int) -> None:
        self.reply.send("credit", {"bytes": count})

    def _pipe_done(self) -> None:
        self._open -= 1
        self._settle()

    def _close_pumps(self) -> None:
        for pump in self._pumps:
            pump.close()
        self._open = 0

    def _time_over(self) -> None:
        if self._status is None:
            self._timed_out = True
            self.guarded(lambda: self.kill(self._limits.grace))

    def _exited(self, status: int) -> None:
        self._ended = time.monotonic()
        self._status = status
        if self._timer is not None:
            self._timer.cancel()
        self.guarded(self._feed.close)
        self.guarded(self._settle)

    def _family(self) -> Family:
        alone = not (self._commands.running - {self})
        return self._children.family(self._pid, self._mark, alone=alone)

    def _settle(self) -> None:
        """End the request if nothing is left to wait for."""
        if self._over or self._status is None or (self._ending.begun and not self._ending.over):
            return
        if self._open:
            for pump in self._pumps:
                pump.limit()
        if not self._open and not self._over:
            self._finish(self._status)

    def _finish(self, status: int) -> None:
        self._over = True
        self._commands.running.discard(self)
        self._children.unlisten(self._ending.look)
        self._feed.close()
        for pump in self._pumps:
            if (fd := pump.give()) >= 0:
                self._commands.leftovers.adopt(fd)
        self.reply.ok(self._outcome(status))

    def _outcome(self, status: int) -> dict[str, object]:
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        fields: dict[str, object] = {
            "exit_code": 128 + number if number else os.WEXITSTATUS(status),
            "signal": _signal_name(number) if number else "",
            "timed_out": self._timed_out,
            "truncated": self._truncated,
            "duration_ms": round((self._ended - self._started) * 1000, 3),
            "pid": self._pid,
        }
        if self._reason:
            fields["reason"] = self._reason
        return fields


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIG{number}"
