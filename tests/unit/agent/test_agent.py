"""Greeting, malformed input, the lease, and the agent's own pipes."""

import json
import os
import shutil
import signal
import tempfile
import time
from pathlib import Path

import pytest

from stacyvm.agent.build import build_zipapp
from stacyvm.agent.frames import MAX_FRAME
from tests.unit.agent.conftest import StartAgent
from tests.unit.agent.driver import Driver, alive, python_for_all, wait_until


def test_hello_echoes_the_nonce_and_says_who_it_is(start: StartAgent, workspace: Path) -> None:
    agent = start(hello=False)
    answer = agent.hello(nonce="abc123")
    boot = answer.pop("boot")
    assert len(boot) == 16
    assert answer == {
        "id": 1,
        "ev": "ok",
        "nonce": "abc123",
        "protocol": 1,
        "agent": "0.1.0",
        "pid": agent.process.pid,
        "uid": os.getuid(),
        "workspace": str(workspace),
    }
    assert agent.hello()["boot"] == boot


@pytest.mark.parametrize(
    "line",
    [
        b"junk",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b'{"id":2}',
        b'{"id":2,"op":7}',
        b'{"id":"2","op":"ping"}',
        b'{"id":true,"op":"ping"}',
        b'{"id":1,"op":"ping"}',
        b'{"id":-5,"op":"ping"}',
        b'{"op":"ping"}',
        b'{"id":2,"op":"ping"} {"id":3,"op":"ping"}',
        b'{"id":NaN,"op":"ping"}',
        b"\xff\xfe\x00",
        '{"id":2,"op":"pïng"}'.encode(),
        b"[" * 100_000,
        b"x" * (MAX_FRAME + 1),
        b'{"id":2,"op":"ping","pad":"' + b"x" * MAX_FRAME + b'"}',
        b'{"id":' + b"9" * 5000 + b',"op":"ping"}',
    ],
    ids=lambda line: line[:20].decode("ascii", "replace"),
)
def test_a_malformed_line_is_answered_with_id_0_and_ignored(agent: Driver, line: bytes) -> None:
    agent.write(line + b"\n")
    answer = agent.frame()
    assert (answer["id"], answer["ev"], answer["code"]) == (0, "error", "protocol")
    assert agent.call("ping") == {"id": 2, "ev": "ok"}


def test_a_line_of_exactly_one_mebibyte_is_taken(agent: Driver) -> None:
    head, tail = b'{"id":2,"op":"ping","pad":"', b'"}\n'
    agent.write(head + b"x" * (MAX_FRAME - len(head) - len(tail)) + tail)
    assert agent.frame() == {"id": 2, "ev": "ok"}


@pytest.mark.parametrize(
    ("op", "fields"),
    [
        ("nope", {}),
        ("exec", {}),
        ("exec", {"argv": []}),
        ("exec", {"argv": "true"}),
        ("exec", {"argv": [1]}),
        ("exec", {"argv": [""]}),
        ("exec", {"argv": ["a\0b"]}),
        ("exec", {"argv": ["\ud800"]}),
        ("exec", {"argv": ["true"], "env": []}),
        ("exec", {"argv": ["true"], "env": {"A=B": "x"}}),
        ("exec", {"argv": ["true"], "env": {"": "x"}}),
        ("exec", {"argv": ["true"], "env": {"A": "x\0"}}),
        ("exec", {"argv": ["true"], "env": {"A": 1}}),
        ("exec", {"argv": ["true"], "window": 0}),
        ("exec", {"argv": ["true"], "window": 1 << 40}),
        ("exec", {"argv": ["true"], "timeout_ms": -1}),
        ("exec", {"argv": ["true"], "timeout_ms": 1.5}),
        ("exec", {"argv": ["true"], "stdin": 1}),
        ("exec", {"argv": ["true"], "cwd": "/does/not/exist"}),
        ("exec", {"argv": ["true", "x" * 200_000]}),
        ("signal", {"to": 99, "signal": "SIGINT"}),
        ("signal", {"to": 99, "signal": "SIGNOPE"}),
        ("read", {"path": 1}),
        ("read", {"path": "x", "length": -1}),
        ("write", {"path": "x", "mode": 0o10000, "eof": True}),
        ("write", {"path": "x", "data": "***", "eof": True}),
        ("write", {"path": "x", "data": "", "eof": "yes"}),
        ("chmod", {"path": "x"}),
        ("lease", {"ttl_ms": 0}),
        ("lease", {}),
        ("logs", {"lines": -1}),
    ],
)
def test_wrong_fields_are_refused_by_name(
    agent: Driver, op: str, fields: dict[str, object]
) -> None:
    assert agent.refused(op, **fields) == "invalid"
    agent.call("ping")


@pytest.mark.parametrize("path", ["", "a\0b", "x" * 4097, "y" * 300, "\ud800"])
@pytest.mark.parametrize("op", ["stat", "read", "list", "mkdir", "remove"])
def test_paths_that_can_be_none_are_refused(agent: Driver, op: str, path: str) -> None:
    assert agent.refused(op, path=path) == "invalid_path"


def test_a_new_hello_drops_what_was_queued_and_kills_what_ran(agent: Driver) -> None:
    pid = int(agent.shell("echo $PPID")[1])
    assert pid == agent.process.pid
    agent.begin("exec", argv=["sh", "-c", "echo $$ > pid; exec yes"], window=8 << 20)
    wait_until((agent.workspace / "pid").exists)
    time.sleep(0.3)  # stdout is full now, in the middle of a line
    agent.write(b'{"id":3,"op":"pi')
    answer = agent.hello(nonce="feed01")
    assert answer["nonce"] == "feed01"
    child = int((agent.workspace / "pid").read_text())
    wait_until(lambda: not alive(child))
    assert agent.call("ping") == {"id": 2, "ev": "ok"}
    assert agent.silent(0.2)


def test_what_a_reader_gets_around_a_new_hello_is_whole_lines(agent: Driver) -> None:
    agent.begin("exec", argv=["yes"], window=8 << 20)
    time.sleep(0.3)
    agent.write(b"\n")
    agent.send(id=1, op="hello", nonce="cafe02", lease_ms=60_000)
    broken = 0
    while b"cafe02" not in (line := agent.line()):
        try:
            json.loads(line)
        except ValueError:
            broken += 1
    assert json.loads(line)["nonce"] == "cafe02"
    assert broken <= 2  # the line cut by the pipe, and the empty rest of none


def test_end_of_input_ends_the_agent_and_its_commands(agent: Driver) -> None:
    agent.begin("exec", argv=["sh", "-c", "trap '' TERM; echo $$ > pid; sleep 60 & wait"])
    wait_until(lambda: (agent.workspace / "pid").exists() and (agent.workspace / "pid").read_text())
    child = int((agent.workspace / "pid").read_text())
    agent.stdin.close()
    assert agent.process.wait(10) == 0
    assert not alive(child)


def test_a_reader_that_is_gone_ends_the_agent(agent: Driver) -> None:
    agent.stdout.close()
    agent.send(id=9, op="ping")
    assert agent.process.wait(10) == 0


def test_sigterm_ends_the_agent_and_its_commands(agent: Driver) -> None:
    agent.begin("exec", argv=["sh", "-c", "echo $$ > pid; exec sleep 60"])
    wait_until(lambda: (agent.workspace / "pid").exists() and (agent.workspace / "pid").read_text())
    child = int((agent.workspace / "pid").read_text())
    agent.process.send_signal(signal.SIGTERM)
    assert agent.process.wait(10) == 143
    assert not alive(child)


def test_a_lease_that_passes_kills_everything_and_exits_with_124(agent: Driver) -> None:
    script = "trap '' TERM; echo $$ > pid; (setsid sh -c 'echo $$ > pid2; sleep 60' &) ; sleep 60"
    agent.begin("exec", argv=["sh", "-c", script])
    files = [agent.workspace / "pid", agent.workspace / "pid2"]
    wait_until(lambda: all(f.exists() and f.read_text() for f in files))
    pids = [int(f.read_text()) for f in files]
    agent.send(id=50, op="lease", ttl_ms=50)
    assert agent.process.wait(10) == 124
    assert [alive(pid) for pid in pids] == [False, False]


def test_a_renewed_lease_holds(start: StartAgent) -> None:
    agent = start("--lease-ms", "700", hello=False)
    agent.hello(lease_ms=700)
    for _ in range(5):
        time.sleep(0.25)
        agent.call("lease", ttl_ms=700)
    assert agent.process.poll() is None
    assert agent.process.wait(5) == 124


def test_the_lease_of_the_command_line_holds_before_any_hello(start: StartAgent) -> None:
    agent = start("--lease-ms", "100", hello=False)
    assert agent.process.wait(10) == 124


@pytest.mark.parametrize(
    "options", [["--nope"], ["--uid"], ["--uid", "0"], ["--lease-ms", "x"], ["--path-map", "a=b"]]
)
def test_a_senseless_command_line_is_refused(start: StartAgent, options: list[str]) -> None:
    agent = start(*options, hello=False)
    assert agent.process.wait(10) == 64
    assert agent.stderr().startswith("stacyvm agent: ")


def test_a_workspace_that_cannot_be_made_ends_the_start(start: StartAgent, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    agent = start(hello=False, workspace=tmp_path / "file" / "below")
    assert agent.process.wait(10) == 70
    assert "cannot make the workspace" in agent.stderr()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give up root")
def test_root_is_given_up_for_good(start: StartAgent, request: pytest.FixtureRequest) -> None:
    python = python_for_all()
    root = Path(tempfile.mkdtemp(dir="/tmp"))  # pytest's own folders are closed to other users
    root.chmod(0o755)
    request.addfinalizer(lambda: shutil.rmtree(root))
    workspace, program = root / "workspace", root / "agent.pyz"
    build_zipapp(program)
    agent = start("--uid", "1000", hello=False, program=program, python=python, workspace=workspace)
    assert agent.hello()["uid"] == 1000
    assert workspace.stat().st_uid == 1000
    end, out, _ = agent.shell("id -u; id -g; id -G; echo $HOME; pwd; umask")
    assert end["exit_code"] == 0
    assert out.decode().split() == ["1000", "1000", "1000", *[str(workspace)] * 2, "0022"]
    status = Path(f"/proc/{agent.process.pid}/status").read_text()
    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert f"{name}:\t0000000000000000" in status


def test_a_client_that_never_reads_costs_bounded_memory(agent: Driver) -> None:
    os.set_blocking(agent.stdin.fileno(), False)
    asked = 0
    ping = b"".join(b'{"id":%d,"op":"list","path":"/usr/bin"}\n' % n for n in range(2, 1000))
    for _ in range(40):
        try:
            asked += os.write(agent.stdin.fileno(), ping)
        except BlockingIOError:
            time.sleep(0.05)
    status = Path(f"/proc/{agent.process.pid}/status").read_text()
    resident = int(status.split("VmRSS:")[1].split()[0])
    assert resident < 120_000  # KiB


def test_many_live_requests_are_refused_as_busy(agent: Driver) -> None:
    for n in range(1024):
        agent.begin("write", path=f"f{n}", parents=False)
    assert agent.refused("stat", path="/") == "busy"
    agent.hello()
    assert list(agent.workspace.iterdir()) == []
