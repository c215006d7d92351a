"""A real server on the local provider, and a twin that misbehaves as no real server does."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from stacyvm_sdk import Client, Sandbox

from tests.conftest import new_instance
from tests.live_server import LiveServer
from tests.sdk.faulty_server import FaultyServer


@pytest.fixture(scope="session")
def live_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """One server for all tests of the SDK; each test has sandboxes of its own."""
    folder = tmp_path_factory.mktemp("sdk") / "server"
    server = LiveServer(folder, new_instance(), provider="local", max_exec_output=str(4 * 2**20))
    server.start()
    yield server
    assert server.stop() == 0


@pytest.fixture
def client(live_server: LiveServer) -> Iterator[Client]:
    with live_server.client() as client:
        yield client
        assert client.list() == [], "sandboxes left"


@pytest.fixture
def sandbox(client: Client) -> Iterator[Sandbox]:
    with client.spawn() as sandbox:
        yield sandbox


@pytest.fixture
def faulty() -> Iterator[FaultyServer]:
    with FaultyServer() as server:
        yield server


@pytest.fixture
def local(tmp_path: Path) -> Path:
    """A directory with most of what can be in one."""
    root = tmp_path / "local"
    (root / "src" / "deep" / "er").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "src" / "main.js").write_text("console.log('hi')\n")
    (root / "src" / "run.sh").write_text("#!/bin/sh\necho ran\n")
    (root / "src" / "run.sh").chmod(0o755)
    (root / "src" / "deep" / "er" / "ünï cödé.bin").write_bytes(bytes(range(256)) * 5000)
    (root / "src" / "link.js").symlink_to("main.js")
    (root / "nothing").write_bytes(b"")
    return root


def contents(root: Path) -> dict[str, object]:
    """Return what is under ``root``: bytes of files with their bits, targets of links."""
    found: dict[str, object] = {}
    for path in root.rglob("*"):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.is_dir():
            found[name] = "directory"
        else:
            found[name] = (path.read_bytes(), oct(path.stat().st_mode & 0o777))
    return found
