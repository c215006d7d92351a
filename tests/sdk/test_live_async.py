"""The asynchronous client against a real server: what it does in its own way."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from stacyvm_sdk import (
    AsyncClient,
    AsyncSandbox,
    Client,
    ExecError,
    ExecTimeout,
    FileNotFound,
    StacyVMError,
    StreamChunk,
)

from tests.live_server import LiveServer
from tests.sdk.conftest import contents


@pytest.fixture
async def async_client(live_server: LiveServer, client: Client) -> AsyncIterator[AsyncClient]:
    """A client; the synchronous one looks afterwards that no sandbox is left."""
    async with AsyncClient(live_server.url) as made:
        yield made


@pytest.fixture
async def sandbox(async_client: AsyncClient) -> AsyncIterator[AsyncSandbox]:
    async with await async_client.spawn() as sandbox:
        yield sandbox


async def test_a_sandbox_lives_from_spawn_to_destroy(async_client: AsyncClient) -> None:
    async with async_client.with_sandbox(metadata={"a": "b"}, ttl=60) as sandbox:
        assert (sandbox.state, sandbox.info.metadata) == ("running", {"a": "b"})
        assert [info.id for info in await async_client.list()] == [sandbox.id]
        assert (await async_client.get(sandbox.id)).id == sandbox.id
        await sandbox.extend_ttl("20m")
        await sandbox.refresh()
        assert "supported" in await sandbox.stats()
        assert isinstance(await sandbox.logs(), list)
    assert await async_client.list() == []
    assert sandbox.state == "destroyed"
    assert (await async_client.health())["status"] == "ok"
    assert (await async_client.providers())[0]["name"] == "local"
    assert await async_client.pool_status() == {"enabled": False}
    assert await async_client.prune() == 0


async def test_with_sandbox_returns_what_the_function_returns(async_client: AsyncClient) -> None:
    async def work(sandbox: AsyncSandbox) -> str:
        return (await sandbox.exec("echo hi", check=True)).stdout

    assert await async_client.with_sandbox(work) == "hi\n"

    async def fail(sandbox: AsyncSandbox) -> None:
        raise KeyError(sandbox.id)

    with pytest.raises(KeyError):
        await async_client.with_sandbox(fail)
    assert await async_client.list() == []


async def test_a_cancelled_block_destroys_its_sandbox(async_client: AsyncClient) -> None:
    inside = asyncio.Event()

    async def work(sandbox: AsyncSandbox) -> None:
        inside.set()
        await sandbox.exec("sleep 60")

    task = asyncio.create_task(async_client.with_sandbox(work))
    await inside.wait()
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()  # an impatient caller
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await async_client.list() == []


async def test_commands_and_their_errors(sandbox: AsyncSandbox) -> None:
    assert (await sandbox.exec("cat", stdin="é")).stdout == "é"
    with pytest.raises(ExecError):
        await sandbox.exec("exit 2", check=True)
    with pytest.raises(ExecTimeout) as caught:
        await sandbox.exec("echo so far; sleep 60", timeout=0.5)
    assert caught.value.stdout == "so far\n"

    async def lines() -> AsyncIterator[bytes]:
        for line in (b"one\n", b"two\n"):
            await asyncio.sleep(0)
            yield line

    assert (await sandbox.exec("sort -r", stdin=lines())).stdout == "two\none\n"


async def test_a_stream_gives_output_and_then_the_outcome(sandbox: AsyncSandbox) -> None:
    stream = sandbox.exec_stream("echo one; sleep 0.2; echo two >&2; exit 4")
    assert [chunk async for chunk in stream] == [
        StreamChunk("stdout", "one\n"),
        StreamChunk("stderr", "two\n"),
    ]
    assert (stream.exit_code, stream.ok) == (4, False)
    with pytest.raises(StacyVMError):
        await anext(sandbox.exec_stream("x", mode="nonsense"))


async def test_a_stream_that_is_left_kills_its_command(sandbox: AsyncSandbox) -> None:
    async with sandbox.exec_stream("echo $$; while :; do sleep 0.1; done") as stream:
        pid = int((await anext(stream)).data)
    deadline = time.monotonic() + 10
    while (await sandbox.exec(f"kill -0 {pid}")).ok:
        assert time.monotonic() < deadline, "the command lives on"
        await asyncio.sleep(0.05)


async def test_many_commands_run_at_once(sandbox: AsyncSandbox) -> None:
    started = time.monotonic()
    results = await asyncio.gather(*(sandbox.exec(f"sleep 0.5; echo {i}") for i in range(8)))
    assert [result.stdout for result in results] == [f"{i}\n" for i in range(8)]
    assert time.monotonic() - started < 3.5


async def test_files(sandbox: AsyncSandbox, local: Path, tmp_path: Path) -> None:
    await sandbox.write_file("d/a.txt", "héllo", mode=0o600)
    assert await sandbox.read_file("d/a.txt") == "héllo"
    assert await sandbox.read_bytes("d/a.txt", offset=1, length=2) == "é".encode()
    await sandbox.move_file("d/a.txt", "d/b.txt")
    await sandbox.chmod_file("d/b.txt", "644")
    info = await sandbox.stat_file("d/b.txt")
    assert await sandbox.list_files("d") == [info]
    assert await sandbox.glob_files("d/*") == [info["path"]]

    async def blocks() -> AsyncIterator[bytes]:
        for number in range(40):
            yield bytes([number]) * 100_000

    await sandbox.write_file("big", blocks())
    assert await sandbox.read_bytes("big") == b"".join([block async for block in blocks()])
    with (local / "src" / "run.sh").open("rb") as file:
        await sandbox.write_file("copy", file)
    assert await sandbox.read_bytes("copy") == (local / "src" / "run.sh").read_bytes()
    await sandbox.delete_file("d", recursive=True)
    with pytest.raises(FileNotFound):
        await sandbox.stat_file("d")

    await sandbox.upload(local, "project")
    await sandbox.upload(local / "src" / "run.sh", "bin/")
    await sandbox.download("project", tmp_path / "back")
    assert contents(tmp_path / "back") == contents(local)
    await sandbox.download("bin/run.sh", tmp_path / "run.sh")
    assert (tmp_path / "run.sh").stat().st_mode & 0o777 == 0o755
