"""The workspace's soft size limit."""

from __future__ import annotations

from stacyvm.agent.failure import Failure


class Disk:
    """Knows roughly how much the workspace holds: the last walk's sum and what was written since."""

    def __init__(self, limit_mb: int) -> None:
        self.limit = limit_mb << 20  # bytes; 0 is none
        self.limit_mb = limit_mb
        self.used = 0
        self.dirty = False

    def admit(self, size: int) -> None:
        """Refuse ``size`` more bytes if they cannot fit.

        Raises:
            Failure: ``no_space``.
        """
        if self.limit and self.used + size > self.limit:
            raise Failure("no_space", f"the disk limit of {self.limit_mb} MB would be exceeded")

    def use(self, size: int) -> None:
        """Count ``size`` bytes about to be written.

        Raises:
            Failure: ``no_space``.
        """
        self.admit(size)
        self.used += size
        self.dirty = True
