"""The server's data directory: who uses it, and which instance it is."""

import fcntl
import os
import re
import secrets
from pathlib import Path
from types import TracebackType
from typing import Self

from stacyvm.domain.errors import ConflictError, InvalidRequestError, UnavailableError

_INSTANCE = re.compile(r"[0-9a-f]{8}")


class DataDir:
    """A data directory, held by at most one server at a time.

    It is held by a lock of the kernel on ``lock`` inside, so it is free again the moment the server
    is gone, however it went. The instance id in ``instance`` says whose containers and records are
    whose, and stays the same for the life of the directory. All methods touch the disk: call them
    before the event loop or in a thread.

    Args:
        path: The directory; made with mode 0700 when it is not there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.instance = ""
        self._lock: int | None = None

    def open(self) -> Self:
        """Take the directory and read, or make up, its instance id.

        Raises:
            ConflictError: Another server holds it.
            UnavailableError: It cannot be made, read or written.
            InvalidRequestError: The file with the instance id holds something else.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = _locked(self.path)
            try:
                self.instance = _instance(self.path / "instance")
            except BaseException:
                self.close()
                raise
        except OSError as error:
            raise UnavailableError(
                f"cannot use the data directory {self.path}: {error.strerror} (STACYVM_DATA_DIR)"
            ) from error
        return self

    def close(self) -> None:
        """Let the directory go. Idempotent."""
        if self._lock is not None:
            # The file stays: a server starting now may have opened it already, and must find the
            # same lock as everybody else.
            os.ftruncate(self._lock, 0)
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _locked(directory: Path) -> int:
    """Return the descriptor of the lock file, locked, with our pid in it."""
    lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    except BlockingIOError as error:
        holder = os.pread(lock, 32, 0).decode("ascii", "replace").strip()
        os.close(lock)
        raise ConflictError(
            f"another server (pid {holder or 'unknown'}) uses the data directory {directory}; "
            "stop it, or set STACYVM_DATA_DIR to another directory"
        ) from error
    except BaseException:
        os.close(lock)
        raise
    return lock


def _instance(file: Path) -> str:
    try:
        found = file.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return _new_instance(file)
    except UnicodeDecodeError:
        found = ""
    if not _INSTANCE.fullmatch(found):
        # A new id would orphan every container and record of the old one.
        raise InvalidRequestError(
            f"{file} does not hold an instance id of eight hexadecimal digits; "
            "restore it, or delete it to give up the sandboxes of the old one"
        )
    return found


def _new_instance(file: Path) -> str:
    """Write a fresh id so that after a crash at any moment there is a whole one, or none."""
    instance = secrets.token_hex(4)
    draft = file.with_name("instance.new")
    with draft.open("w", encoding="ascii") as output:
        output.write(f"{instance}\n")
        output.flush()
        os.fsync(output.fileno())
    draft.replace(file)
    directory = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return instance
