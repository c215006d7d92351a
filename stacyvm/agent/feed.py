"""Writing a process's stdin, no faster than it reads."""

from __future__ import annotations

import os

from stacyvm.agent.failure import Failure
from stacyvm.agent.frames import DEFAULT_WINDOW
from stacyvm.agent.loop import WRITE, Loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class InputWindow:
    """Counts what the client may still send; a request that takes input has one."""

    def __init__(self, grant: Callable[[int], None]) -> None:
        """Begin with a whole window; ``grant`` tells the client of more."""
        self._grant = grant
        self._left = DEFAULT_WINDOW
        self._used = 0

    def arrived(self, count: int) -> None:
        """Count input.

        Raises:
            Failure: ``protocol``, as the client sent more than it may.
        """
        self._left -= count
        if self._left < 0:
            raise Failure("protocol", "more input than the window allows")

    def used(self, count: int) -> None:
        """Count input as consumed; the client hears of it in batches."""
        self._used += count
        if self._used * 4 >= DEFAULT_WINDOW:
            self._left += self._used
            self._grant(self._used)
            self._used = 0


class Feed:
    """The write end of a stdin pipe; input behind a closed end is taken and dropped."""

    def __init__(self, loop: Loop, fd: int, window: InputWindow) -> None:
        """Own ``fd``; -1 means that there is no stdin."""
        self._loop = loop
        self._fd = fd
        self._window = window
        self._waiting: list[bytes] = []
        self._eof = False

    def put(self, data: bytes, *, eof: bool) -> None:
        """Take input; raises Failure when it is more than the window allows."""
        self._window.arrived(len(data))
        if self._fd < 0 or self._eof:
            self._window.used(len(data))
            return
        if data:
            self._waiting.append(data)
        self._eof = eof
        self._write()

    def close(self) -> None:
        """Close the pipe; what waits is dropped. Idempotent."""
        if self._fd >= 0:
            self._loop.forget(self._fd)
            os.close(self._fd)
            self._fd = -1
        for data in self._waiting:
            self._window.used(len(data))
        self._waiting.clear()

    def _write(self) -> None:
        while self._waiting:
            data = self._waiting[0]
            try:
                count = os.write(self._fd, data)
            except BlockingIOError:
                self._loop.watch(self._fd, lambda _: self._ready(), WRITE)
                return
            except BrokenPipeError:
                self.close()
                return
            self._window.used(count)
            if count < len(data):
                self._waiting[0] = data[count:]
            else:
                del self._waiting[0]
        self._loop.forget(self._fd)
        if self._eof:
            self.close()

    def _ready(self) -> None:
        if self._fd >= 0:
            self._write()
