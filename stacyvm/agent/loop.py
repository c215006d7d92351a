"""The agent's one loop: descriptors, timers, and calls from worker threads."""

from __future__ import annotations

import os
import select
import time
from heapq import heappop, heappush

TYPE_CHECKING = False  # the module `typing` takes longer to load than the whole agent
if TYPE_CHECKING:
    from collections.abc import Callable

READ = select.EPOLLIN
WRITE = select.EPOLLOUT
ENDED = select.EPOLLHUP | select.EPOLLERR


class Timer:
    """A call due at ``due`` (monotonic seconds), unless cancelled."""

    __slots__ = ("callback", "due")

    def __init__(self, due: float, callback: Callable[[], None]) -> None:
        self.due = due
        self.callback: Callable[[], None] | None = callback

    def __lt__(self, other: Timer) -> bool:
        return self.due < other.due

    def cancel(self) -> None:
        """Make the call not happen. Idempotent."""
        self.callback = None


class Loop:
    """Calls back in one thread. Callbacks must not block, and must bear a call too many."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._watched: dict[int, Callable[[int], None]] = {}
        self._timers: list[Timer] = []
        self._posted: list[Callable[[], None]] = []
        self._wake = -1

    def watch(self, fd: int, callback: Callable[[int], None], events: int = READ) -> None:
        """Call back with the event mask whenever ``fd`` is ready; ENDED is always reported."""
        if fd in self._watched:
            self._poll.modify(fd, events)
        else:
            self._poll.register(fd, events)
        self._watched[fd] = callback

    def forget(self, fd: int) -> None:
        """Stop watching ``fd``, before it is closed. Idempotent."""
        if self._watched.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call back once, after ``seconds``."""
        timer = Timer(time.monotonic() + seconds, callback)
        heappush(self._timers, timer)
        return timer

    def soon(self, callback: Callable[[], None]) -> None:
        """Call back before the loop waits again; from its own thread, or a signal that wakes it."""
        self._posted.append(callback)

    def post(self, callback: Callable[[], None]) -> None:
        """Call back soon. The one method for other threads, which need ``open_wake`` first."""
        self._posted.append(callback)
        if self._wake >= 0:
            _wake(self._wake)

    def open_wake(self) -> int:
        """Make ``post`` and whoever writes to the returned descriptor wake the loop. Idempotent."""
        if self._wake < 0:
            reader, self._wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            self.watch(reader, lambda _: self._drain(reader))
        return self._wake

    def turn(self) -> None:
        """Wait for something to happen and make the calls due."""
        for fd, mask in self._poll.poll(self._timeout(), 64):
            if callback := self._watched.get(fd):
                callback(mask)
        now = time.monotonic()
        while self._timers and self._timers[0].due <= now:
            if due := heappop(self._timers).callback:
                due()
        posted, self._posted = self._posted, []
        for call in posted:
            call()

    def _timeout(self) -> float:
        while self._timers and self._timers[0].callback is None:
            heappop(self._timers)
        if self._posted:
            return 0.0
        return max(0.0, self._timers[0].due - time.monotonic()) if self._timers else -1.0

    @staticmethod
    def _drain(reader: int) -> None:
        try:
            os.read(reader, 4096)
        except BlockingIOError:
            return  # a call too many


def _wake(fd: int) -> None:
    try:
        os.write(fd, b"\0")
    except BlockingIOError:
        return  # the pipe is full of wake-ups already
