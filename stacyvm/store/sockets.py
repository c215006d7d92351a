"""Where a private server's Unix socket goes, and raw talk with whoever listens there."""

import asyncio
import hashlib
import os
import signal
import socket
import struct
import tempfile
from pathlib import Path

from stacyvm.domain.errors import UnavailableError

# A socket's path may have 107 bytes on Linux and 103 on macOS.
LONGEST_PATH = 100
NAME = "redis.sock"

_PING = b"*1\r\n$4\r\nPING\r\n"
_SHUTDOWN = b"*1\r\n$8\r\nSHUTDOWN\r\n"


def socket_path(home: Path) -> Path:
    """Return where the socket of the server in ``home`` goes; the same place at every start.

    In ``home`` itself, or if its path is too long for a socket, in a short private directory named
    after it, which is made.

    Raises:
        UnavailableError: That directory belongs to somebody else.
    """
    if len(os.fsencode(home / NAME)) <= LONGEST_PATH:
        return home / NAME
    digest = hashlib.sha256(os.fsencode(home.absolute())).hexdigest()[:16]
    place = Path(tempfile.gettempdir(), f"stacyvm-{os.getuid()}-{digest}")
    if len(os.fsencode(place / NAME)) > LONGEST_PATH:
        place = Path("/tmp") / place.name  # noqa: S108 - made and checked below
    place.mkdir(mode=0o700, exist_ok=True)
    # Anybody may make names in a temporary directory, a symbolic link to elsewhere included.
    found = place.lstat()
    if not place.is_dir() or place.is_symlink() or found.st_uid != os.getuid():
        raise UnavailableError(f"{place}, meant for the Redis socket, belongs to somebody else")
    place.chmod(0o700)
    return place / NAME


def remove_socket(path: Path, home: Path) -> None:
    """Remove the socket, and the directory made for it if it is not ``home``."""
    path.unlink(missing_ok=True)
    if path.parent != home and path.parent.is_dir():
        path.parent.rmdir()


async def answers(path: Path) -> bool:
    """Tell whether a Redis behind ``path`` serves now, having loaded all its data."""
    try:
        reader, writer = await asyncio.open_unix_connection(path)
    except OSError:
        return False
    try:
        writer.write(_PING)
        return await reader.readline() == b"+PONG\r\n"
    except OSError:
        return False
    finally:
        await _closed(writer)


async def shut_down(path: Path, *, timeout: float) -> bool:
    """Shut down the Redis that listens on ``path``, by force if it takes over ``timeout`` seconds.

    Returns:
        False when nobody listens there.
    """
    try:
        reader, writer = await asyncio.open_unix_connection(path)
    except OSError:  # no socket, or a stale one
        return False
    try:
        pid = _listener(writer)
        writer.write(_SHUTDOWN)
        try:
            async with asyncio.timeout(timeout):
                await _gone(reader)
        except TimeoutError:
            if pid is None:
                raise UnavailableError(
                    f"a Redis server of an earlier run listens on {path} and does not shut down"
                ) from None
            os.kill(pid, signal.SIGKILL)
            await _gone(reader)
    finally:
        await _closed(writer)
    return True


async def _gone(reader: asyncio.StreamReader) -> None:
    """Wait for the end of the stream: the kernel closes it when the other process ends.

    An error answer (it cannot shut down now) is read over, and the caller's time limit decides.
    """
    try:
        while await reader.read(4096):
            pass
    except OSError:
        return


def _listener(writer: asyncio.StreamWriter) -> int | None:
    """Return the pid of the process that listens at the other end, where the system tells."""
    connection = writer.get_extra_info("socket")
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    pid: int = struct.unpack("3i", credentials)[0]
    return pid or None


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    try:
        await writer.wait_closed()
    except OSError:
        return
