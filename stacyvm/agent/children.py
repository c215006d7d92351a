"""The agent's children: their ends, and who belongs to which command."""

from __future__ import annotations

import ctypes
import os
import signal
import time

from stacyvm.agent.loop import Loop
from stacyvm.agent.proc import Process, Table, descendants, environment_holds, processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

MARK = b"STACYVM_EXEC"
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_LAST_ROUNDS = 100
_TICKS = os.sysconf("SC_CLK_TCK")


class Mark:
    """By what everything that a command starts can be found."""

    __slots__ = ("since", "value")

    def __init__(self, value: bytes, since: int) -> None:
        self.value = value  # of the variable MARK in their environment
        self.since = since  # before the command's start; clock ticks since boot


class Family:
    """The living processes of one command."""

    __slots__ = ("certain", "members")

    def __init__(self, table: Table, pids: set[int]) -> None:
        self.members = _living(table, pids)
        # Whoever has just ended may have left a child that was born too late to be seen.
        self.certain = not table.torn and len(self.members) == len(pids & table.keys())


class Children:
    """Reaps, and finds families. One per agent, in its main thread."""

    def __init__(self, loop: Loop, boot: str, *, contained: bool) -> None:
        self._loop = loop
        self._boot = boot.encode()
        self.contained = contained
        self._ends: dict[int, Callable[[int], None]] = {}
        self._count = 0
        self._guardian = os.getppid()  # or whoever else the agent's parent is
        self._listeners: set[Callable[[], None]] = set()
        signal.set_wakeup_fd(loop.open_wake(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: loop.soon(self._reap))
        self._own()

    def mark(self) -> Mark:
        """Return the mark of a command that is about to be started."""
        self._count += 1
        # A tick early: a process's own start is rounded down.
        since = int(time.clock_gettime(time.CLOCK_BOOTTIME) * _TICKS) - 1
        return Mark(b"%b.%d." % (self._boot, self._count), since)

    def on_exit(self, pid: int, callback: Callable[[int], None]) -> None:
        """Call back with the wait status once child ``pid`` has ended."""
        self._ends[pid] = callback

    def listen(self, callback: Callable[[], None]) -> None:
        """Call back whenever any child has ended, until ``unlisten``."""
        self._listeners.add(callback)

    def unlisten(self, callback: Callable[[], None]) -> None:
        """Undo ``listen``. Idempotent."""
        self._listeners.discard(callback)

    def family(self, pid: int, mark: Mark, *, alone: bool) -> Family:
        """Return the processes of one command.

        They are its group and session, all below it, and all that carry its mark: that finds the
        ones that left both by a double fork.

        Args:
            pid: The command's first process, which may have ended.
            mark: Its mark.
            alone: No other command is under way; then orphans without any mark are its own too.
        """
        table = processes()
        me = os.getpid()
        roots = {pid} & table.keys()
        for process in table.values():
            if pid in {process.group, process.session}:
                roots.add(process.pid)
        known = descendants(table, roots)
        for process in table.values():
            if process.pid not in known and self._carries(process, me, mark, alone=alone):
                roots.add(process.pid)
        return Family(table, descendants(table, roots) - {me})

    def kill_frozen(self, family: Callable[[], Family]) -> int:
        """Stop all the guest's processes, kill a family, and let the others go on.

        What forks and ends faster than a table of processes can be read is caught only so: nobody
        can fork who is stopped. To be used only when ``contained``; returns how many were killed.
        """
        stopped = {p.pid for p in processes().values() if p.state == b"T"}
        kill({-1}, signal.SIGSTOP)
        try:
            members = family().members
            kill(members, signal.SIGKILL)
        finally:
            kill(processes().keys() - stopped - {os.getpid()}, signal.SIGCONT)
        return len(members)

    def kill_all(self) -> None:
        """Kill every process that the agent's commands ever started; takes 2 s at most."""
        if self.contained:
            # All the agent can see is the sandbox, and all the agent may kill is the guest's.
            kill({-1}, signal.SIGKILL)
            return
        for _ in range(_LAST_ROUNDS):
            mine = self._all()
            if not mine:
                return
            kill(mine, signal.SIGSTOP)
            kill(mine | self._all(), signal.SIGKILL)
            self._reap()
            time.sleep(0.02)

    def _all(self) -> set[int]:
        table = processes()
        me = os.getpid()
        entry = MARK + b"=" + self._boot + b"."
        roots = {
            process.pid
            for process in table.values()
            if process.parent == me or environment_holds(process.pid, entry)
        }
        return _living(table, descendants(table, roots) - {me})

    # Some kernels (gVisor) know no subreapers: there the sandbox's init adopts orphans.
    def _carries(self, process: Process, me: int, mark: Mark, *, alone: bool) -> bool:
        if environment_holds(process.pid, MARK + b"=" + mark.value):
            return True
        adopted = process.parent == me or (self.contained and process.parent == 1)
        known = {me, self._guardian} | self._ends.keys()
        orphan = adopted and process.pid not in known
        if not (alone and orphan and process.start >= mark.since):
            return False
        return not environment_holds(process.pid, MARK + b"=" + self._boot + b".")

    def _reap(self) -> None:
        ended = False
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            ended = True
            if callback := self._ends.pop(pid, None):
                callback(status)
        if ended:
            for listener in list(self._listeners):
                listener()

    @staticmethod
    def _own() -> None:
        """Become the parent of orphans, and keep the guest's hands off the agent's memory."""
        try:
            libc = ctypes.CDLL(None)
        except OSError:
            return  # a static interpreter; orphans are found by their mark
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        if os.geteuid() != 0:
            libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def _living(table: Table, pids: set[int]) -> set[int]:
    return {pid for pid in pids if pid in table and table[pid].alive}


def kill(pids: set[int], number: int) -> None:
    """Send a signal to all of ``pids`` that still live and are ours to signal."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            continue
