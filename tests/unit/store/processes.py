"""Servers in a process of their own, to be killed as hard as can be."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_PROGRAM = """
import asyncio, sys
from pathlib import Path
from stacyvm.store import embedded

async def main():
    if sys.argv[2] == "orphan":
        embedded._dies_with_us = lambda: []
    redis = embedded.EmbeddedRedis(Path(sys.argv[1]))
    url = await redis.start()
    print(redis._child.process.pid, url, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


@contextmanager
def parent_of_redis(data_dir: Path, *, orphan: bool) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run a server with an embedded Redis; give it and its Redis' pid. It is killed at the end.

    With ``orphan`` its Redis outlives it, as where the kernel cannot be asked to end it.
    """
    words = [sys.executable, "-c", _PROGRAM, str(data_dir), "orphan" if orphan else "dies"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = 0
        try:
            pid = int(parent.stdout.readline().split()[0])
            yield parent, pid
        finally:
            parent.kill()
            if pid and is_running(pid):
                os.kill(pid, signal.SIGCONT)
                os.kill(pid, signal.SIGTERM)


def is_running(pid: int) -> bool:
    """Tell whether a process is there and not just waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(check: Callable[[], bool], what: str, *, timeout: float = 10) -> None:
    """Poll ``check``; fail with ``what`` after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while not check():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)
