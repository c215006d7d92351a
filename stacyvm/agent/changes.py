"""Small changes of the file tree, done within one turn of the loop."""

from __future__ import annotations

import contextlib
import errno
import os
import stat

_STEP = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


def make_parents(path: bytes) -> None:
    """Make the folders above the absolute ``path``; links on the way are followed.

    Raises:
        NotADirectoryError: Something on the way is no folder.
        OSError: A folder cannot be made or entered.
    """
    parent = os.path.dirname(path)
    if os.path.isdir(parent):
        return
    here = os.open(b"/", _STEP)
    try:
        # Step by step, as the way may have thousands of folders.
        for name in parent.split(b"/"):
            if name:
                below = _step_into(here, name)
                os.close(here)
                here = below
    except OSError as error:
        error.filename = parent
        raise
    finally:
        os.close(here)


def _step_into(folder: int, name: bytes) -> int:
    try:
        return os.open(name, _STEP, dir_fd=folder)
    except FileNotFoundError:
        with contextlib.suppress(FileExistsError):  # somebody else was quicker
            os.mkdir(name, dir_fd=folder)
        return os.open(name, _STEP, dir_fd=folder)


def make_folder(path: bytes, mode: int, *, parents: bool) -> None:
    """Make a folder with exactly ``mode``; with ``parents`` one that exists is fine.

    Raises:
        FileExistsError: Something is there, without ``parents``.
        NotADirectoryError: Something on the way, or with ``parents`` at its end, is no folder.
        OSError: It cannot be made.
    """
    if parents:
        make_parents(path)
    try:
        os.mkdir(path)
    except FileExistsError:
        if not parents:
            raise
        if os.path.isdir(path):
            return
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path) from None
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
