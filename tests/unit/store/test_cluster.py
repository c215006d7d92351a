"""The store on a Redis in cluster mode, which refuses commands and scripts that cross slots."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from stacyvm.domain.sandbox import SandboxState
from stacyvm.store import embedded, scripts
from stacyvm.store.connect import connect
from stacyvm.store.embedded import EmbeddedRedis
from stacyvm.store.sandboxes import SandboxStore
from tests.unit.store.samples import INSTANCE, NOON, PREFIX, sandbox


async def cluster_command(client: Redis, *words: str | int) -> str:
    return str(await client.execute_command("CLUSTER", *words))  # type: ignore[no-untyped-call]


async def until_it_serves(client: Redis) -> None:
    for _ in range(200):
        if "cluster_state:ok" in await cluster_command(client, "INFO"):
            return
        await asyncio.sleep(0.05)


@pytest.fixture
async def cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int
) -> AsyncIterator[Redis]:
    """A cluster of one that owns every slot."""
    monkeypatch.setitem(embedded._SETTINGS, "cluster-enabled", "yes")
    # Cluster mode insists on a network port for its own talk.
    monkeypatch.setitem(embedded._SETTINGS, "cluster-port", str(unused_tcp_port))
    monkeypatch.setitem(embedded._SETTINGS, "bind", "127.0.0.1")
    server = EmbeddedRedis(tmp_path)
    client = connect(await server.start())
    await cluster_command(client, "ADDSLOTSRANGE", 0, 16383)
    async with asyncio.timeout(10):
        await until_it_serves(client)
    yield client
    await client.aclose()
    await server.stop()


async def test_everything_works_in_one_slot(cluster: Redis) -> None:
    with pytest.raises(ResponseError, match="same slot"):
        await cluster.mget(["a", "b"])
    store = SandboxStore(cluster, instance=INSTANCE, retention=60)
    for number in range(4):
        await store.reserve(sandbox(number), max_sandboxes=9, max_per_owner=9)
    await store.extend("sb-00000001", now=NOON, ttl=9000, max_ttl=9000)
    await store.update("sb-00000002", expect={SandboxState.RUNNING}, reason="tired")
    await store.end("sb-00000003", state=SandboxState.ERROR, reason="", now=NOON)
    await cluster.delete(f"{PREFIX}sandbox:sb-00000002")
    assert [s.id[-1] for s in await store.list(ended=True)] == ["3", "1", "0"]
    assert [s.id[-1] for s in await store.expired(sandbox(0).expires_at)] == ["0"]
    assert await store.count(owner_id="ada") == 3


def test_scripts_name_no_key_of_their_own() -> None:
    every: list[Any] = [scripts.RESERVE, scripts.REPLACE, scripts.END, scripts.BURY]
    for script in every:
        calls = re.findall(r"redis\.p?call\('\w+', ([^,)]+)", script)
        assert calls
        assert all(re.fullmatch(r"KEYS\[\d\]", key) for key in calls)
