from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stacyvm.agent.build import build_zipapp
from tests.unit.agent.driver import SOURCES, Driver

StartAgent = Callable[..., Driver]


@pytest.fixture(scope="session")
def zipapp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("zipapp") / "agent.pyz"
    build_zipapp(target)
    return target


@pytest.fixture(params=["sources", "zipapp"])
def program(request: pytest.FixtureRequest) -> Path:
    """The agent in both its forms."""
    return SOURCES if request.param == "sources" else request.getfixturevalue("zipapp")


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return tmp_path / "workspace"


@pytest.fixture
def start(program: Path, workspace: Path) -> Iterator[StartAgent]:
    """Start agents that end, with all they started, when the test does."""
    started: list[Driver] = []

    def make(*options: str, **how: Any) -> Driver:
        folder = how.pop("workspace", workspace)
        driver = Driver(folder, *options, program=how.pop("program", program), **how)
        started.append(driver)
        return driver

    yield make
    for driver in started:
        driver.close()


@pytest.fixture
def agent(start: StartAgent) -> Driver:
    return start()
