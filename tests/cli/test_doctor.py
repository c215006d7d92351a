import json
import socket
from pathlib import Path

import pytest

from stacyvm.cli.doctor import CHECKS, Verdict, check_port, check_runtimes
from stacyvm.cli.machine import runtimes
from stacyvm.config import Settings
from tests.cli.conftest import Shell, clean_environment


def _doctor(directory: Path, **environment: str) -> tuple[int, dict[str, dict[str, str]]]:
    shell = Shell(directory=directory, environment=clean_environment(**environment))
    done = shell.run("doctor", "--json")
    return done.returncode, {one["check"]: one for one in json.loads(done.stdout)}


def test_without_an_engine_it_fails_and_says_what_to_do(tmp_path: Path) -> None:
    code, found = _doctor(tmp_path, STACYVM_DOCKER_HOST=f"unix://{tmp_path}/none")
    assert code == 1
    assert found["engine"]["verdict"] == "fail"
    assert "stacyvm setup" in found["engine"]["todo"]
    assert len(found) == len(CHECKS)


def test_the_local_provider_needs_no_engine(tmp_path: Path) -> None:
    code, found = _doctor(
        tmp_path, STACYVM_DOCKER_HOST=f"unix://{tmp_path}/none", STACYVM_PROVIDER="local"
    )
    assert code == 0
    assert found["engine"]["verdict"] == "warn"


def test_the_local_provider_needs_javascript_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "missing", lambda: ["quickjs-ng"])
    assert check_runtimes(Settings(provider="docker")).verdict is Verdict.WARN
    finding = check_runtimes(Settings(provider="local"))
    assert finding.verdict is Verdict.FAIL
    assert "quickjs-ng" in finding.found
    assert "setup" in finding.todo


def test_a_redis_that_does_not_answer_fails(tmp_path: Path) -> None:
    code, found = _doctor(tmp_path, STACYVM_REDIS_URL=f"unix://{tmp_path}/none")
    assert code == 1
    assert found["redis"]["verdict"] == "fail"


def test_all_that_fails_or_warns_says_what_to_do(tmp_path: Path) -> None:
    _, found = _doctor(
        tmp_path,
        STACYVM_DOCKER_HOST=f"unix://{tmp_path}/none",
        STACYVM_REDIS_URL=f"unix://{tmp_path}/none",
        PATH="/nowhere",
    )
    assert [
        one["check"] for one in found.values() if one["verdict"] != "ok" and not one["todo"]
    ] == []


def test_a_port_in_use_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert check_port(Settings(port=port, host="127.0.0.1")).verdict is Verdict.WARN
    assert check_port(Settings(port=0, host="127.0.0.1")).verdict is Verdict.OK


@pytest.mark.docker
def test_on_a_machine_that_is_set_up_nothing_fails(tmp_path: Path) -> None:
    code, found = _doctor(tmp_path)
    assert [one for one in found.values() if one["verdict"] == "fail"] == []
    assert code == 0
    assert "Docker" in found["engine"]["found"]
