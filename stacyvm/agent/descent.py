"""Walking a folder tree step by step, whatever its guest does to it meanwhile."""

from __future__ import annotations

import errno
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ABOVE = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


class Descent:
    """A place in a tree. Only names are looked up, one at a time, from the folder at hand.

    So no path can be too long, no link is followed, and two descriptors are open at any depth.
    """

    def __init__(self, folder: bytes) -> None:
        """Begin in ``folder``, which may be a link only where its parents are.

        Raises:
            OSError: It is missing, no folder, or closed to us.
        """
        self.fd = os.open(folder, _ABOVE)
        self._above: list[tuple[int, int]] = []

    def __enter__(self) -> Descent:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)

    def down(self, name: str) -> None:
        """Step into the folder ``name``.

        Raises:
            OSError: It is gone, no folder (any more), or closed to us; nothing has moved then.
        """
        fd = os.open(name, _FOLDER, dir_fd=self.fd)
        self._above.append(_identity(self.fd))
        self._step(fd)

    def up(self) -> None:
        """Step back to the folder from which ``down`` came here.

        Raises:
            OSError: This one was moved elsewhere meanwhile, so that ``..`` is another.
        """
        fd = os.open("..", _ABOVE, dir_fd=self.fd)
        if _identity(fd) != self._above.pop():
            os.close(fd)
            raise OSError(errno.EBUSY, "a folder was moved while it was being walked")
        self._step(fd)

    def _step(self, fd: int) -> None:
        os.close(self.fd)
        self.fd = fd


def walk(
    folder: bytes,
    *,
    check: Callable[[], None],
    visit: Callable[[int, os.DirEntry[str]], bool],
    leave: Callable[[int, str], None] = lambda *_: None,
    refused: Callable[[OSError], None] | None = None,
) -> None:
    """Walk ``folder``, itself not being a link, and all below it.

    Args:
        folder: Where to begin.
        check: Called at every folder; may raise to stop.
        visit: Gets a folder's descriptor and an entry; tells whether to walk into that one.
        leave: Gets the descriptor of the folder above and the name of one walked through.
        refused: Told of a folder that cannot be walked into; without it, that is raised.

    Raises:
        OSError: Something cannot be walked, or was moved away meanwhile.
    """
    parent, name = os.path.split(folder)
    with Descent(parent or b"/") as here:
        todo = [[os.fsdecode(name)]]
        names: list[str] = []
        while True:
            if todo[-1]:
                check()
                name_below = todo[-1].pop()
                try:
                    here.down(name_below)
                except OSError as error:
                    if refused is None:
                        raise
                    refused(error)
                    continue
                names.append(name_below)
                todo.append(_folders(here.fd, visit))
                continue
            todo.pop()
            if not names:
                return
            here.up()
            leave(here.fd, names.pop())


def _folders(fd: int, visit: Callable[[int, os.DirEntry[str]], bool]) -> list[str]:
    with os.scandir(fd) as scan:
        entries = list(scan)
    return [entry.name for entry in entries if visit(fd, entry)]


def _identity(fd: int) -> tuple[int, int]:
    found = os.fstat(fd)
    return found.st_dev, found.st_ino


def is_folder(path: bytes) -> bool:
    """Tell whether ``path`` is a folder itself, and no link to one."""
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False
