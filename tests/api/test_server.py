"""The server as a process: what it prints, refuses, and how it stops."""

import asyncio
import json
import os
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.api.conftest import processes_with

MAIN = (
    "import asyncio, sys\n"
    "from stacyvm.api.server import serve\n"
    "from stacyvm.config import Settings\n"
    "from stacyvm.domain.errors import StacyError\n"
    "try: asyncio.run(serve(Settings(_env_file=None)))\n"
    "except StacyError as error: sys.exit(f'{error.code}: {error.message}')\n"
)


def environment(data_dir: Path, **changes: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "STACYVM_DATA_DIR": str(data_dir),
        "STACYVM_PROVIDER": "local",
        "STACYVM_PORT": "0",
        **changes,
    }


@asynccontextmanager
async def server(data_dir: Path, **changes: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        MAIN,
        env=environment(data_dir, **changes),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def address_of(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    line = (await asyncio.wait_for(process.stdout.readline(), 30)).decode()
    assert line.startswith("stacyvm is listening on http://"), (
        line or (await process.communicate())[1].decode()
    )
    return line.split()[-1]


def post(url: str, body: object, **headers: str) -> tuple[int, Any]:
    request = urllib.request.Request(  # noqa: S310 - our own server
        url, data=json.dumps(body).encode(), headers=headers
    )
    try:
        with urllib.request.urlopen(request) as answer:  # noqa: S310
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_stops_the_server_soon_and_kills_what_callers_run(
    tmp_path: Path, number: signal.Signals
) -> None:
    async with server(tmp_path) as process:
        url = await address_of(process)
        assert process.stdout is not None
        notes = [(await process.stdout.readline()).decode() for _ in range(2)]
        assert [note.partition(":")[0] for note in notes] == ["Security", "Security"]
        status, sandbox = await asyncio.to_thread(post, f"{url}/api/v1/sandboxes", {})
        assert status == 201
        exec_url = f"{url}/api/v1/sandboxes/{sandbox['id']}/exec"
        command = {"command": "sleep 973", "stream": True}
        hanging = asyncio.create_task(asyncio.to_thread(read_raw, exec_url, command))
        async with asyncio.timeout(10):
            while not processes_with("sleep\x00973"):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
        process.send_signal(number)
        _, errors = await asyncio.wait_for(process.communicate(), 20)
        assert process.returncode == 0, errors.decode()
        assert not processes_with("sleep\x00973")
        assert not processes_with(str(tmp_path))
        await hanging


def read_raw(url: str, body: object) -> bytes:
    request = urllib.request.Request(url, data=json.dumps(body).encode())  # noqa: S310
    try:
        with urllib.request.urlopen(request) as answer:  # noqa: S310
            return bytes(answer.read())
    except OSError:
        return b""
    except Exception as error:
        if type(error).__name__ == "IncompleteRead":
            return b""
        raise


async def test_a_network_address_without_a_key_is_refused(tmp_path: Path) -> None:
    everywhere = "0.0.0.0"  # noqa: S104 - refused
    async with server(tmp_path, STACYVM_HOST=everywhere) as process:
        _, errors = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 1
    assert errors.decode().startswith(f"BAD_REQUEST: refusing to listen on {everywhere} without")
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - refused before anything was touched


async def test_a_port_in_use_is_said_clearly(tmp_path: Path) -> None:
    async with server(tmp_path / "one") as first:
        port = (await address_of(first)).rpartition(":")[2]
        async with server(tmp_path / "two", STACYVM_PORT=port) as second:
            _, errors = await asyncio.wait_for(second.communicate(), 30)
        assert second.returncode == 1
        assert f"UNAVAILABLE: cannot listen on 127.0.0.1:{port}:" in errors.decode()


async def test_the_log_holds_neither_keys_nor_bodies(tmp_path: Path) -> None:
    async with server(tmp_path, STACYVM_API_KEY="k3y-s3cret") as process:
        url = await address_of(process)
        asked = {"env": {"TOKEN": "t0ken-s3cret"}}
        target = f"{url}/api/v1/sandboxes?token=qu3ry-s3cret"
        status, _ = await asyncio.to_thread(post, target, asked, **{"X-API-Key": "wr0ng-s3cret"})
        assert status == 401
        status, _ = await asyncio.to_thread(post, target, asked, **{"X-API-Key": "k3y-s3cret"})
        assert status == 201
        process.send_signal(signal.SIGTERM)
        output, errors = await asyncio.wait_for(process.communicate(), 20)
    log = (output + errors).decode()
    assert "POST /api/v1/sandboxes 201" in log
    assert "s3cret" not in log
