"""Whole folders: their size, their removal, and their move to another file system."""

from __future__ import annotations

import contextlib
import os
import stat

from stacyvm.agent.descent import is_folder, walk
from stacyvm.agent.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def size_of(folder: bytes, check: Callable[[], None]) -> int:
    """Return the bytes that ``folder`` takes on its own file system; what is unreadable is 0."""
    device = os.lstat(folder).st_dev
    total = 0
    linked: set[int] = set()

    def visit(_: int, entry: os.DirEntry[str]) -> bool:
        nonlocal total
        try:
            found = entry.stat(follow_symlinks=False)
        except OSError:
            return False  # gone meanwhile
        if found.st_dev != device or found.st_ino in linked:
            return False
        is_folder = stat.S_ISDIR(found.st_mode)
        if found.st_nlink > 1 and not is_folder:
            linked.add(found.st_ino)
        total += found.st_blocks * 512
        return is_folder

    try:
        walk(folder, check=check, visit=visit, refused=lambda _: None)
    except OSError:
        return total  # it was moved under our feet; what was seen counts until the next walk
    return total


def remove_tree(path: bytes, check: Callable[[], None]) -> None:
    """Remove ``path`` and all below it; links are removed, never followed.

    Raises:
        OSError: Something may not be removed; what was removed before that is gone.
    """
    if not is_folder(path):
        os.unlink(path)
        return

    def visit(folder: int, entry: os.DirEntry[str]) -> bool:
        if entry.is_dir(follow_symlinks=False):
            return True
        with contextlib.suppress(FileNotFoundError):  # the guest was quicker, here and below
            os.unlink(entry.name, dir_fd=folder)
        return False

    def leave(above: int, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(name, dir_fd=above)

    def refused(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error

    walk(path, check=check, visit=visit, leave=leave, refused=refused)


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
