"""The operation ``pack``: a folder or file as a tar stream."""

from __future__ import annotations

import io
import os
import stat
import tarfile

from stacyvm.agent.failure import Failure
from stacyvm.agent.frames import MAX_CHUNK
from stacyvm.agent.listing import MOST_ITEMS
from stacyvm.agent.requests import override

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class _Sink(io.RawIOBase):
    """Hands on what is written to it; tarfile brings it in blocks of the size it was told."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        super().__init__()
        self.total = 0
        self._send = send

    @override
    def write(self, data: object) -> int:
        """Send ``data``."""
        block = bytes(data)  # type: ignore[call-overload]
        self.total += len(block)
        self._send(block)
        return len(block)


def pack(path: bytes, send: Callable[[bytes], None]) -> dict[str, object]:
    """Send a tar of ``path``: a folder's content with names relative to it, or the one file.

    Links stay links; sockets, FIFOs and devices are left out; owners are not recorded.

    Returns:
        The number of entries, and of bytes of the stream.

    Raises:
        Failure: ``too_many`` entries.
        OSError: Something cannot be read.
    """
    sink = _Sink(send)
    count = 0
    with tarfile.open(
        fileobj=sink, mode="w|", bufsize=MAX_CHUNK, format=tarfile.PAX_FORMAT, encoding="utf-8"
    ) as tar:
        for name, real in _walk(path):
            count += _add(tar, name, real)
            if count > MOST_ITEMS:
                raise Failure("too_many", f"more than {MOST_ITEMS} entries to pack")
    return {"files": count, "bytes": sink.total}


def _walk(path: bytes) -> Iterator[tuple[bytes, bytes]]:
    if not stat.S_ISDIR(os.stat(path).st_mode):
        yield os.path.basename(path), path
        return
    todo = [b""]
    while todo:
        folder = todo.pop()
        with os.scandir(os.path.join(path, folder)) as scan:
            entries = sorted(scan, key=lambda entry: entry.name)
        for entry in entries:
            name = os.path.join(folder, entry.name)
            yield name, entry.path
            if entry.is_dir(follow_symlinks=False):
                todo.append(name)


def _add(tar: tarfile.TarFile, name: bytes, real: bytes) -> int:
    try:
        found = os.lstat(real)
    except FileNotFoundError:
        return 0  # gone since its folder was read
    info = tarfile.TarInfo(name.decode("utf-8", "surrogateescape"))
    info.mode, info.mtime = stat.S_IMODE(found.st_mode), found.st_mtime
    if stat.S_ISREG(found.st_mode):
        return _add_file(tar, info, real)
    if stat.S_ISDIR(found.st_mode):
        info.type = tarfile.DIRTYPE
    elif stat.S_ISLNK(found.st_mode):
        info.type = tarfile.SYMTYPE
        info.linkname = os.readlink(real).decode("utf-8", "surrogateescape")
    else:
        return 0
    tar.addfile(info)
    return 1


def _add_file(tar: tarfile.TarFile, info: tarfile.TarInfo, real: bytes) -> int:
    # Not followed and not waited for, even if the guest swaps the file for a link or FIFO now.
    fd = os.open(real, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(fd, "rb") as file:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            return 0
        info.size = found.st_size
        tar.addfile(info, file)
    return 1
