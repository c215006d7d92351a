"""The operation ``read``: a file's bytes, a chunk at a turn."""

from __future__ import annotations

import os
import stat

from stacyvm.agent.failure import Failure
from stacyvm.agent.frames import MAX_CHUNK
from stacyvm.agent.loop import Loop
from stacyvm.agent.requests import Live, Reply, override


def open_file(path: bytes) -> tuple[int, os.stat_result]:
    """Open a regular file for reading; a FIFO or device is refused and never waited for.

    Raises:
        Failure: It is a folder, or no file.
        OSError: It cannot be opened.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    found = os.fstat(fd)
    if stat.S_ISREG(found.st_mode):
        return fd, found
    os.close(fd)
    if stat.S_ISDIR(found.st_mode):
        raise Failure("is_a_directory", "it is a folder, not a file")
    raise Failure("not_a_file", "it is not a regular file")


class Reading(Live):
    """Sends ``length`` bytes of ``fd`` from ``offset`` on, and owns ``fd``."""

    def __init__(
        self, reply: Reply, loop: Loop, fd: int, *, offset: int, length: int, window: int
    ) -> None:
        super().__init__(reply)
        self._loop = loop
        self._fd = fd
        self._offset = offset
        self._left = length
        self._sent = 0
        self._window = self._largest = window
        self._scheduled = False

    def step(self) -> None:
        """Send the next chunk, and take another turn for the one after it."""
        self._scheduled = False
        if self._fd < 0:
            return
        if self._left and not self._window:
            return  # `credit` goes on
        if self.reply.outbox.full:
            self.reply.outbox.when_room(self._later)
            return
        size = min(self._left, self._window, MAX_CHUNK)
        data = os.pread(self._fd, size, self._offset) if size else b""
        if data:
            self.reply.data(1, data)
            self._offset += len(data)
            self._sent += len(data)
            self._left -= len(data)
            self._window -= len(data)
        if self._left and data:
            self._later()
        else:
            self.release()
            self.reply.ok({"bytes": self._sent})

    @override
    def credit(self, count: int) -> None:
        """Let the client have more."""
        self._window = min(self._window + count, self._largest)
        self._later()

    @override
    def release(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _later(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.post(lambda: self.guarded(self.step))
