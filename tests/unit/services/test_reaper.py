"""What reconcile must not do while things are under way."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from typing_extensions import override

from stacyvm.bootstrap import make_services
from stacyvm.domain.sandbox import Sandbox, SandboxSpec, SandboxState
from stacyvm.providers.local import LocalProvider
from stacyvm.services.fleet import Fleet
from stacyvm.services.services import Services
from stacyvm.services.spawning import SpawnRequest
from stacyvm.store.connect import connect
from stacyvm.store.embedded import EmbeddedRedis
from stacyvm.store.sandboxes import SandboxStore
from tests.conftest import MakeSettings, new_instance


class SlowToCreateProvider(LocalProvider):
    """Creates once it is let."""

    def __init__(self, root: Path) -> None:
        super().__init__(instance=new_instance(), root=root)
        self.may_create = asyncio.Event()

    @override
    async def create(self, spec: SandboxSpec) -> None:
        await self.may_create.wait()
        await super().create(spec)


class SlowToAnswerStore(SandboxStore):
    """Lists what is there when it may look, and hands it over when it may answer."""

    def __init__(self, redis: "Redis") -> None:
        super().__init__(redis, instance=new_instance(), retention=60)
        self.may_look, self.looked, self.may_answer = (asyncio.Event() for _ in range(3))

    @override
    async def list(self, *, owner_id: str | None = None, ended: bool = False) -> list[Sandbox]:
        await self.may_look.wait()
        found = await super().list(owner_id=owner_id, ended=ended)
        self.looked.set()
        await self.may_answer.wait()
        return found


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncIterator[Redis]:
    embedded = EmbeddedRedis(tmp_path)
    client = connect(await embedded.start())
    yield client
    await client.aclose()
    await embedded.stop()


async def state_of(services: Services, sandbox_id: str) -> SandboxState:
    record = await services.sandboxes.store.get(sandbox_id)
    assert record is not None
    return record.state


async def test_a_spawn_that_ends_while_reconcile_looks_is_spared(
    redis: Redis, make_settings: MakeSettings, tmp_path: Path
) -> None:
    store, provider, fleet = SlowToAnswerStore(redis), SlowToCreateProvider(tmp_path / "p"), Fleet()
    services = make_services(make_settings(), store, provider, fleet)
    try:
        looking = asyncio.create_task(services.reaper.reconcile())
        await asyncio.sleep(0)  # it has seen that nothing is being spawned
        spawning = asyncio.create_task(services.sandboxes.spawn(SpawnRequest()))
        while await store.count() == 0:  # noqa: ASYNC110 - Redis has no event for it
            await asyncio.sleep(0.005)
        store.may_look.set()
        await store.looked.wait()  # it has read the record: `creating`
        provider.may_create.set()
        sandbox = await spawning
        store.may_answer.set()
        await looking
        assert await state_of(services, sandbox.id) is SandboxState.RUNNING
        assert fleet.get(sandbox.id) is not None
    finally:
        await fleet.close()
        await provider.close()


async def test_a_creation_that_nobody_is_at_is_ended(
    redis: Redis, make_settings: MakeSettings, tmp_path: Path
) -> None:
    store, provider, fleet = SlowToAnswerStore(redis), SlowToCreateProvider(tmp_path / "p"), Fleet()
    store.may_look.set()
    store.may_answer.set()
    services = make_services(make_settings(), store, provider, fleet)
    try:
        spawning = asyncio.create_task(services.sandboxes.spawn(SpawnRequest()))
        while await store.count() == 0:  # noqa: ASYNC110 - Redis has no event for it
            await asyncio.sleep(0.005)
        [sandbox] = await store.list()
        await services.reaper.reconcile()
        assert await state_of(services, sandbox.id) is SandboxState.CREATING
        fleet.spawning.clear()  # as after a restart
        await services.reaper.reconcile()
        assert await state_of(services, sandbox.id) is SandboxState.ERROR
        provider.may_create.set()
        await asyncio.gather(spawning, return_exceptions=True)
        assert await provider.list() == []
    finally:
        await fleet.close()
        await provider.close()
