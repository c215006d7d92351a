"""What every provider must do, tried on all of them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stacyvm.channel.channel import Channel
from stacyvm.domain.errors import ImageNotFoundError, ProviderError, StacyError
from stacyvm.providers.base import Found, Provider
from stacyvm.providers.bubblewrap import bubblewrap_path, probe
from stacyvm.providers.docker import DockerProvider
from stacyvm.providers.local import LocalProvider
from tests.conftest import new_instance, skip_or_fail
from tests.contracts.providers import MakeProvider, run, running, spec, wait_until

KINDS = ["bubblewrap", "bare", pytest.param("docker", marks=pytest.mark.docker)]


@pytest.fixture(params=KINDS)
async def make(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[MakeProvider]:
    """Give a maker of providers of one kind, each with the instance id given."""
    made: list[Provider] = []
    bwrap = await asyncio.to_thread(bubblewrap_path)
    if request.param == "bubblewrap" and (why := await probe(bwrap)):
        skip_or_fail(why)

    def make(instance: str) -> Provider:
        provider: Provider = (
            DockerProvider(instance=instance)
            if request.param == "docker"
            else LocalProvider(
                instance=instance, root=tmp_path / "root", bubblewrap=request.param == "bubblewrap"
            )
        )
        made.append(provider)
        return provider

    yield make
    for provider in made:
        for found in await provider.list():  # a test that failed half way must not fail the next
            await provider.remove(found.id)
        await provider.close()


@pytest.fixture
def provider(make: MakeProvider) -> Provider:
    return make(new_instance())


async def test_a_sandbox_runs_a_command(provider: Provider) -> None:
    async with running(provider, spec()) as channel:
        assert channel.info.workspace == "/workspace"
        assert await run(channel, "echo hello; exit 3") == (3, "hello\n")


async def test_node_runs_in_its_image(provider: Provider) -> None:
    async with running(provider, spec()) as channel:
        assert await run(channel, "node -e 'console.log(6*7)'") == (0, "42\n")


async def test_files_written_are_read_back(provider: Provider) -> None:
    async with running(provider, spec()) as channel:
        body = bytes(range(256)) * 4096 * 3
        async with channel.stream(
            "write", path="a/b", mode=None, parents=True, size=None
        ) as stream:
            await stream.send(body, eof=True)
            assert [event async for event in stream] == []
        assert (await run(channel, "wc -c < a/b"))[1].strip() == str(len(body))


async def test_the_environment_is_the_spec_s_and_nothing_of_the_server_s(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STACYVM_API_KEY", "key-of-the-server")
    monkeypatch.setenv("AWS_SECRET", "another-secret")
    async with running(provider, spec(env={"GREETING": "a b\nc"})) as channel:
        assert await run(channel, 'printf %s "$GREETING"') == (0, "a b\nc")
        _, environment = await run(channel, "env; cat /proc/[0-9]*/environ 2>/dev/null | head -c0")
        assert "secret" not in environment
        assert "key-of-the-server" not in environment


async def test_its_life_as_the_provider_sees_it(provider: Provider) -> None:
    wanted = spec(metadata={"owner": "me", "täg": "ü"})
    assert await provider.find(wanted.id) is None
    await provider.create(wanted)
    created = Found(
        id=wanted.id, running=False, image="stacyvm/node", metadata={"owner": "me", "täg": "ü"}
    )
    assert await provider.find(wanted.id) == created
    assert await provider.list() == [created]
    pipe = await provider.start(wanted.id)
    found = await provider.find(wanted.id)
    assert found is not None
    assert found.running
    assert await provider.list() == [found]
    await pipe.close()
    await provider.remove(wanted.id)
    assert await provider.find(wanted.id) is None
    assert await provider.list() == []


async def test_remove_is_idempotent_and_takes_any_state(provider: Provider) -> None:
    wanted = spec()
    await provider.remove(wanted.id)
    await provider.create(wanted)
    await asyncio.gather(*(provider.remove(wanted.id) for _ in range(3)))
    await provider.remove(wanted.id)
    assert await provider.list() == []


async def test_removing_ends_the_pipe(provider: Provider) -> None:
    async with running(provider, spec()) as channel:
        [found] = await provider.list()
        await provider.remove(found.id)
        async with asyncio.timeout(5):
            await channel.wait_closed()


async def test_attaching_again_works_in_the_midst_of_output(provider: Provider) -> None:
    wanted = spec()
    async with running(provider, wanted) as first:
        async with first.stream("exec", argv=["yes", f"y-{wanted.id}"]) as noise:
            await anext(aiter(noise))
            second = await Channel.open(await provider.attach(wanted.id), lease=60, timeout=20)
            assert second.info.boot == first.info.boot
            assert await run(second, "echo still here") == (0, "still here\n")
            with pytest.raises(StacyError):
                [event async for event in noise]
        assert first.closed
        third = await Channel.open(await provider.attach(wanted.id), lease=60, timeout=20)
        look = f"grep -las 'y-[s]{wanted.id[1:]}' /proc/[0-9]*/cmdline || echo none"
        assert (await run(third, look))[1] == "none\n"
        await third.close()
        await second.close()


async def test_closing_the_pipe_leaves_the_sandbox_running(provider: Provider) -> None:
    wanted = spec()
    async with running(provider, wanted) as channel:
        await run(channel, "echo kept > file")
        await channel.close()
        again = await Channel.open(await provider.attach(wanted.id), lease=60, timeout=20)
        assert await run(again, "cat file") == (0, "kept\n")
        await again.close()


async def test_an_agent_killed_is_found_with_its_exit_code(provider: Provider) -> None:
    wanted = spec()
    async with running(provider, wanted) as channel:
        killing = asyncio.create_task(run(channel, f"kill -9 {channel.info.pid}; sleep 60"))
        assert "is gone" in await channel.wait_closed()
        with pytest.raises(StacyError):
            await killing

        async def stopped() -> bool:
            found = await provider.find(wanted.id)
            return found is not None and not found.running

        await wait_until(stopped)
        assert await provider.find(wanted.id) == Found(
            id=wanted.id, running=False, image="stacyvm/node", exit_code=137
        )
        with pytest.raises(ProviderError):
            await provider.attach(wanted.id)


async def test_the_lease_ends_the_sandbox_from_inside(provider: Provider) -> None:
    wanted = spec()
    async with running(provider, wanted) as channel:
        await channel.renew(0.2)
        await channel.wait_closed()

        async def stopped() -> bool:
            found = await provider.find(wanted.id)
            return found is not None and found.exit_code == 124

        await wait_until(stopped)


async def test_instances_do_not_see_each_other(make: MakeProvider) -> None:
    mine, other = make(new_instance()), make(new_instance())
    wanted = spec()
    async with running(mine, wanted) as channel:
        assert await other.list() == []
        assert await other.find(wanted.id) is None
        with pytest.raises(ProviderError):
            await other.attach(wanted.id)
        await other.remove(wanted.id)
        assert await run(channel, "echo alive") == (0, "alive\n")


async def test_an_unknown_image_is_named(provider: Provider) -> None:
    wanted = spec(image="stacyvm/no-such-image")
    with pytest.raises(ImageNotFoundError, match="stacyvm/no-such-image"):
        await provider.create(wanted)
    await provider.remove(wanted.id)
    assert await provider.list() == []


async def test_starting_what_was_not_created_fails(provider: Provider) -> None:
    with pytest.raises(ProviderError):
        await provider.start(spec().id)
    with pytest.raises(ProviderError):
        await provider.attach(spec().id)


async def test_a_cancelled_create_or_start_leaves_nothing_after_remove(provider: Provider) -> None:
    for delay in (0.0, 0.005, 0.02, 0.05, 0.1):
        wanted = spec()

        async def spawn(wanted_id: str = wanted.id) -> None:
            await provider.create(spec(id=wanted_id))
            await (await provider.start(wanted_id)).close()

        spawning = asyncio.create_task(spawn())
        await asyncio.sleep(delay)
        spawning.cancel()
        await asyncio.gather(spawning, return_exceptions=True)
        await provider.remove(wanted.id)
    assert await provider.list() == []


async def test_several_at_once(provider: Provider) -> None:
    async def one(number: int) -> tuple[int, str]:
        async with running(provider, spec()) as channel:
            return await run(channel, f"echo {number}")

    assert await asyncio.gather(*(one(n) for n in range(4))) == [(0, f"{n}\n") for n in range(4)]
    assert await provider.list() == []


async def test_it_says_that_it_is_healthy(provider: Provider) -> None:
    health = await provider.healthy()
    assert (health.healthy, health.error) == (True, "")
    assert 0 < health.latency < 10
    assert provider.capabilities
    assert all(isinstance(value, str) for value in provider.config.values())
