"""Servers on the real engine, and looks at the engine behind their back."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
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

    try:
        yield make
    finally:
        with ExitStack() as stack:  # whatever of it fails, all of it is done
            stack.callback(_remove_networks)
            for server in made:
                stack.callback(server.stop)
                stack.callback(_empty, server)


def _empty(server: LiveServer) -> None:
    server.destroy_all()
    instance = (server.data_dir / "instance").read_text().strip()
    wait_until(lambda: not existing(instance), "containers to go", timeout=60)


def _remove_networks() -> None:
    client = docker.from_env()
    try:
        for name in left_in_engine()["networks"]:
            client.api.remove_network(name)
    finally:
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
