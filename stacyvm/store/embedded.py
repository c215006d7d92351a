"""A private Redis for a server that was given none."""

import asyncio
import os
import shutil
import subprocess
from asyncio.subprocess import DEVNULL, Process
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from stacyvm.domain.errors import UnavailableError
from stacyvm.store.sockets import answers, remove_socket, shut_down, socket_path

BINARIES = ("redis-server", "valkey-server")
START_TIMEOUT = 60.0  # seconds, loading the data included
STOP_TIMEOUT = 10.0  # seconds until it is killed; what it was told is on disk anyway
# The log is begun anew at a start once it is longer than this, and one old one kept.
LONGEST_LOG = 2**20
_TAIL = 2000  # bytes of the log that an error shows

_SETTINGS = {
    "port": "0",  # no network at all
    "unixsocketperm": "700",
    "dir": ".",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "aof-load-truncated": "yes",  # after a power cut the last command may be there by half
    "save": "",
    "maxmemory-policy": "noeviction",
    "loglevel": "warning",
    "daemonize": "no",
}


class EmbeddedRedis:
    """A Redis or Valkey child on a Unix socket, with its data in ``data_dir/redis``.

    It listens on no network and keeps an append-only file, so that at most the last second is lost
    with the power, and nothing with the process. It is in a session of its own: Ctrl-C reaches the
    server alone, which needs its Redis to stop well. Should the server be killed, the kernel ends
    it (on Linux with ``setpriv``); where it cannot, the next start does.

    Only the holder of the ``DataDir`` may start one. Start it from a thread that lives as long as
    the server, that is the main one: the kernel's promise is bound to the thread.

    Args:
        data_dir: The server's data directory; it must exist.
    """

    def __init__(self, data_dir: Path) -> None:
        self._home = data_dir / "redis"
        self._child: _Child | None = None

    async def start(self) -> str:
        """Start it and return its URL once it serves.

        Raises:
            UnavailableError: No binary is installed, or it did not start; the log's end is shown.
        """
        if self._child is not None:
            raise RuntimeError("this Redis has been started already")
        path = await asyncio.to_thread(self._make_place)
        await shut_down(path, timeout=STOP_TIMEOUT)  # an orphan of a server that was killed
        command, log = await asyncio.to_thread(self._prepare, path)
        with log:
            process = await asyncio.create_subprocess_exec(
                *command,
                cwd=self._home,
                stdin=DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={"PATH": os.defpath},  # nothing of the server's: that may hold keys
            )
        self._child = _Child(process, path)
        try:
            await self._wait_until_it_serves(self._child)
        except BaseException:
            await self.stop()
            raise
        return f"unix://{quote(str(path))}"

    async def stop(self) -> None:
        """Shut it down, by force if it takes long; nothing but its data is left. Idempotent."""
        child, self._child = self._child, None
        if child is None:
            return
        process = child.process
        try:
            if process.returncode is None:
                process.terminate()  # as SHUTDOWN: all data is written out first
            async with asyncio.timeout(STOP_TIMEOUT):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        finally:
            if process.returncode is None:  # our caller was cancelled
                process.kill()
            await asyncio.to_thread(remove_socket, child.path, self._home)

    async def wait(self) -> int:
        """Wait until it ends, and return its exit status; negative is the signal that ended it.

        For the server to notice that it died: while nobody calls ``stop`` it should not end.
        """
        if self._child is None:
            raise RuntimeError("this Redis has not been started")
        return await self._child.process.wait()

    def log_tail(self) -> str:
        """Return the end of its log, to show why it died. Reads the disk."""
        try:
            with self._log.open("rb") as log:
                log.seek(max(0, self._log.stat().st_size - _TAIL))
                return log.read(_TAIL).decode("utf-8", "replace").strip()
        except FileNotFoundError:
            return ""

    @property
    def _log(self) -> Path:
        return self._home / "redis.log"

    def _make_place(self) -> Path:
        """Make the directories, and return the socket's path."""
        try:
            self._home.mkdir(mode=0o700, exist_ok=True)
            self._home.chmod(0o700)
            return socket_path(self._home)
        except OSError as error:
            raise UnavailableError(f"cannot use {self._home} for Redis: {error}") from error

    def _prepare(self, path: Path) -> tuple[list[str], BinaryIO]:
        """Return the command to run, and the log, open; what a killed one left is put away."""
        # Names without a directory are within its own: older versions split arguments at spaces.
        settings = _SETTINGS | {
            "unixsocket": path.name if path.parent == self._home else str(path),
            "logfile": self._log.name,
        }
        arguments = [part for name, value in settings.items() for part in (f"--{name}", value)]
        command = [*_dies_with_us(), _find_binary(), *arguments]
        try:
            path.unlink(missing_ok=True)
            if self._log.exists() and self._log.stat().st_size > LONGEST_LOG:
                self._log.replace(self._log.with_suffix(".log.old"))
            return command, self._log.open("ab")
        except OSError as error:
            raise UnavailableError(f"cannot use {self._home} for Redis: {error}") from error

    async def _wait_until_it_serves(self, child: "_Child") -> None:
        process = child.process
        try:
            async with asyncio.timeout(START_TIMEOUT):
                delay = 0.005
                while process.returncode is None and not await answers(child.path):
                    await asyncio.sleep(delay)
                    delay = min(delay * 1.5, 0.2)
        except TimeoutError:
            what = f"did not serve within {START_TIMEOUT:g}s"
        else:
            if process.returncode is None:
                return
            what = f"ended with exit status {process.returncode}"
        tail = await asyncio.to_thread(self.log_tail)
        raise UnavailableError(f"the embedded Redis {what}; the end of {self._log}:\n{tail}")


@dataclass(frozen=True, slots=True)
class _Child:
    process: Process
    path: Path  # of its socket


def _find_binary() -> str:
    for name in BINARIES:
        if found := shutil.which(name):
            return found
    raise UnavailableError(
        "no redis-server or valkey-server found: install one (apt install redis-server, "
        "or brew install redis), or set STACYVM_REDIS_URL to a Redis that runs elsewhere"
    )


def _dies_with_us() -> list[str]:
    """Return the words in front of a command that end it with the thread that started it.

    None where there is no such program, or one (busybox) that cannot do it.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        return []
    words = [setpriv, "--pdeathsig", "TERM", "--"]
    tried = subprocess.run([*words, setpriv, "--version"], capture_output=True, check=False)  # noqa: S603
    return words if tried.returncode == 0 else []
