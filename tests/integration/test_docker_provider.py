"""What only the Docker provider does; the rest is in the contract."""

import asyncio
import hashlib
import io
import subprocess
import tarfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import docker
import pytest

from stacyvm.channel.channel import Channel
from stacyvm.channel.events import Data
from stacyvm.domain.errors import (
    AgentError,
    ConflictError,
    ImageNotFoundError,
    InvalidRequestError,
    ProviderError,
    StacyError,
    UnavailableError,
)
from stacyvm.providers.docker import DockerProvider
from stacyvm.providers.docker_spec import AgentVolume
from tests.conftest import new_instance, skip_or_fail
from tests.contracts.providers import run, running, spec, wait_until

pytestmark = pytest.mark.docker


@pytest.fixture
async def provider() -> AsyncIterator[DockerProvider]:
    provider = DockerProvider(instance=new_instance(), runtimes=["runsc", "no-such-runtime"])
    yield provider
    for found in await provider.list():  # a test that failed half way must not fail the next
        await provider.remove(found.id)
    await provider.close()


@pytest.fixture(scope="session")
def busybox_image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An image with nothing in it but a static busybox."""
    busybox = _static_busybox(tmp_path_factory.mktemp("busybox"))
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        tar.add(busybox, "bin/busybox")
        for name in ("sh", "id", "cat", "ls", "touch", "sleep", "grep"):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    client = docker.from_env()
    name = f"stacyvm-test-{new_instance()}"
    client.api.import_image_from_data(data.getvalue(), repository=name, tag="latest")
    yield name
    client.images.remove(name, force=True)
    client.close()


async def test_the_guest_has_no_rights_and_no_network(provider: DockerProvider) -> None:
    async with running(provider, spec()) as channel:
        assert (await run(channel, "id -u; id -g; id -G"))[1].split() == ["1000", "1000", "1000"]
        _, status = await run(channel, "cat /proc/self/status")
        facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert facts["CapEff"] == facts["CapPrm"] == facts["CapInh"] == "0" * 16
        assert (facts["NoNewPrivs"], facts["Seccomp"]) == ("1", "2")
        assert await run(channel, "ls /sys/class/net") == (0, "lo\n")
        for command in (
            "touch /.stacyvm/x",
            "cat /etc/shadow",
            "touch /etc/x",
            "mount -t tmpfs x /mnt",
        ):
            assert (await run(channel, command))[0] != 0, command
        assert (await run(channel, "kill -9 1"))[0] != 0


async def test_limits_are_the_spec_s(provider: DockerProvider) -> None:
    wanted = spec(memory_mb=128, vcpus=1, pids=64)
    async with running(provider, wanted):
        client = docker.APIClient()
        host = (await asyncio.to_thread(client.inspect_container, wanted.id))["HostConfig"]
        await asyncio.to_thread(client.close)
        assert (host["Memory"], host["MemorySwap"], host["NanoCpus"], host["PidsLimit"]) == (
            128 * 2**20,
            128 * 2**20,
            10**9,
            64,
        )


async def test_too_much_memory_kills_the_guest_and_not_the_sandbox(
    provider: DockerProvider,
) -> None:
    async with running(provider, spec(memory_mb=128)) as channel:
        code, _ = await run(channel, "node -e 'const a=[];for(;;)a.push(Buffer.alloc(1e7,1))'")
        assert code != 0
        assert await run(channel, "echo alive") == (0, "alive\n")


async def test_a_sandbox_that_ran_out_of_memory_is_found_so(provider: DockerProvider) -> None:
    wanted = spec(memory_mb=128)
    async with running(provider, wanted) as channel:
        await run(channel, "node -e 'const a=[];for(;;)a.push(Buffer.alloc(1e7,1))'")
        killing = asyncio.create_task(run(channel, f"kill -9 {channel.info.pid}"))
        async with asyncio.timeout(10):
            await channel.wait_closed()
        await asyncio.gather(killing, return_exceptions=True)

        async def known() -> bool:
            found = await provider.find(wanted.id)
            return found is not None and not found.running

        await wait_until(known)
        found = await provider.find(wanted.id)
        assert found is not None
        assert (found.oom_killed, found.exit_code) == (True, 137)
        assert await provider.list() == [found]


async def test_a_fork_bomb_stays_inside(provider: DockerProvider) -> None:
    async with running(provider, spec(pids=64)) as channel:
        code, said = await run(channel, "i=0; while [ $i -lt 200 ]; do sleep 5 & i=$((i+1)); done")
        assert code != 0
        assert "fork" in said.lower()


@pytest.mark.parametrize("read_only", [False, True])
async def test_a_memory_workspace_is_hard_limited(
    provider: DockerProvider, read_only: bool
) -> None:
    wanted = spec(workspace="memory", disk_mb=8, read_only=read_only)
    async with running(provider, wanted) as channel:
        assert await run(channel, "echo x > a && cat a") == (0, "x\n")
        code, said = await run(channel, "head -c 10000000 /dev/zero > big")
        assert code != 0
        assert "No space" in said
        assert await run(channel, "echo x > /tmp/a && cat /tmp/a") == (0, "x\n")


async def test_a_sandbox_does_not_see_another_s_files_and_processes(
    provider: DockerProvider,
) -> None:
    async with running(provider, spec()) as one, running(provider, spec()) as two:
        await run(one, "echo secret > mine; cp /bin/sleep hidden; ./hidden 100 >/dev/null 2>&1 &")
        assert (await run(two, "cat mine"))[0] != 0
        assert (await run(two, "cat /proc/[0-9]*/comm"))[1].count("hidden") == 0


async def test_open_sandboxes_have_a_network_but_not_each_other(provider: DockerProvider) -> None:
    async with (
        running(provider, spec(network="open")) as one,
        running(provider, spec(network="open")) as two,
    ):
        assert (await run(one, "ls /sys/class/net"))[1].split() == ["eth0", "lo"]
        _, address = await run(one, "hostname -i")
        serve = "require('net').createServer(s=>s.end('hi')).listen(9000,'0.0.0.0')"
        async with one.stream("exec", argv=["node", "-e", serve]):
            ask = (
                "const s=require('net').connect({host:process.argv[1],port:9000});"
                "s.on('data',d=>{console.log('got '+d);process.exit()});"
                "s.on('error',e=>{console.log(e.code);process.exit()});"
                "setTimeout(()=>{console.log('silence');process.exit()},1500)"
            )
            command = f'node -e "{ask}" {address.strip()}'

            async def listens() -> bool:
                return "got hi" in (await run(one, command))[1]

            await wait_until(listens)
            assert "got" not in (await run(two, command))[1]


async def test_an_image_with_nothing_but_busybox_works(
    provider: DockerProvider, busybox_image: str
) -> None:
    for fields in ({}, {"read_only": True}):
        async with running(provider, spec(image=busybox_image, **fields)) as channel:
            assert await run(channel, "id -u; echo x > file; cat file; ls") == (
                0,
                "1000\nx\nfile\n",
            )


async def test_gvisor_works_where_it_is_registered(provider: DockerProvider) -> None:
    client = docker.APIClient()
    runtimes = (await asyncio.to_thread(client.info))["Runtimes"]
    await asyncio.to_thread(client.close)
    if "runsc" not in runtimes:
        skip_or_fail("the engine has no runtime runsc")
    async with running(provider, spec(runtime="runsc")) as channel:
        assert await run(channel, "id -u") == (0, "1000\n")
        assert "gVisor" in (await run(channel, "cat /proc/version; dmesg"))[1]


async def test_an_image_that_cannot_be_pulled_is_named_once_for_all_who_wait(
    provider: DockerProvider,
) -> None:
    image = "localhost:1/nothing/here"

    async def one() -> None:
        wanted = spec(image=image)
        try:
            await provider.create(wanted)
        finally:
            await provider.remove(wanted.id)

    errors = await asyncio.gather(one(), one(), one(), return_exceptions=True)
    assert [type(error) for error in errors] == [ImageNotFoundError] * 3
    assert image in str(errors[0])


@pytest.mark.parametrize("image", ["UPPER/case", "a b", "-x", "x:y:z", "", "x" * 5000])
async def test_an_image_name_that_is_none_is_refused(provider: DockerProvider, image: str) -> None:
    wanted = spec(image=image)
    with pytest.raises((ImageNotFoundError, InvalidRequestError)):
        await provider.create(wanted)
    await provider.remove(wanted.id)


async def test_runtimes_are_checked_here_and_by_the_engine(provider: DockerProvider) -> None:
    with pytest.raises(InvalidRequestError, match="allowed: runsc, no-such-runtime"):
        await provider.create(spec(runtime="kata"))
    with pytest.raises(InvalidRequestError, match="no-such-runtime"):
        await provider.create(spec(runtime="no-such-runtime"))
    with pytest.raises(InvalidRequestError, match="CPUs"):
        await provider.create(spec(vcpus=10_000))
    assert await provider.list() == []


async def test_an_id_in_use_is_a_conflict(provider: DockerProvider) -> None:
    wanted = spec()
    async with running(provider, wanted):
        with pytest.raises(ConflictError):
            await provider.create(wanted)


async def test_no_engine_says_so(tmp_path: Path) -> None:
    for address in (f"unix://{tmp_path}/none.sock", "tcp://127.0.0.1:1"):
        provider = DockerProvider(instance=new_instance(), docker_host=address)
        health = await provider.healthy()
        assert not health.healthy
        assert f"does not answer at {address}" in health.error
        for attempt in (
            provider.create(spec()),
            provider.start(spec().id),
            provider.attach(spec().id),
            provider.remove(spec().id),
            provider.list(),
        ):
            with pytest.raises(UnavailableError, match="stacyvm doctor"):
                await attempt
        await provider.close()


async def test_a_mistyped_image_of_ours_names_those_there_are() -> None:
    provider = DockerProvider(instance=new_instance())
    wanted = spec(image="stacyvm/nod")
    try:
        with pytest.raises(
            ImageNotFoundError, match=r"no such image.* stacyvm/node, stacyvm/quickjs"
        ):
            await provider.create(wanted)
    finally:
        await provider.remove(wanted.id)
        await provider.close()


async def test_an_agent_never_built_says_what_to_do() -> None:
    provider = DockerProvider(instance=new_instance(), agent_image="stacyvm/agent:never-built")
    with pytest.raises(ImageNotFoundError, match="stacyvm images build"):
        await provider.create(spec())
    await provider.close()


async def test_a_container_that_went_behind_our_back_is_no_error(provider: DockerProvider) -> None:
    wanted = spec()
    async with running(provider, wanted) as channel:
        client = docker.APIClient()
        await asyncio.to_thread(client.remove_container, wanted.id, force=True)
        await asyncio.to_thread(client.close)
        await channel.wait_closed()
        assert await provider.find(wanted.id) is None
        with pytest.raises(ProviderError):
            await provider.attach(wanted.id)
        await provider.remove(wanted.id)


async def test_another_server_adopts_a_sandbox_while_it_prints() -> None:
    instance, wanted = new_instance(), spec(metadata={"a": "b"})
    first, second = DockerProvider(instance=instance), DockerProvider(instance=instance)
    try:
        async with running(first, wanted) as channel:
            async with channel.stream("exec", argv=["yes"], window=2**20) as noise:
                await anext(aiter(noise))
                [found] = await second.list()
                assert (found.id, found.running, found.metadata) == (wanted.id, True, {"a": "b"})
                adopted = await Channel.open(await second.attach(found.id), lease=60, timeout=20)
                assert await run(adopted, "echo mine now") == (0, "mine now\n")
                await channel.close()
                assert await run(adopted, "echo and still") == (0, "and still\n")
                await adopted.close()
            await second.remove(wanted.id)
    finally:
        await first.close()
        await second.close()


async def test_much_output_comes_whole_and_in_order(provider: DockerProvider) -> None:
    async with running(provider, spec()) as channel:
        digest, size = hashlib.sha256(), 0
        make = "head -c 30000000 /dev/urandom > f; sha256sum < f; cat f"
        async with channel.stream("exec", argv=["sh", "-c", make]) as stream:
            head = b""
            async for event in stream:
                if not isinstance(event, Data):
                    continue  # that it has begun
                data = event.data
                if len(head) < 68:
                    head, data = (head + data)[:68], (head + data)[68:]
                digest.update(data)
                size += len(data)
        assert (head.split()[0].decode(), size) == (digest.hexdigest(), 30_000_000)


async def test_a_pull_given_up_does_not_hold_others() -> None:
    provider = DockerProvider(instance=new_instance(), pull_timeout=0.001)
    with pytest.raises(ImageNotFoundError, match=r"0\.001s"):
        await provider.create(spec(image="localhost:1/slow/image"))
    with pytest.raises(StacyError):
        await provider.create(spec(image="localhost:1/slow/image"))
    await provider.close()


def _static_busybox(folder: Path) -> Path:
    """Return Debian's static busybox, unpacked below ``folder`` without installing it."""
    download = ["apt-get", "download", "-o", "APT::Sandbox::User=root", "busybox-static"]
    done = subprocess.run(download, cwd=folder, capture_output=True, text=True, check=False)
    packages = [*folder.glob("*.deb")]
    if done.returncode or not packages:
        skip_or_fail(f"cannot download Debian's busybox-static: {done.stderr[-200:]}")
    subprocess.run(["dpkg", "-x", packages[0], folder], check=True)
    return next(path for path in folder.glob("**/bin/busybox") if path.is_file())


async def test_an_agent_volume_that_was_emptied_is_filled_again(provider: DockerProvider) -> None:
    lost = AgentVolume(name=f"stacyvm-agent-{provider._instance}", loader="ld-linux-x86-64.so.2")
    provider._volumes._volume = lost
    with pytest.raises(AgentError, match="No such file"):
        async with running(provider, spec()):
            pass
    client = docker.APIClient()
    await asyncio.to_thread(client.remove_volume, lost.name)
    await asyncio.to_thread(client.close)
    async with running(provider, spec()) as channel:
        assert await run(channel, "echo back") == (0, "back\n")


@pytest.mark.timeout(30)  # far below the time a filling may take before it counts as dead
async def test_a_server_that_died_filling_the_volume_holds_up_nobody(
    provider: DockerProvider,
) -> None:
    volume = await provider._volumes.get()
    client = docker.APIClient()
    lock = {"Image": "stacyvm/agent:latest", "Labels": {"stacyvm.helper": "agent-volume"}}
    await asyncio.to_thread(client.create_container_from_config, lock, f"{volume.name}-fill")
    provider._volumes.doubt()
    async with running(provider, spec()) as channel:
        assert await run(channel, "echo here") == (0, "here\n")
    left = await asyncio.to_thread(client.containers, all=True, filters={"name": "-fill"})
    assert left == []
    await asyncio.to_thread(client.close)
