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


def remove_one(path: bytes, *, missing_ok: bool) -> None:
    """Remove a file, a link or an empty folder.

    Raises:
        Failure: ``not_empty``, and how to remove it all the same.
        OSError: It is missing, or may not be removed.
    """
    try:
        if stat.S_ISDIR(os.lstat(path).st_mode):
            os.rmdir(path)
        else:
            os.unlink(path)
    except FileNotFoundError:
        if not missing_ok:
            raise
