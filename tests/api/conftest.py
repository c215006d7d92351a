"""A real server on the local provider with a private Redis, one for all API tests."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from blockbuster import BlockBuster

from stacyvm.api.server import listening
from stacyvm.bootstrap import open_services
from stacyvm.config import Settings
from stacyvm.services.services import Services

ID = "test-request"

# Tasks that come and go without any request: the fixtures' own, and the reaper's look into Redis.
PASSING = ("_wrap_asyncgen_fixture", "AbstractConnection")


@dataclass(frozen=True)
class Api:
    """A running server, and a client of it."""

    services: Services
    url: str
    http: aiohttp.ClientSession

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    async def call(self, method: str, path: str, **kwargs: Any) -> tuple[int, Any]:
        """Return the status and the parsed JSON body; every answer carries our request id."""
        headers = {"X-Request-ID": ID} | kwargs.pop("headers", {})
        async with self.http.request(
            method, f"{self.url}/api/v1{path}", headers=headers, **kwargs
        ) as response:
            assert response.headers["X-Request-ID"] == headers["X-Request-ID"]
            assert response.headers["Content-Type"] == "application/json"
            return response.status, await response.json()

    async def raw(self, request: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a plain connection and send bytes; the test reads and closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(request)
        await writer.drain()
        return reader, writer

    async def spawn(self, **body: Any) -> str:
        """Spawn a sandbox and return its id."""
        status, sandbox = await self.call("POST", "/sandboxes", json=body)
        assert status == 201, sandbox
        return str(sandbox["id"])

    async def exec(self, sandbox: str, command: str, **body: Any) -> dict[str, Any]:
        """Run a shell command and return the answer."""
        status, result = await self.call(
            "POST", f"/sandboxes/{sandbox}/exec", json={"command": command, **body}
        )
        assert status == 200, result
        return dict(result)


def client() -> aiohttp.ClientSession:
    """Return a client that keeps no connection, so that each test can see what it left."""
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True))


Variant = Callable[..., AbstractAsyncContextManager[Api]]


def settings_for(data_dir: Path, **changes: Any) -> Settings:
    return Settings(
        _env_file=None,
        data_dir=data_dir,
        provider="local",
        host="127.0.0.1",
        port=0,
        heartbeat_interval=0.2,
        **changes,
    )


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def services(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Services]:
    settings = settings_for(tmp_path_factory.mktemp("api"))
    async with open_services(settings) as services:
        yield services


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def api(services: Services) -> AsyncIterator[Api]:
    async with listening(services) as url, client() as http:
        yield Api(services, url, http)


@pytest.fixture
def variant(services: Services) -> Variant:
    """Serve the same sandboxes with other API settings."""

    @asynccontextmanager
    async def start(**changes: Any) -> AsyncIterator[Api]:
        changed = replace(services, settings=services.settings.model_copy(update=changes))
        async with listening(changed) as url, client() as http:
            yield Api(changed, url, http)

    return start


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared(api: Api) -> AsyncIterator[str]:
    """A sandbox for tests that change nothing another test could see."""
    sandbox = await api.spawn()
    yield sandbox
    await api.call("DELETE", f"/sandboxes/{sandbox}")


@pytest_asyncio.fixture(loop_scope="session")
async def sandbox(api: Api) -> AsyncIterator[str]:
    """A sandbox of the test's own."""
    sandbox = await api.spawn()
    yield sandbox
    await api.call("DELETE", f"/sandboxes/{sandbox}")


@pytest_asyncio.fixture(loop_scope="session")
async def _guarded(api: Api, shared: str) -> AsyncIterator[None]:
    """As the guard of all tests, for a server that lives on: nothing of this test's stays in it."""
    before = await _held(api)
    guard = BlockBuster(scanned_modules=["stacyvm"])
    # A traceback that is logged reads the source's lines; that is rare, and local.
    guard.functions["os.stat"].can_block_in("linecache.py", {"checkcache", "updatecache"})
    guard.activate()
    yield
    guard.deactivate()
    left = await _held(api) - before
    for _ in range(100):
        if not left:
            break
        await asyncio.sleep(0.05)  # what a request started may end a moment behind it
        left = await _held(api) - before
    assert left == set()


async def _held(api: Api) -> set[str]:
    """Return what a test could leave: tasks (each connection is one), files, sandboxes."""
    coroutines = {getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()}
    tasks = {name for name in coroutines if not name.startswith(PASSING)}
    links = _links()
    # Sockets: the pool of Redis connections may grow.
    files = {link for link in links if not link.startswith(("socket:", "/proc/", "/dev/"))}
    found = await api.services.sandboxes.list()
    return tasks | files | {sandbox.id for sandbox in found}


def _links() -> list[str]:
    return [_link(entry) for entry in Path("/proc/self/fd").iterdir()]


def _link(entry: Path) -> str:
    try:
        return str(entry.readlink())
    except OSError:
        return "/proc/"  # it was the listing's own


async def eventually(check: Callable[[], Awaitable[bool]], *, timeout: float = 10) -> None:
    """Wait until ``check`` is true."""
    async with asyncio.timeout(timeout):
        while not await check():  # noqa: ASYNC110 - what is awaited sends no event
            await asyncio.sleep(0.05)


def processes_with(marker: str) -> list[int]:
    """Return the processes of this machine whose command line contains ``marker``."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if marker.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def adas(api: Api) -> AsyncIterator[str]:
    """A sandbox that belongs to ada, with a file in it."""
    sandbox = await api.spawn(owner_id="ada", ttl="10m")
    await api.exec(sandbox, "printf hers > mine")
    yield sandbox
    await api.call("DELETE", f"/sandboxes/{sandbox}")
