"""Whole folders: their size, their removal, and their move to another file system."""

from __future__ import annotations

import os

from stacyvm.agent.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def size_of(folder: bytes, check: Callable[[], None]) -> int:
    """Return the bytes that ``folder`` takes on its own file system; what is unreadable is 0."""
    device = os.lstat(folder).st_dev
    total, todo = 0, [folder]
    linked: set[int] = set()
    while todo:
        check()
        try:
            with os.scandir(todo.pop()) as scan:
                for entry in scan:
                    total += _entry_size(entry, device, linked, todo)
        except OSError:
            continue  # closed to us, or gone meanwhile
    return total


def _entry_size(entry: os.DirEntry[bytes], device: int, linked: set[int], todo: list[bytes]) -> int:
    try:
        found = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return 0
    if found.st_dev != device or found.st_ino in linked:
        return 0
    if entry.is_dir(follow_symlinks=False):
        todo.append(entry.path)
    elif found.st_nlink > 1:
        linked.add(found.st_ino)
    return found.st_blocks * 512


def remove_tree(path: bytes, check: Callable[[], None]) -> None:
    """Remove ``path`` and all below it; links are removed, never followed.

    Raises:
        OSError: Something may not be removed; what was removed before that is gone.
    """
    if os.path.islink(path) or not os.path.isdir(path):
        os.unlink(path)
        return
    folders, todo = [], [path]
    while todo:
        check()
        folder = todo.pop()
        folders.append(folder)
        with os.scandir(folder) as scan:
            entries = list(scan)
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                todo.append(entry.path)
            else:
                os.unlink(entry.path)
    for folder in reversed(folders):
        os.rmdir(folder)


def move_across(source: bytes, target: bytes, check: Callable[[], None]) -> None:
    """Move to another file system: copy beside the target, rename, then remove the source.

    Raises:
        Failure: The target is a folder, or the source holds what cannot be copied.
        OSError: A file system is full or failing; the source is still whole then.
    """
    import shutil  # slow to load, and hardly ever needed

    if os.path.isdir(target) and not os.path.islink(target):
        raise Failure("exists", "the target is a folder, and lies on another file system")
    temporary = os.path.join(os.path.dirname(target), b".stacyvm-" + os.urandom(8).hex().encode())

    def copy(one: str, other: str) -> object:
        check()
        return shutil.copy2(one, other, follow_symlinks=False)

    old, new = os.fsdecode(source), os.fsdecode(temporary)

    try:
        if os.path.isdir(source) and not os.path.islink(source):
            shutil.copytree(old, new, symlinks=True, copy_function=copy)
        else:
            copy(old, new)
        os.rename(temporary, target)
    except (OSError, Failure) as error:
        if os.path.lexists(temporary):
            remove_tree(temporary, lambda: None)
        if isinstance(error, shutil.Error):
            raise Failure("io", f"not all could be copied: {error.args[0][0][2]}"[:500]) from error
        if isinstance(error, shutil.SpecialFileError):
            raise Failure("not_a_file", "only files, folders and links can be copied") from error
        raise
    remove_tree(source, lambda: None)
