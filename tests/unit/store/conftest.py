"""A private Redis for the session, emptied for each test."""

import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from stacyvm.store.connect import connect
from stacyvm.store.sandboxes import SandboxStore
from tests.unit.store.samples import INSTANCE, RETENTION


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """Run a redis-server for the session."""
    binary = shutil.which("redis-server") or shutil.which("valkey-server")
    assert binary, "these tests need redis-server or valkey-server"
    # Not pytest's tmp_path: its names can be longer than a socket's may be.
    with tempfile.TemporaryDirectory(prefix="stacyvm-test-") as home:
        socket = Path(home, "redis.sock")
        settings = ["--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", home]
        server = subprocess.Popen([binary, *settings], stdout=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 10
            while not socket.exists():
                assert server.poll() is None, "redis-server ended at once"
                assert time.monotonic() < deadline, "redis-server made no socket"
                time.sleep(0.01)
            yield f"unix://{socket}"
        finally:
            server.terminate()
            server.wait(10)


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = connect(redis_url)
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture
def store(redis: Redis) -> SandboxStore:
    return SandboxStore(redis, instance=INSTANCE, retention=RETENTION)
