import asyncio
import os
import shutil
import signal
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from stacyvm.domain.errors import UnavailableError
from stacyvm.store import embedded, sockets
from stacyvm.store.connect import connect
from stacyvm.store.embedded import EmbeddedRedis
from stacyvm.store.sandboxes import SandboxStore
from tests.unit.store.processes import is_running, parent_of_redis, wait_until
from tests.unit.store.samples import INSTANCE, sandbox


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncIterator[EmbeddedRedis]:
    """A Redis that is stopped at the end if the test has not done so."""
    server = EmbeddedRedis(tmp_path)
    yield server
    await server.stop()


async def reserve(url: str, number: int) -> None:
    client = connect(url)
    store = SandboxStore(client, instance=INSTANCE, retention=60)
    await store.reserve(sandbox(number), max_sandboxes=0, max_per_owner=0)
    await client.aclose()


async def numbers(url: str) -> list[int]:
    client = connect(url)
    found = await SandboxStore(client, instance=INSTANCE, retention=60).list()
    await client.aclose()
    return sorted(int(s.id.removeprefix("sb-"), 16) for s in found)


def pid_of(redis: EmbeddedRedis) -> int:
    assert redis._child is not None
    return redis._child.process.pid


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


def log_of_commands(data_dir: Path) -> Path:
    (log,) = data_dir.glob("redis/appendonlydir/*.incr.aof")
    return log


def environment_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


def sockets_under(path: Path) -> list[Path]:
    return [p for p in path.rglob("*") if stat.S_ISSOCK(p.lstat().st_mode)]


async def test_it_serves_and_leaves_only_its_data(tmp_path: Path, redis: EmbeddedRedis) -> None:
    url = await redis.start()
    pid, path = pid_of(redis), Path(url.removeprefix("unix://"))
    assert tmp_path in path.parents
    assert mode_of(path) == mode_of(path.parent) == 0o700
    assert os.getsid(pid) == pid
    await reserve(url, 1)
    await redis.stop()
    await redis.stop()
    assert not is_running(pid)
    assert sockets_under(tmp_path) == []
    assert await numbers(await redis.start()) == [1]


async def test_its_settings_are_the_safe_ones(redis: EmbeddedRedis) -> None:
    client = connect(await redis.start())
    settings: Any = await client.config_get("*")
    wanted = {
        "port": "0",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "aof-load-truncated": "yes",
        "save": "",
        "maxmemory-policy": "noeviction",
        "unixsocketperm": "700",
    }
    assert {name: settings[name] for name in wanted} == wanted
    await client.aclose()


async def test_it_sees_nothing_of_the_servers_environment(
    redis: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STACYVM_API_KEY", "secret")
    await redis.start()
    assert b"STACYVM" not in environment_of(pid_of(redis))


async def test_it_cannot_be_started_twice_or_waited_for_before(redis: EmbeddedRedis) -> None:
    with pytest.raises(RuntimeError):
        await redis.wait()
    await redis.start()
    with pytest.raises(RuntimeError):
        await redis.start()


async def test_killed_it_is_noticed_and_comes_back_with_all_records(
    redis: EmbeddedRedis, tmp_path: Path
) -> None:
    url = await redis.start()
    for number in range(5):
        await reserve(url, number)
    os.kill(pid_of(redis), signal.SIGKILL)
    assert await redis.wait() == -signal.SIGKILL
    with pytest.raises(UnavailableError):
        await numbers(url)
    await redis.stop()
    assert sockets_under(tmp_path) == []
    again = await redis.start()
    assert again == url
    assert await numbers(url) == list(range(5))


async def test_half_a_last_command_is_cut_off(redis: EmbeddedRedis, tmp_path: Path) -> None:
    url = await redis.start()
    await reserve(url, 1)
    await reserve(url, 2)
    os.kill(pid_of(redis), signal.SIGKILL)
    await redis.stop()
    with log_of_commands(tmp_path).open("ab") as file:
        file.write(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$100\r\nhalf")
    assert await numbers(await redis.start()) == [1, 2]


@pytest.mark.parametrize("depth", [100, 200])
async def test_a_deep_data_directory_gets_a_short_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, depth: int
) -> None:
    # At the second depth, the temporary directory is too deep as well.
    deep, temporary = tmp_path / ("d" * depth), tmp_path / ("t" * (depth - 100))
    deep.mkdir()
    temporary.mkdir(exist_ok=True)
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    redis = EmbeddedRedis(deep)
    url = await redis.start()
    path = Path(url.removeprefix("unix://"))
    assert len(os.fsencode(path)) <= sockets.LONGEST_PATH
    assert mode_of(path.parent) == 0o700
    await reserve(url, 7)
    await redis.stop()
    assert not path.parent.exists()
    assert await redis.start() == url
    assert await numbers(url) == [7]
    await redis.stop()
    assert not path.parent.exists()


def test_a_short_place_somebody_else_prepared_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep, temporary, elsewhere = tmp_path / ("d" * 100), tmp_path / "t", tmp_path / "elsewhere"
    for path in (deep, temporary, elsewhere):
        path.mkdir()
    # Short enough for the link to be where the socket would go.
    monkeypatch.setattr("stacyvm.store.sockets.LONGEST_PATH", len(str(temporary)) + 60)
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    place = sockets.socket_path(deep / "redis" / ("d" * 100)).parent
    assert place.parent == temporary
    place.rmdir()
    place.symlink_to(elsewhere)
    with pytest.raises(UnavailableError, match="belongs to somebody else"):
        sockets.socket_path(deep / "redis" / ("d" * 100))


async def test_a_space_in_the_path_is_fine(tmp_path: Path) -> None:
    path = tmp_path / "my data %41"
    path.mkdir()
    redis = EmbeddedRedis(path)
    url = await redis.start()
    await reserve(url, 3)
    assert await numbers(url) == [3]
    await redis.stop()


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv of util-linux")
def test_it_dies_with_a_server_that_is_killed(tmp_path: Path) -> None:
    with parent_of_redis(tmp_path, orphan=False) as (parent, pid):
        assert is_running(pid)
        parent.kill()
        wait_until(lambda: not is_running(pid), "Redis outlived its server")


@pytest.mark.parametrize("hung", [False, True])
def test_an_orphan_is_shut_down_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, hung: bool
) -> None:
    async def write() -> None:
        await reserve(f"unix://{tmp_path}/redis/redis.sock", 1)

    async def take_over() -> list[int]:
        redis = EmbeddedRedis(tmp_path)
        try:
            return await numbers(await redis.start())
        finally:
            await redis.stop()

    with parent_of_redis(tmp_path, orphan=True) as (parent, pid):
        asyncio.run(write())
        parent.kill()
        parent.wait()
        assert is_running(pid)
        if hung:
            monkeypatch.setattr(embedded, "STOP_TIMEOUT", 0.3)
            os.kill(pid, signal.SIGSTOP)
        # What stop() then does to its own Redis within that time is up to it: nothing is lost.
        assert asyncio.run(take_over()) == [1]
        wait_until(lambda: not is_running(pid), "the orphan is still there")


async def test_a_stale_socket_is_in_nobodys_way(tmp_path: Path, redis: EmbeddedRedis) -> None:
    (tmp_path / "redis").mkdir()
    server = await asyncio.start_unix_server(lambda _r, _w: None, tmp_path / "redis/redis.sock")
    server.close()
    await server.wait_closed()
    assert sockets_under(tmp_path)
    assert await numbers(await redis.start()) == []


async def test_a_redis_that_hangs_is_killed(
    redis: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    await redis.start()
    pid = pid_of(redis)
    monkeypatch.setattr(embedded, "STOP_TIMEOUT", 0.2)
    os.kill(pid, signal.SIGSTOP)
    await redis.stop()
    assert not is_running(pid)


async def test_data_it_cannot_load_is_an_error_with_its_log(
    redis: EmbeddedRedis, tmp_path: Path
) -> None:
    await redis.start()
    await redis.stop()
    log_of_commands(tmp_path).write_bytes(b"this is no append-only file\n" * 10)
    with pytest.raises(UnavailableError, match="ended with exit status 1") as caught:
        await redis.start()
    assert "append only file" in str(caught.value)
    assert sockets_under(tmp_path) == []


async def test_a_redis_that_never_serves_is_given_up(
    redis: EmbeddedRedis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sleeper = tmp_path / "bin" / "redis-server"
    sleeper.parent.mkdir()
    sleeper.write_text("#!/bin/sh\necho dozing >&2\nexec sleep 60\n")
    sleeper.chmod(0o755)
    monkeypatch.setenv("PATH", str(sleeper.parent), prepend=os.pathsep)
    monkeypatch.setattr(embedded, "START_TIMEOUT", 0.3)
    with pytest.raises(UnavailableError, match=r"(?s)did not serve within 0.3s.*dozing"):
        await redis.start()


async def test_a_start_that_is_cancelled_leaves_no_process(
    redis: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = asyncio.Event()

    async def never(_path: Path) -> bool:
        asked.set()
        return False

    monkeypatch.setattr(embedded, "answers", never)
    start = asyncio.create_task(redis.start())
    await asked.wait()
    pid = pid_of(redis)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert not is_running(pid)
    assert sockets_under(tmp_path) == []


async def test_without_a_binary_it_says_how_to_get_one(
    redis: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UnavailableError, match=r"apt install redis-server.*STACYVM_REDIS_URL"):
        await redis.start()


async def test_valkey_is_taken_when_there_is_no_redis(
    redis: EmbeddedRedis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binary = shutil.which("redis-server") or shutil.which("valkey-server")
    assert binary
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "valkey-server").symlink_to(binary)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert await numbers(await redis.start()) == []


async def test_a_data_directory_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "redis").write_text("")
    with pytest.raises(UnavailableError, match="cannot use"):
        await EmbeddedRedis(tmp_path).start()


async def test_a_long_log_is_put_aside(
    redis: EmbeddedRedis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "LONGEST_LOG", 10)
    await redis.start()
    await redis.stop()
    first = (tmp_path / "redis" / "redis.log").read_bytes()
    await redis.start()
    assert (tmp_path / "redis" / "redis.log.old").read_bytes() == first
