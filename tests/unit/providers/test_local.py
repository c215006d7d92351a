"""What only the local provider does; the rest is in the contract."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stacyvm.channel.channel import Channel
from stacyvm.domain.errors import ImageNotFoundError, InvalidRequestError, StacyError
from stacyvm.providers import local_runtimes
from stacyvm.providers.bubblewrap import bubblewrap_path, probe
from stacyvm.providers.local import LocalProvider
from stacyvm.providers.local_removal import delete_folder
from tests.conftest import skip_or_fail
from tests.contracts.providers import run, running, spec, wait_until


@pytest.fixture
async def caged(tmp_path: Path) -> AsyncIterator[LocalProvider]:
    if why := await probe(await asyncio.to_thread(bubblewrap_path)):
        skip_or_fail(why)
    provider = LocalProvider(instance="mine", root=tmp_path / "root", bubblewrap=True)
    yield provider
    await provider.close()


@pytest.fixture
async def bare(tmp_path: Path) -> AsyncIterator[LocalProvider]:
    provider = LocalProvider(instance="mine", root=tmp_path / "root", bubblewrap=False)
    yield provider
    await provider.close()


async def test_the_cage_shows_nothing_of_the_machine(caged: LocalProvider, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("of the server")
    async with running(caged, spec()) as channel:
        for command in (
            "cat /etc/shadow",
            f"cat {tmp_path}/secret",
            "ls /home/*",
            "touch /here",
            "touch /usr/here",
            "touch /etc/passwd",
        ):
            code, said = await run(channel, command)
            assert code != 0, (command, said)
        assert (await run(channel, "id -u; ls /proc | grep -c '^[0-9]'"))[1].split()[0] == "1000"
        assert int((await run(channel, "ls /proc | grep -c '^[0-9]'"))[1]) < 8
        assert await run(channel, "tail -n +3 /proc/net/dev | wc -l") == (0, "1\n")
        assert await run(channel, "grep CapEff /proc/self/status") == (
            0,
            "CapEff:\t0000000000000000\n",
        )
        assert await run(channel, "hostname") == (0, f"{(await caged.list())[0].id}\n")


async def test_an_open_network_is_the_machine_s(caged: LocalProvider) -> None:
    async with running(caged, spec(network="open")) as channel:
        assert int((await run(channel, "tail -n +3 /proc/net/dev | wc -l"))[1]) > 1


async def test_a_memory_workspace_is_hard_limited(caged: LocalProvider) -> None:
    async with running(caged, spec(workspace="memory", disk_mb=4)) as channel:
        code, said = await run(channel, "head -c 8000000 /dev/zero > big")
        assert code != 0
        assert "No space" in said


async def test_a_killed_cage_takes_everything_with_it(caged: LocalProvider) -> None:
    wanted = spec()
    async with running(caged, wanted) as channel:
        name = f"sleep-{wanted.id}"
        await run(
            channel, f"cp /bin/sleep {name}; setsid ./{name} 1000 </dev/null >/dev/null 2>&1 &"
        )
        await wait_until(lambda: _runs(name))
        await caged.remove(wanted.id)
        assert not await _runs(name)


async def test_a_start_cancelled_at_any_moment_ends_and_leaves_no_cage(
    caged: LocalProvider, tmp_path: Path
) -> None:
    for moment in range(24):
        wanted = spec()
        await caged.create(wanted)
        starting = asyncio.create_task(caged.start(wanted.id))
        await asyncio.sleep(moment / 4000)
        starting.cancel()
        async with asyncio.timeout(10):
            await asyncio.gather(starting, return_exceptions=True)
            await caged.remove(wanted.id)
    await wait_until(lambda: _not(_runs(str(tmp_path), anywhere=True)))


async def test_without_a_cage_removal_finds_what_outlived_the_agent(bare: LocalProvider) -> None:
    wanted = spec()
    async with running(bare, wanted) as channel:
        name = f"sleep-{wanted.id}"
        await run(
            channel, f"cp /bin/sleep {name}; setsid ./{name} 1000 </dev/null >/dev/null 2>&1 &"
        )
        await wait_until(lambda: _runs(name))
        killing = asyncio.create_task(run(channel, f"kill -9 {channel.info.pid}"))
        await channel.wait_closed()
        await asyncio.gather(killing, return_exceptions=True)
        await bare.remove(wanted.id)
        await wait_until(lambda: _not(_runs(name)))


async def test_what_a_server_left_behind_is_listed_and_removed(tmp_path: Path) -> None:
    first = LocalProvider(instance="mine", root=tmp_path / "root", bubblewrap=False)
    wanted = spec(metadata={"a": "b"})
    await first.create(wanted)
    second = LocalProvider(instance="mine", root=tmp_path / "root", bubblewrap=False)
    [found] = await second.list()
    assert (found.id, found.running, found.metadata) == (wanted.id, False, {"a": "b"})
    (tmp_path / "root" / wanted.id / "sandbox.json").write_text('{"cut')
    assert [one.id for one in await second.list()] == [wanted.id]
    await second.remove(wanted.id)
    assert await second.list() == []
    assert not (tmp_path / "root" / wanted.id).exists()


async def test_closing_the_provider_ends_its_sandboxes(tmp_path: Path) -> None:
    provider = LocalProvider(instance="mine", root=tmp_path / "root")
    wanted = spec()
    await provider.create(wanted)
    channel = await Channel.open(await provider.start(wanted.id), lease=60, timeout=20)
    await provider.close()
    await channel.wait_closed()
    assert await provider.list() == []


async def test_a_folder_the_guest_has_locked_and_deepened_is_deleted(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    script = "mkdir made; cd made; i=0; while [ $i -lt 1500 ]; do mkdir d; cd d; i=$((i+1)); done"
    process = await asyncio.create_subprocess_exec("sh", "-c", script, cwd=tmp_path)
    assert await process.wait() == 0
    await delete_folder(folder)
    assert not folder.exists()


async def test_other_images_are_refused_with_what_there_is(bare: LocalProvider) -> None:
    with pytest.raises(ImageNotFoundError, match="no images"):
        await bare.create(spec(image="python:3"))


async def test_a_runtime_and_memory_without_a_cage_are_refused(bare: LocalProvider) -> None:
    with pytest.raises(InvalidRequestError):
        await bare.create(spec(runtime="runsc"))
    with pytest.raises(InvalidRequestError):
        await bare.create(spec(workspace="memory"))
    assert await bare.list() == []


async def test_bubblewrap_insisted_on_and_missing_is_unhealthy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    provider = LocalProvider(instance="mine", root=tmp_path / "root", bubblewrap=True)
    health = await provider.healthy()
    assert (health.healthy, health.error) == (
        False,
        "bubblewrap cannot be used: bubblewrap is not installed",
    )
    with pytest.raises(StacyError):
        await provider.create(spec())


@pytest.mark.parametrize("image", ["stacyvm/node", "stacyvm/quickjs:latest"])
def test_a_runtime_that_is_missing_says_what_to_install(
    image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ImageNotFoundError, match="STACYVM_PROVIDER=local stacyvm setup"):
        local_runtimes.find_runtime(image, tmp_path)


def test_a_runtime_on_the_path_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "opt" / "bin" / "qjs"
    program.parent.mkdir(parents=True)
    shutil.copy("/bin/true", program)
    monkeypatch.setenv("PATH", str(program.parent))
    found = local_runtimes.find_runtime("stacyvm/quickjs", tmp_path)
    assert found.folder == program.parent
    assert tmp_path / "opt" in found.needs


async def _runs(name: str, *, anywhere: bool = False) -> bool:
    def look() -> bool:
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = entry.read_bytes().split(b"\0")
                if any(name.encode() in word for word in (words if anywhere else words[:1])):
                    return True
            except OSError:
                continue  # it ended meanwhile
        return False

    return await asyncio.to_thread(look)


async def _not(answer: object) -> bool:
    return not await answer  # type: ignore[misc]
