"""The description of a file."""

from __future__ import annotations

import os
import stat

from stacyvm.agent.frames import Frame
from stacyvm.agent.paths import Paths


def describe(paths: Paths, path: bytes) -> Frame:
    """Return the file info of ``path``, following a link unless its target is missing.

    Raises:
        OSError: There is nothing, or it may not be looked at.
    """
    try:
        return info_of(paths, path, os.stat(path))
    except OSError:
        found = os.lstat(path)
        if not stat.S_ISLNK(found.st_mode):
            raise
        return info_of(paths, path, found)


def info_of(paths: Paths, path: bytes, found: os.stat_result) -> Frame:
    """Return the file info of ``path`` as ``found`` says."""
    return {
        "path": paths.shown(path),
        "size": found.st_size,
        "mode": stat.S_IMODE(found.st_mode),
        "kind": _KINDS.get(stat.S_IFMT(found.st_mode), "other"),
        "mtime": found.st_mtime,
    }


_KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "symlink"}
