"""The workspace's soft size limit: what goes beyond it is found out a moment later."""

from __future__ import annotations

import time

from stacyvm.agent.failure import Failure
from stacyvm.agent.loop import Loop
from stacyvm.agent.trees import size_of
from stacyvm.agent.workers import Workers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_PAUSE = 2.0  # seconds between walks, while something runs
_SHARE = 20  # a walk takes at most a twentieth of the time


class Disk:
    """Knows roughly how much the workspace holds: the last walk's sum and what was written since.

    Our own writes are refused at once; guests' are found by a walk of the folder every few
    seconds, which is why this is a soft limit.
    """

    def __init__(self, loop: Loop, folder: bytes, limit_mb: int) -> None:
        """Watch ``folder``; a limit of 0 MB is none."""
        self._loop = loop
        self._folder = folder
        self._limit_mb = limit_mb
        self._limit = limit_mb << 20
        self._used = 0
        self._since = 0  # written since the walk under way began
        self._touched = False
        self._scheduled = False
        self._workers = Workers(loop, threads=1, queue=0)
        self._running: Callable[[], bool] = lambda: False
        self._exceeded: Callable[[str], None] = lambda _: None

    @property
    def limited(self) -> bool:
        """Whether there is a limit at all."""
        return self._limit > 0

    def watch(self, running: Callable[[], bool], exceeded: Callable[[str], None]) -> None:
        """Ask ``running`` whether guests may be writing; call ``exceeded`` with the reason."""
        self._running = running
        self._exceeded = exceeded

    def admit(self, size: int) -> None:
        """Refuse ``size`` more bytes if they cannot fit.

        Raises:
            Failure: ``no_space``.
        """
        try:
            self._check(size)
        except Failure:
            self.touch()  # perhaps what we know is old
            raise

    def use(self, size: int) -> None:
        """Count ``size`` bytes about to be written; negative for bytes that were removed.

        Raises:
            Failure: ``no_space``.
        """
        if size > 0:
            self.admit(size)
        self._count(size)

    def use_in_thread(self, size: int) -> None:
        """As ``use``, for worker threads."""
        self._check(size)
        self._loop.post(lambda: self._count(size))

    def touch(self) -> None:
        """Look again soon, as something may have been written."""
        if not self._limit:
            return
        self._touched = True
        if not self._scheduled:
            self._scheduled = True
            self._loop.later(_PAUSE, self._look)

    def _check(self, size: int) -> None:
        if self._limit and self._used + size > self._limit:
            raise Failure("no_space", f"the disk limit of {self._limit_mb} MB would be exceeded")

    def _count(self, size: int) -> None:
        self._used = max(0, self._used + size)
        self._since += size
        self.touch()

    def _look(self) -> None:
        self._touched = False
        self._since = 0
        try:
            self._workers.start(self._walk)
        except Failure:
            self._loop.later(_PAUSE, self._look)  # no thread to be had just now

    def _walk(self) -> None:
        begun = time.monotonic()
        try:
            total = size_of(self._folder, lambda: None)
        except OSError:
            total = 0  # the workspace itself is gone
        took = time.monotonic() - begun
        self._loop.post(lambda: self._walked(total, took))

    def _walked(self, total: int, took: float) -> None:
        self._scheduled = False
        self._used = max(0, total + self._since)
        if total > self._limit:
            self._exceeded(f"disk limit of {self._limit_mb} MB exceeded")
        if self._touched or self._running():
            self._scheduled = True
            self._loop.later(max(_PAUSE, took * _SHARE), self._look)
