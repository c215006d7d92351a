"""The operation ``write``: a whole file or nothing."""

from __future__ import annotations

import os
import stat

from stacyvm.agent.disk import Disk
from stacyvm.agent.failure import Failure
from stacyvm.agent.feed import InputWindow
from stacyvm.agent.requests import Live, Reply, override

try:
    from _sha2 import sha256  # type: ignore[import-not-found, unused-ignore]
except ImportError:
    try:
        from _sha256 import sha256  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        from hashlib import sha256


_MOST_LINKS = 40  # as the kernel
_NEW_FILE = 0o644


def final_target(path: bytes) -> tuple[bytes, os.stat_result | None]:
    """Follow links at the end of ``path``; return what they lead to, and its state if it exists.

    Raises:
        Failure: ``invalid_path`` for links in a circle.
        OSError: The way there cannot be walked.
    """
    for _ in range(_MOST_LINKS):
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            return path, None
        if not stat.S_ISLNK(found.st_mode):
            return path, found
        path = os.path.join(os.path.dirname(path), os.readlink(path))
    raise Failure("invalid_path", "too many symbolic links")


class Writing(Live):
    """Collects a file under a temporary name and puts it in its place at the end."""

    def __init__(
        self, reply: Reply, disk: Disk, path: bytes, *, mode: int | None, size: int | None
    ) -> None:
        """Open the temporary file.

        Raises:
            Failure: The target is a folder or a device.
            OSError: The folder is missing or closed to us.
        """
        super().__init__(reply)
        self._disk = disk
        self._fd = -1
        self._target, found = final_target(path)
        self._mode = _mode(mode, found)
        self._replaced = found.st_size if found is not None and found.st_nlink == 1 else 0
        self._expected = size
        self._size = 0
        self._hash = sha256()
        self._window = InputWindow(lambda count: self.reply.send("credit", {"bytes": count}))
        # Short whatever the target's name, and of a length that any folder takes.
        folder = os.path.dirname(self._target)
        self._temporary = os.path.join(folder, b".stacyvm-" + os.urandom(8).hex().encode())
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            self._fd = os.open(self._temporary, flags, 0o600)
        except OSError as error:
            error.filename = path  # the temporary name is nobody's business
            raise

    @override
    def take_input(self, data: bytes, *, eof: bool) -> None:
        """Append ``data``; with ``eof`` finish.

        Raises:
            Failure: More bytes than promised or than the disk limit has room for.
            OSError: The file system is full or failing.
        """
        if self._fd < 0:
            return
        self._window.arrived(len(data))
        if self._expected is not None and self._size + len(data) > self._expected:
            raise Failure("invalid", f"more than the {self._expected} bytes announced")
        self._disk.use(len(data))
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]
        self._hash.update(data)
        self._size += len(data)
        if eof:
            self._finish()
        else:
            self._window.used(len(data))

    @override
    def release(self) -> None:
        """Remove the temporary file."""
        if self._fd >= 0:
            self._disk.use(-self._size)
            os.close(self._fd)
            self._fd = -1
            try:
                os.unlink(self._temporary)
            except FileNotFoundError:
                return  # the guest removed it, or its folder

    def _finish(self) -> None:
        if self._expected is not None and self._size != self._expected:
            raise Failure("invalid", f"{self._size} bytes arrived, {self._expected} were announced")
        os.fchmod(self._fd, self._mode)  # exactly, whatever the umask
        # No fsync: a sandbox does not outlive a crash of its host, so there is nobody to read it.
        os.replace(self._temporary, self._target)
        os.close(self._fd)
        self._fd = -1
        self._disk.use(-self._replaced)
        self.reply.ok({"size": self._size, "sha256": self._hash.hexdigest()})


def _mode(wanted: int | None, found: os.stat_result | None) -> int:
    if found is not None and stat.S_ISDIR(found.st_mode):
        raise Failure("is_a_directory", "the target is a folder")
    if found is not None and not stat.S_ISREG(found.st_mode):
        raise Failure("not_a_file", "the target is not a regular file")
    if wanted is not None:
        return wanted
    return stat.S_IMODE(found.st_mode) if found is not None else _NEW_FILE
