"""A real server as a real process, for commands that are real processes too."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from stacyvm_sdk import Client

PROGRAM = str(Path(sys.executable).with_name("stacyvm"))
PATIENCE = 30.0  # seconds a command may take before the test fails instead of hanging


def clean_environment(**more: str) -> dict[str, str]:
    """Return the environment without our own settings, those of the developer for one."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STACYVM_")}
    return kept | more


@dataclass(frozen=True, kw_only=True)
class Shell:
    """Runs ``stacyvm`` as a shell would, against one server."""

    url: str = ""
    directory: Path
    environment: dict[str, str] = field(default_factory=dict)

    def run(
        self, *args: str, stdin: bytes | None = None, environment: dict[str, str] | None = None
    ) -> "subprocess.CompletedProcess[bytes]":
        """Run a command to its end; without ``stdin`` it has ``/dev/null``."""
        return subprocess.run(
            [PROGRAM, *args],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            timeout=PATIENCE,
            check=False,
            cwd=self.directory,
            env=self._environment() | (environment or {}),
        )

    def start(self, *args: str, stdin: int = subprocess.DEVNULL) -> "subprocess.Popen[bytes]":
        """Start a command with pipes on stdout and stderr, in a process group of its own."""
        return subprocess.Popen(
            [PROGRAM, *args],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.directory,
            env=self._environment(),
            start_new_session=True,
        )

    def _environment(self) -> dict[str, str]:
        named = {"STACYVM_URL": self.url} if self.url else {}
        return clean_environment(**named, **self.environment)


@dataclass(frozen=True, kw_only=True)
class LiveServer:
    """A server under test."""

    url: str
    data_dir: Path
    process: "subprocess.Popen[bytes]"


def processes_naming(text: str) -> list[str]:
    """Return the command lines of the processes that have ``text`` in theirs."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it has ended meanwhile
        if text in line:
            found.append(line)
    return found


def start_server(data_dir: Path, *args: str, **environment: str) -> LiveServer:
    """Start ``stacyvm serve`` on a free port and wait until it says where it listens."""
    log = data_dir.parent / f"{data_dir.name}.log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [PROGRAM, "serve", "--port", "0", "--provider", "local", "--data-dir", data_dir, *args],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=clean_environment(**environment),
            cwd=data_dir.parent,
        )
    assert process.stdout is not None
    line = process.stdout.readline().decode()
    if "listening on http" not in line:
        process.kill()
        process.communicate()
        pytest.fail(f"the server did not start: {line}{log.read_text(errors='replace')}")
    return LiveServer(url=line.split()[-1], data_dir=data_dir, process=process)


def stop_server(live: LiveServer) -> None:
    """Stop the server as Ctrl-C does, and check that nothing of it remains."""
    live.process.send_signal(signal.SIGINT)
    try:
        live.process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        live.process.kill()
        live.process.communicate()
        pytest.fail("the server did not stop")
    assert live.process.returncode == 0
    assert processes_naming(str(live.data_dir)) == []


@pytest.fixture(scope="session")
def live_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """One server for all tests of the command line."""
    live = start_server(tmp_path_factory.mktemp("cli") / "data")
    try:
        yield live
    finally:
        stop_server(live)


@pytest.fixture
def shell(live_server: LiveServer, tmp_path: Path) -> Shell:
    """A shell in an empty directory that knows the server."""
    return Shell(url=live_server.url, directory=tmp_path)


@pytest.fixture
def lone_shell(tmp_path: Path) -> Shell:
    """A shell that knows no server."""
    return Shell(directory=tmp_path)


@pytest.fixture
def client(live_server: LiveServer) -> Iterator[Client]:
    """The SDK, to look at the server from another side."""
    with Client(live_server.url) as client:
        yield client


@pytest.fixture
def sandbox_id(client: Client) -> Iterator[str]:
    """A sandbox for one test."""
    with client.spawn() as sandbox:
        yield sandbox.id


@pytest.fixture
def spawned(client: Client) -> Iterator[Callable[[str], str]]:
    """Remember ids that the test spawned, and destroy them at its end; gives the id back."""
    ids: list[str] = []

    def remember(sandbox_id: str) -> str:
        ids.append(sandbox_id)
        return sandbox_id

    yield remember
    for info in client.list():
        if info.id in ids:
            client.get(info.id).destroy()
