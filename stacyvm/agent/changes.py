"""Small changes of the file tree, done within one turn of the loop."""

from __future__ import annotations

import os
import stat


def make_parents(path: bytes) -> None:
    """Make the folders above ``path``."""
    parent = os.path.dirname(path)
    if not os.path.isdir(parent):
        os.makedirs(parent, exist_ok=True)


def make_folder(path: bytes, mode: int, *, parents: bool) -> None:
    """Make a folder with exactly ``mode``; with ``parents`` one that exists is fine."""
    if parents:
        make_parents(path)
    try:
        os.mkdir(path)
    except FileExistsError:
        if parents and os.path.isdir(path):
            return
        raise
    os.chmod(path, mode)


def remove_one(path: bytes, *, missing_ok: bool) -> int:
    """Remove a file, a link or an empty folder, and return the bytes that gave back.

    Raises:
        OSError: It is missing, or may not be removed.
    """
    try:
        found = os.lstat(path)
        if stat.S_ISDIR(found.st_mode):
            os.rmdir(path)
        else:
            os.unlink(path)
    except FileNotFoundError:
        if not missing_ok:
            raise
        return 0
    return found.st_blocks * 512 if found.st_nlink == 1 else 0
