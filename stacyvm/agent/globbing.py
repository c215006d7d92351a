"""The operation ``glob``."""

from __future__ import annotations

import fnmatch
import os
import re

from stacyvm.agent.failure import Failure
from stacyvm.agent.listing import MOST_ITEMS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_MOST_VISITS = 1_000_000
_MAGIC = re.compile(rb"[*?[]")
_DEEP = b"**"


class Glob:
    """Finds paths. ``**`` stands for any number of folders, links among them left out.

    Hidden files count like all others; what may not be read is passed over.
    """

    def __init__(self, pattern: bytes, check: Callable[[], None]) -> None:
        """Take an absolute pattern; ``check`` is called often and may raise to stop."""
        parts = [part for part in pattern.split(b"/") if part]
        if parts and parts[-1] == _DEEP:
            parts.append(b"*")
        self._parts = [p for i, p in enumerate(parts) if p != _DEEP or parts[i - 1 : i] != [_DEEP]]
        self._patterns = [_matcher(part) for part in self._parts]
        self._check = check
        self._visits = 0
        self._found: set[bytes] = set()
        self._seen: set[tuple[bytes, int]] = set()
        self._todo: list[tuple[bytes, int]] = []

    def run(self) -> list[bytes]:
        """Return what matches, sorted.

        Raises:
            Failure: ``too_many`` matches or entries to look at.
        """
        self._push(b"/", 0)
        while self._todo:
            self._check()
            self._visit(*self._todo.pop())
        return sorted(self._found)

    def _push(self, path: bytes, index: int) -> None:
        """Go on at ``path`` with the pattern's part number ``index``."""
        if index == len(self._parts):
            self._found.add(path)
            if len(self._found) > MOST_ITEMS:
                raise Failure("too_many", f"more than {MOST_ITEMS} paths match")
        elif (path, index) not in self._seen:
            self._seen.add((path, index))
            self._todo.append((path, index))

    def _visit(self, path: bytes, index: int) -> None:
        part, last = self._parts[index], index + 1 == len(self._parts)
        if part == _DEEP:
            self._push(path, index + 1)
            for entry in self._entries(path):
                if entry.is_dir(follow_symlinks=False):
                    self._push(entry.path, index)
        elif (matches := self._patterns[index]) is None:
            child = os.path.join(path, part)
            if os.path.lexists(child) if last else os.path.isdir(child):
                self._push(child, index + 1)
        else:
            for entry in self._entries(path):
                if matches(os.fsdecode(entry.name)) and (last or entry.is_dir()):
                    self._push(entry.path, index + 1)

    def _entries(self, path: bytes) -> list[os.DirEntry[bytes]]:
        try:
            with os.scandir(path) as scan:
                found = list(scan)
        except OSError:
            return []  # closed to us, or gone meanwhile
        self._visits += len(found)
        if self._visits > _MOST_VISITS:
            raise Failure("too_many", f"more than {_MOST_VISITS} entries to look at")
        return found


def _matcher(part: bytes) -> Callable[[str], re.Match[str] | None] | None:
    if not _MAGIC.search(part):
        return None
    return re.compile(fnmatch.translate(os.fsdecode(part))).match
