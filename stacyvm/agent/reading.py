"""The operation ``read``: a file's bytes, a chunk at a turn."""

from __future__ import annotations

import os
import stat

from stacyvm.agent.failure import Failure
from stacyvm.agent.frames import MAX_CHUNK
from stacyvm.agent.loop import Loop
from stacyvm.agent.requests import Live, Reply, override

# Files that the kernel makes up as they are read claim to have no bytes, or one page.
_MADE_UP = 4096
_LARGEST_MADE_UP = 1 << 20


class Opened:
    """An open file: ``size`` bytes, in ``content`` already where the kernel makes them up."""

    __slots__ = ("content", "fd", "size", "stat")

    def __init__(self, fd: int, found: os.stat_result) -> None:
        """Own ``fd``.

        Raises:
            Failure: It is no regular file, or one that the kernel makes up and too large for that.
            OSError: It cannot be read.
        """
        if stat.S_ISDIR(found.st_mode):
            raise Failure("is_a_directory", "it is a folder, not a file")
        if not stat.S_ISREG(found.st_mode):
            raise Failure("not_a_file", "it is not a regular file")
        self.fd = fd
        self.stat = found
        self.size = found.st_size
        self.content: bytes | None = None
        if not found.st_blocks and found.st_size in {0, _MADE_UP}:
            self.content = _read_made_up(fd)
            self.size = len(self.content)

    def pread(self, count: int, offset: int) -> bytes:
        """Return at most ``count`` bytes from ``offset`` on, fewer only at the end."""
        if self.content is not None:
            return self.content[offset : offset + count]
        return os.pread(self.fd, count, offset) if count else b""


def _read_made_up(fd: int) -> bytes:
    parts, left = [], _LARGEST_MADE_UP + 1
    while left > 0 and (data := os.read(fd, min(left, MAX_CHUNK))):
        parts.append(data)
        left -= len(data)
    if left <= 0:
        raise Failure("not_a_file", "it is a file of the kernel, too large to be read at once")
    return b"".join(parts)


def open_file(path: bytes) -> Opened:
    """Open a regular file for reading; a FIFO or device is refused and never waited for.

    Raises:
        Failure: It is a folder, or no file.
        OSError: It cannot be opened.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        return Opened(fd, os.fstat(fd))
    except BaseException:
        os.close(fd)
        raise


class Reading(Live):
    """Sends ``length`` bytes of ``file`` from ``offset`` on, and owns it."""

    def __init__(
        self, reply: Reply, loop: Loop, file: Opened, *, offset: int, length: int, window: int
    ) -> None:
        super().__init__(reply)
        self._loop = loop
        self._file: Opened | None = file
        self._offset = offset
        self._left = length
        self._sent = 0
        self._window = self._largest = window
        self._scheduled = False

    def step(self) -> None:
        """Send the next chunk, and take another turn for the one after it."""
        self._scheduled = False
        if self._file is None:
            return
        if self._left and not self._window:
            return  # `credit` goes on
        if self.reply.outbox.full:
            self.reply.outbox.when_room(self._later)
            return
        size = min(self._left, self._window, MAX_CHUNK)
        data = self._file.pread(size, self._offset)
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
        if self._file is not None:
            os.close(self._file.fd)
            self._file = None

    def _later(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.post(lambda: self.guarded(self.step))
