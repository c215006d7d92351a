import json
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from stacyvm_sdk.streaming import StreamChunk

from stacyvm.cli.errors import CommandError
from stacyvm.cli.showcase.expectation import expected
from stacyvm.cli.showcase.job import check, example, lines
from tests.cli.conftest import PROGRAM, Shell, clean_environment
from tests.conftest import skip_or_fail

DATA = example() / "data"


@pytest.fixture
def wanted() -> dict[str, Any]:
    return expected(DATA)


def test_the_expectation_knows_the_world(wanted: dict[str, Any]) -> None:
    assert wanted["version"] == "2025b"
    assert (wanted["zones"], wanted["links"], wanted["rules"]) == (447, 151, 2178)
    assert sum(one["zones"] for one in wanted["offsets"]) == wanted["zones"]
    assert wanted["restless"][0] == {"zone": "Antarctica/Casey", "eras": 18, "changes": 17}
    assert wanted["countries"][0] == {
        "code": "US",
        "name": "United States",
        "zones": 29,
        "spanHours": 5.0,
    }


def test_the_program_comes_to_the_same_on_its_own(tmp_path: Path, wanted: dict[str, Any]) -> None:
    node = shutil.which("node")
    if node is None:
        skip_or_fail("no node on this machine")
    result = tmp_path / "result.json"
    subprocess.run(
        [str(node), example() / "program/main.node.js", DATA, result],
        check=True,
        timeout=30,
        stdout=subprocess.DEVNULL,
    )
    check("Node", json.loads(result.read_text()), wanted)


def test_a_wrong_result_is_told(wanted: dict[str, Any]) -> None:
    with pytest.raises(CommandError, match="differ in more, zones"):
        check("Node", {**wanted, "zones": 1, "more": 1}, wanted)
    with pytest.raises(CommandError, match="not an object"):
        check("Node", [], wanted)


def test_lines_are_whole_and_streams_are_not_mixed() -> None:
    chunks = [
        StreamChunk("stdout", "a\nb"),
        StreamChunk("stderr", "x"),
        StreamChunk("stdout", "c\n"),
    ]
    assert list(lines(chunks)) == ["a", "bc", "x"]


def _temporary() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("stacyvm-demo-*"))


@pytest.mark.parametrize("provider", ["local", pytest.param("docker", marks=pytest.mark.docker)])
def test_the_whole_demo(provider: str, tmp_path: Path) -> None:
    before = _temporary()
    shell = Shell(directory=tmp_path, environment=clean_environment())
    done = shell.run("demo", "--provider", provider)
    output = done.stdout.decode()
    assert done.returncode == 0, output + done.stderr.decode()
    assert output.count("equal to what Python works out") == 2
    assert "QuickJS: time zone database 2025b" in output
    assert ("no container labelled" if provider == "docker" else "No sandbox's folder") in output
    assert output.endswith("the server has stopped.\n")
    assert _temporary() - before == set()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_cleans_up(number: signal.Signals, tmp_path: Path) -> None:
    before = _temporary()
    demo = subprocess.Popen(
        [PROGRAM, "demo", "--provider", "local"],
        env=clean_environment(),
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if "in sandbox" in line:
                break
        demo.send_signal(number)
        demo.communicate(timeout=30)
    assert demo.returncode == 128 + number
    deadline = time.monotonic() + 5
    while _temporary() - before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert _temporary() - before == set()


def test_a_server_that_does_not_come_up_is_told(tmp_path: Path) -> None:
    environment = clean_environment(STACYVM_REDIS_URL=f"unix://{tmp_path}/none")
    shell = Shell(directory=tmp_path, environment=environment)
    done = shell.run("demo", "--provider", "local")
    assert done.returncode == 1
    assert b"the server does not come up" in done.stderr
