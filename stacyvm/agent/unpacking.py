"""The operation ``unpack``: a tar stream from anywhere into a folder, and nowhere else."""

from __future__ import annotations

import contextlib
import io
import os
import tarfile

from stacyvm.agent.failure import Failure
from stacyvm.agent.listing import MOST_ITEMS
from stacyvm.agent.requests import override

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_LARGEST_HEADER = 1 << 20
_COPY = 256 << 10
_HEADERS = {
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
}
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class _Member(tarfile.TarInfo):
    """A member whose header is checked before tarfile acts on it."""

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        # tarfile reads such headers to memory whole, and goes back for ever on a negative size.
        if self.size < 0 or (self.type in _HEADERS and self.size > _LARGEST_HEADER):
            raise Failure("invalid", "the archive has a header of a forbidden size")
        if self.type == tarfile.GNUTYPE_SPARSE:
            raise Failure("invalid", "the archive holds a sparse file")
        return super()._proc_member(tar)  # type: ignore[misc, no-any-return]


class _Source(io.RawIOBase):
    """Reads what ``receive`` brings, until it brings nothing."""

    def __init__(self, receive: Callable[[], bytes]) -> None:
        super().__init__()
        self.total = 0
        self._receive = receive
        self._rest = b""
        self._over = False

    @override
    def read(self, size: int = -1) -> bytes:
        """Return exactly ``size`` bytes, or fewer at the end."""
        parts, left = [], size
        while left and (data := self._next()):
            parts.append(data[:left])
            self._rest = data[left:]
            left -= len(parts[-1])
        return b"".join(parts)

    def drain(self) -> None:
        """Take what follows the archive's end, so that the sender is not left waiting."""
        while self._next():
            self._rest = b""

    def _next(self) -> bytes:
        if not self._rest and not self._over:
            self._rest = self._receive()
            self.total += len(self._rest)
            self._over = not self._rest
        return self._rest


class Unpacking:
    """Writes members below a folder. No name, link or order of members leads out of it.

    That holds because every step down is taken with O_NOFOLLOW from an open folder.
    """

    def __init__(self, folder: bytes, use: Callable[[int], None]) -> None:
        """Unpack into ``folder``; ``use`` is told of bytes to be written and may refuse them."""
        self._root = os.open(folder, _FOLDER & ~os.O_NOFOLLOW)
        self._use = use
        self._count = 0

    def run(self, receive: Callable[[], bytes]) -> dict[str, object]:
        """Unpack all; on an error what came before it stays.

        Raises:
            Failure: ``invalid`` archive, ``too_many`` members, ``no_space``.
            OSError: A file system is full or failing.
        """
        source = _Source(receive)
        try:
            with tarfile.open(fileobj=source, mode="r|", tarinfo=_Member, encoding="utf-8") as tar:
                for member in tar:
                    tar.members = []  # type: ignore[attr-defined]  # the stream's memory would grow with every member
                    self._member(tar, member)
            source.drain()
        except (tarfile.TarError, ValueError, OverflowError, EOFError) as error:
            raise Failure("invalid", f"not a proper tar archive: {error}"[:300]) from error
        finally:
            os.close(self._root)
        return {"files": self._count, "bytes": source.total}

    def _member(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        self._count += 1
        if self._count > MOST_ITEMS:
            raise Failure("too_many", f"more than {MOST_ITEMS} members")
        parts = _parts(member.name)
        if not parts:
            if member.isdir():
                return  # the folder itself
            raise Failure("invalid", f"member {member.name!r:.200} has no proper name")
        folder = self._descend(parts[:-1], member.name)
        try:
            self._place(tar, member, folder, parts[-1])
        finally:
            os.close(folder)

    def _place(
        self, tar: tarfile.TarFile, member: tarfile.TarInfo, folder: int, name: bytes
    ) -> None:
        mode = member.mode & 0o777
        if member.isdir():
            os.close(_enter(folder, name, member.name))
            os.chmod(name, mode | 0o700, dir_fd=folder)
            return
        if member.issym():
            target = _safe_link(member)
            _clear(folder, name)
            os.symlink(target, name, dir_fd=folder)
        elif member.islnk():
            self._link(member, folder, name)
        elif member.isreg() and not member.issparse():
            _clear(folder, name)
            self._file(tar, member, folder, name, mode)
        else:
            raise Failure("invalid", f"member {member.name!r:.200} is no file, folder or link")

    def _file(
        self, tar: tarfile.TarFile, member: tarfile.TarInfo, folder: int, name: bytes, mode: int
    ) -> None:
        content = tar.extractfile(member)
        if content is None:
            raise Failure("invalid", f"member {member.name!r:.200} has no content")
        fd = os.open(name, _NEW_FILE, 0o600, dir_fd=folder)
        with open(fd, "wb", buffering=0) as file:
            while data := content.read(_COPY):
                self._use(len(data))
                view = memoryview(data)
                while view:
                    view = view[file.write(view) :]
            os.fchmod(fd, mode)
            os.utime(fd, (member.mtime, member.mtime))

    def _link(self, member: tarfile.TarInfo, folder: int, name: bytes) -> None:
        parts = _parts(member.linkname)
        if not parts:
            raise Failure("invalid", f"link {member.name!r:.200} leads nowhere")
        source = self._descend(parts[:-1], member.linkname)
        try:
            _clear(folder, name)
            os.link(parts[-1], name, src_dir_fd=source, dst_dir_fd=folder, follow_symlinks=False)
        finally:
            os.close(source)

    def _descend(self, parts: list[bytes], shown: str) -> int:
        """Open the folder that ``parts`` lead to, making what is missing."""
        here = os.dup(self._root)
        for part in parts:
            try:
                below = _enter(here, part, shown)
            finally:
                os.close(here)
            here = below
        return here


def _enter(folder: int, name: bytes, shown: str) -> int:
    with contextlib.suppress(FileExistsError):  # entered below, if it is a folder
        os.mkdir(name, 0o755, dir_fd=folder)
    try:
        return os.open(name, _FOLDER, dir_fd=folder)
    except OSError as error:
        raise Failure("invalid", f"{shown!r:.200} leads through what is no folder") from error


def _clear(folder: int, name: bytes) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return


def _parts(name: str) -> list[bytes]:
    parts = [p for p in name.encode("utf-8", "surrogateescape").split(b"/") if p not in {b"", b"."}]
    if name.startswith("/") or b".." in parts or any(b"\0" in part for part in parts):
        raise Failure("invalid", f"member {name!r:.200} would leave the target folder")
    return parts


def _safe_link(member: tarfile.TarInfo) -> bytes:
    """Return a link's target if it stays below the folder; nothing here follows it, users do."""
    target = member.linkname
    inside = os.path.normpath(os.path.join(os.path.dirname(member.name), target))
    if not target or target.startswith("/") or inside == ".." or inside.startswith(("../", "/")):
        raise Failure("invalid", f"link {member.name!r:.200} would leave the target folder")
    return target.encode("utf-8", "surrogateescape")
