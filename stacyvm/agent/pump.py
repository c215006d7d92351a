"""Reading a process's output pipes, no faster than the client takes it."""

from __future__ import annotations

import fcntl
import os
import termios

from stacyvm.agent.frames import MAX_CHUNK
from stacyvm.agent.logs import Logs
from stacyvm.agent.loop import Loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_SMALL_READ = 64 << 10
_BIG_PIPE = 1 << 20
_MOST_LEFTOVERS = 64
_LEFTOVER_PAUSE = 0.01  # seconds between reads of 64 KiB, so that a noisy one costs little


class Pump:
    """One pipe of one process. ``take`` is called with its bytes, ``closed`` once at its end."""

    def __init__(
        self,
        loop: Loop,
        fd: int,
        room: Callable[[], int],
        take: Callable[[bytes], None],
        closed: Callable[[], None],
    ) -> None:
        """Read ``fd``, at most ``room()`` bytes at a time; 0 makes it wait for ``resume``."""
        self._loop = loop
        self._fd = fd
        self._room = room
        self._take = take
        self._closed = closed
        self._read_size = _SMALL_READ
        self._left: int | None = None  # bytes still to read, once that is limited
        self._watching = False
        self.resume()

    def resume(self) -> None:
        """Read on, as there may be room now."""
        if self._fd >= 0 and not self._watching:
            self._watching = True
            self._loop.watch(self._fd, self._ready)

    def limit(self) -> None:
        """Read only what is in the pipe at this moment, and call ``closed`` then."""
        if self._fd < 0 or self._left is not None:
            return
        count = bytearray(4)
        fcntl.ioctl(self._fd, termios.FIONREAD, count)
        self._left = int.from_bytes(count, "little")
        if self._left == 0:
            self._closed()
        else:
            self._ready(0)

    def give(self) -> int:
        """Stop, and return the descriptor if it is still open, else -1."""
        fd, self._fd = self._fd, -1
        if self._watching:
            self._watching = False
            self._loop.forget(fd)
        return fd

    def close(self) -> None:
        """Stop and close. Idempotent."""
        if (fd := self.give()) >= 0:
            os.close(fd)

    def _ready(self, _: int) -> None:
        if self._fd < 0:
            return
        room = min(self._room(), self._read_size)
        if self._left is not None:
            room = min(room, self._left)
        if room <= 0:
            self._pause()
            return
        try:
            data = os.read(self._fd, room)
        except BlockingIOError:
            return
        if not data:
            self.close()
            self._closed()
            return
        self._grow(len(data))
        self._count(len(data))
        self._take(data)
        if self._left == 0:
            self._closed()

    def _count(self, size: int) -> None:
        if self._left is not None:
            self._left -= size
            self.resume()

    def _pause(self) -> None:
        if self._watching:
            self._watching = False
            self._loop.forget(self._fd)

    def _grow(self, size: int) -> None:
        """Give a busy pipe more room; a quiet one is spared, as a user's pipes share a limit."""
        if size < _SMALL_READ or self._read_size == MAX_CHUNK:
            return
        self._read_size = MAX_CHUNK
        try:
            fcntl.fcntl(self._fd, fcntl.F_SETPIPE_SZ, _BIG_PIPE)
        except OSError:
            return  # that limit is reached; it works as it is


class Leftovers:
    """Pipes that background children of ended commands still hold: read on, to the logs only."""

    def __init__(self, loop: Loop, logs: Logs) -> None:
        self._loop = loop
        self._logs = logs
        self._fds: list[int] = []

    def adopt(self, fd: int) -> None:
        """Own ``fd``; beyond 64 the oldest is closed."""
        self._fds.append(fd)
        self._ready(fd)  # mostly its end is there already, and it need not be watched at all
        if len(self._fds) > _MOST_LEFTOVERS:
            self._close(self._fds[0])

    def _ready(self, fd: int) -> None:
        try:
            data = os.read(fd, _SMALL_READ)
        except BlockingIOError:
            self._resume(fd)
            return
        if not data:
            self._close(fd)
            return
        self._logs.add(data)
        self._loop.forget(fd)
        self._loop.later(_LEFTOVER_PAUSE, lambda: self._resume(fd))

    def _resume(self, fd: int) -> None:
        if fd in self._fds:
            self._loop.watch(fd, lambda _: self._ready(fd))

    def _close(self, fd: int) -> None:
        self._fds.remove(fd)
        self._loop.forget(fd)
        os.close(fd)
