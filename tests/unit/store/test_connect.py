import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from stacyvm.domain.errors import InvalidRequestError, StacyError, UnavailableError
from stacyvm.store.connect import MAX_CONNECTIONS, connect
from stacyvm.store.sandboxes import SandboxStore
from stacyvm.store.translate import redis_errors
from tests.unit.store.samples import INSTANCE, PREFIX, RUNNING, sandbox

SECRET = "hunter2"  # noqa: S105 - what must not be shown


@asynccontextmanager
async def store_at(url: str) -> AsyncIterator[SandboxStore]:
    client = connect(url)
    yield SandboxStore(client, instance=INSTANCE, retention=60)
    await client.aclose()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        f"http://:{SECRET}@localhost",
        f"redis://:{SECRET}@",
        f"redis://:{SECRET}@localhost:port",
        f"redis://:{SECRET}@localhost:99999",
        f"redis://:{SECRET}@localhost:0",
        f"redis://:{SECRET}@localhost/zero",
        f"redis://:{SECRET}@localhost?colour=blue",
        f"redis://:{SECRET}@localhost?socket_timeout=soon",
        f"redis://:{SECRET}@localhost?max_connections=-1",
        f"redis://:{SECRET}@[::1",
        f"redis://:{SECRET}/a@localhost",
        f"redis://:1/{SECRET}@localhost",
        f"redis://:1?{SECRET}@localhost",
        f"redis://:1#{SECRET}@localhost",
        f"unix://:{SECRET}@",
        f"unix://:{SECRET}@/",
    ],
)
async def test_a_bad_url_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(InvalidRequestError, match="invalid Redis URL") as caught:
        await connect(url).aclose()
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost",
        "redis://user:p%2Fw%40@[::1]:6380/3",
        "rediss://:pw@redis.example:6379/0?ssl_cert_reqs=none",
        "unix:///run/redis/redis.sock?db=2",
        "unix://user:pw@/run/a@b.sock",
    ],
)
async def test_a_good_url_is_taken(url: str) -> None:
    await connect(url).aclose()


CALLS: list[Callable[[SandboxStore], Any]] = [
    lambda store: store.reserve(RUNNING, max_sandboxes=1, max_per_owner=1),
    lambda store: store.get("sb-00000000"),
    lambda store: store.list(ended=True),
    lambda store: store.update("sb-00000000", expect={RUNNING.state}, reason=""),
    lambda store: store.extend("sb-00000000", now=RUNNING.created_at, ttl=1, max_ttl=1),
    lambda store: store.end(
        "sb-00000000", state=type(RUNNING.state).ERROR, reason="", now=RUNNING.created_at
    ),
    lambda store: store.expired(RUNNING.expires_at),
    lambda store: store.count(),
    lambda store: store.ping(),
]


@pytest.mark.parametrize("call", CALLS)
async def test_without_redis_every_method_says_so_soon(
    call: Callable[[SandboxStore], Any], tmp_path: Path
) -> None:
    for url in (f"redis://eve:{SECRET}@127.0.0.1:1", f"unix://eve:{SECRET}@{tmp_path}/none"):
        async with store_at(url) as store:
            began = time.monotonic()
            with pytest.raises(UnavailableError, match="Redis does not answer") as caught:
                await call(store)
            assert time.monotonic() - began < 2
            assert SECRET not in str(caught.value)


async def test_a_silent_redis_is_given_up_after_one_time_limit() -> None:
    closing: list[asyncio.StreamWriter] = []
    connected = 0

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connected
        connected += 1
        closing.append(writer)
        await reader.read()

    server = await asyncio.start_server(silent, "127.0.0.1")
    port = server.sockets[0].getsockname()[1]
    async with store_at(f"redis://127.0.0.1:{port}?socket_timeout=0.2") as store:
        began = time.monotonic()
        with pytest.raises(UnavailableError):
            await store.ping()
        assert time.monotonic() - began < 2
    assert connected == 1
    for writer in closing:
        writer.close()
    server.close()
    await server.wait_closed()


async def test_refused_credentials_are_named_but_not_shown(redis: Redis, redis_url: str) -> None:
    await redis.acl_setuser("eve", enabled=True, passwords=["+right"], keys="*", commands=["+@all"])
    path = redis_url.removeprefix("unix://")
    try:
        async with store_at(f"unix://eve:right@{path}") as store:
            assert await store.count() == 0
        async with store_at(f"unix://eve:{SECRET}@{path}") as store:
            with pytest.raises(UnavailableError, match="credentials") as caught:
                await store.ping()
        assert SECRET not in str(caught.value)
    finally:
        await redis.acl_deluser("eve")


async def test_many_callers_share_few_connections(redis: Redis, redis_url: str) -> None:
    async with store_at(redis_url) as store:
        await store.reserve(RUNNING, max_sandboxes=0, max_per_owner=0)
        found = await asyncio.gather(*(store.get(RUNNING.id) for _ in range(400)))
        assert found == [RUNNING] * 400
        clients: Any = await redis.info("clients")
        assert clients["connected_clients"] <= MAX_CONNECTIONS + 1


async def test_a_dropped_connection_is_opened_again(redis: Redis, store: SandboxStore) -> None:
    await store.reserve(RUNNING, max_sandboxes=0, max_per_owner=0)
    for _ in range(3):
        await redis.client_kill_filter(_type="normal", skipme=False)
        assert await store.get(RUNNING.id) == RUNNING


async def test_a_cancelled_call_leaves_no_answer_for_the_next(store: SandboxStore) -> None:
    for number in range(40):
        await store.reserve(sandbox(number), max_sandboxes=0, max_per_owner=0)
    for turn in range(20):
        calls = [asyncio.create_task(store.get(f"sb-{n:08x}")) for n in range(40)]
        for _ in range(turn):
            await asyncio.sleep(0)
        for call in calls[::2]:
            call.cancel()
        found = await asyncio.gather(*calls, return_exceptions=True)
        assert found[1::2] == [sandbox(n) for n in range(1, 40, 2)]


async def test_a_full_redis_is_unavailable_and_nothing_is_half_done(
    redis: Redis, store: SandboxStore
) -> None:
    await redis.config_set("maxmemory", "1")
    try:
        with pytest.raises(UnavailableError, match="cannot serve now"):
            await store.reserve(RUNNING, max_sandboxes=0, max_per_owner=0)
    finally:
        await redis.config_set("maxmemory", "0")
    assert await redis.keys() == []


async def test_a_replica_is_unavailable(redis: Redis, store: SandboxStore) -> None:
    await redis.replicaof("127.0.0.1", "1")
    try:
        with pytest.raises(UnavailableError, match="cannot serve now"):
            await store.reserve(RUNNING, max_sandboxes=0, max_per_owner=0)
    finally:
        await redis.replicaof("NO", "ONE")


async def test_any_other_error_of_redis_is_ours_too(redis: Redis, store: SandboxStore) -> None:
    await redis.set(f"{PREFIX}live", "not an index")
    with pytest.raises(StacyError, match="WRONGTYPE") as caught:
        await store.list()
    assert not isinstance(caught.value, UnavailableError)


async def test_a_disk_that_is_full_is_unavailable(redis: Redis) -> None:
    with pytest.raises(UnavailableError, match="MISCONF"), redis_errors():
        await redis.eval("return redis.error_reply('MISCONF cannot write its file')", 0)
