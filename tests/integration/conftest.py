"""Servers on the real engine, and looks at the engine behind their back."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest

from tests.conftest import left_in_engine, new_instance
from tests.live_server import LiveServer

MakeServer = Callable[..., LiveServer]


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[MakeServer]:
    """Give a maker of servers; what they hold is destroyed and they are stopped at the end."""
    made: list[LiveServer] = []

    def make(**settings: str) -> LiveServer:
        server = LiveServer(tmp_path / str(len(made)), new_instance(), **settings)
        made.append(server)
        server.start()
        return server

    yield make
    for server in made:
        server.destroy_all()
        wait_until(lambda: not left_in_engine()["containers"], "containers to go", timeout=60)
        server.stop()
    client = docker.from_env()
    for network in client.networks.list(filters={"label": "stacyvm.instance"}):
        if network.name in left_in_engine()["networks"]:
            network.remove()
    client.close()


@pytest.fixture
def server(make_server: MakeServer) -> LiveServer:
    """One server on the engine with default settings."""
    return make_server()


def wait_until(check: Callable[[], object], describe: str, *, timeout: float = 30.0) -> None:
    """Wait until ``check`` is true; a failure says what was waited for."""
    deadline = time.monotonic() + timeout
    while not check():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout:g}s for {describe}")
        time.sleep(0.05)


def running(instance: str) -> set[str]:
    """Return the names of an instance's running containers, as the engine has them."""
    return _names(instance, all_=False)


def existing(instance: str) -> set[str]:
    """Return the names of an instance's containers, running or not."""
    return _names(instance, all_=True)


def _names(instance: str, *, all_: bool) -> set[str]:
    client = docker.from_env()
    try:
        found = client.api.containers(all=all_, filters={"label": f"stacyvm.instance={instance}"})
        return {str(entry["Names"][0]).lstrip("/") for entry in found}
    finally:
        client.close()
