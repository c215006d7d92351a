"""What every test stands on: settings of its own, no blocking on the loop, nothing left behind."""

import asyncio
import gc
import inspect
import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from blockbuster import BlockBuster
from docker.errors import DockerException

from stacyvm.config import Settings

IN_CI = os.environ.get("CI") == "true"
# Every instance of this test session begins so; the engine may be shared with other sessions.
SESSION = secrets.token_hex(2)

MakeSettings = Callable[..., Settings]


def _engine_error() -> str:
    try:
        client = docker.from_env(timeout=10)
    except DockerException as error:
        return str(error)
    try:
        client.ping()
    except DockerException as error:
        return str(error)
    finally:
        client.close()
    return ""


@pytest.fixture(scope="session")
def _engine() -> str:
    """Why no engine can be used, once a session; empty when one answers."""
    return _engine_error()


@pytest.fixture(autouse=True)
def _needs_engine(request: pytest.FixtureRequest) -> None:
    """Skip a test marked ``docker`` without an engine; in CI that is a failure, not a skip."""
    if request.node.get_closest_marker("docker") is None:
        return
    if why := request.getfixturevalue("_engine"):
        skip_or_fail(f"no Docker engine: {why}")


def skip_or_fail(why: str) -> None:
    """Skip the test, visibly; in CI nothing is skipped."""
    if IN_CI:
        pytest.fail(why)
    pytest.skip(why)


def new_instance() -> str:
    """Return an instance id that the leak check knows as this session's."""
    return SESSION + secrets.token_hex(2)


@pytest.fixture
def make_settings(tmp_path: Path) -> MakeSettings:
    """Give a maker of settings with a data directory of their own, deaf to the environment."""

    def make(**values: Any) -> Settings:
        data_dir = Path(values.pop("data_dir", tmp_path / "data"))
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        identity = data_dir / "instance"
        if not identity.exists():
            identity.write_text(new_instance())
        return Settings(
            _env_file=None,
            **{"data_dir": data_dir, "provider": "local", "port": 0, **values},
        )

    return make


def left_in_engine() -> dict[str, list[str]]:
    """Return containers and networks of this session that are in the engine now."""
    client = docker.from_env(timeout=30)
    try:
        # Listings alone: inspecting each would trip over what goes away meanwhile.
        containers = client.api.containers(all=True, filters={"label": "stacyvm.instance"})
        networks = client.api.networks(filters={"label": "stacyvm.instance"})
        return {
            "containers": [str(c["Names"][0]).lstrip("/") for c in containers if _is_ours(c)],
            "networks": [str(n["Name"]) for n in networks if _is_ours(n)],
        }
    finally:
        client.close()


def _is_ours(listed: dict[str, Any]) -> bool:
    return str(listed["Labels"]["stacyvm.instance"]).startswith(SESSION)


def _volumes() -> set[str]:
    client = docker.from_env(timeout=30)
    try:
        # The agent's own volume stays: it is shared by all sandboxes and named by its content.
        return {v.name for v in client.volumes.list() if not v.name.startswith("stacyvm-agent-")}
    finally:
        client.close()


@pytest.fixture(autouse=True)
def _nothing_left_in_engine(request: pytest.FixtureRequest, _needs_engine: None) -> Iterator[None]:
    """Fail a test on the engine that leaves a container, network or volume behind."""
    if request.node.get_closest_marker("docker") is None:
        yield
        return
    volumes = _volumes()
    yield
    assert left_in_engine() == {"containers": [], "networks": []}
    assert _volumes() - volumes == set()


def _descriptors() -> dict[str, str]:
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found[entry.name] = str(entry.readlink())
        except OSError:
            continue  # it was the listing's own
    return found


@pytest.fixture(autouse=True)
def _guard_async(request: pytest.FixtureRequest) -> None:
    """Guard every asynchronous test; synchronous ones need no loop."""
    if inspect.iscoroutinefunction(getattr(request.node, "obj", None)):
        request.getfixturevalue("_guarded")


@pytest.fixture
async def _guarded() -> AsyncIterator[None]:
    """Fail a test that blocks the loop in our code, or leaves a task or descriptor behind."""
    tasks, descriptors = asyncio.all_tasks(), _descriptors()
    guard = BlockBuster(scanned_modules=["stacyvm"])
    guard.activate()
    yield
    guard.deactivate()
    tasks.add(asyncio.current_task())  # type: ignore[arg-type]  # there is one
    left = {task.get_name() for task in asyncio.all_tasks() - tasks if not task.done()}
    assert left == set(), "tasks left"
    gc.collect()
    open_now = _descriptors().items()
    extra = {fd: to for fd, to in open_now if descriptors.get(fd) != to and to != "/dev/null"}
    assert extra == {}, "descriptors left"
