"""Commands: output, ends, limits, input, and that nothing of them stays when they are killed."""

import base64
import os
import resource
import time
from pathlib import Path

import pytest

from tests.unit.agent.conftest import StartAgent
from tests.unit.agent.driver import Driver, Frame, alive, data_of, encoded, wait_until


def _pid_in(path: Path) -> int:
    wait_until(lambda: path.exists() and path.read_text().endswith("\n"))
    return int(path.read_text())


def test_output_status_and_facts_come_back(agent: Driver) -> None:
    end, out, err = agent.shell("echo out; echo err >&2; exit 3")
    duration, pid = end.pop("duration_ms"), end.pop("pid")
    assert (out, err) == (b"out\n", b"err\n")
    assert end == {
        "id": 2,
        "ev": "ok",
        "exit_code": 3,
        "signal": "",
        "timed_out": False,
        "truncated": False,
    }
    assert 0 < duration < 5000
    assert pid != agent.process.pid


def test_bytes_that_are_no_text_arrive_as_they_are(agent: Driver) -> None:
    _, out, _ = agent.shell(r"printf '\377\376\000\303'")
    assert out == b"\xff\xfe\x00\xc3"


def test_a_command_that_is_missing_or_not_executable_ends_as_in_a_shell(agent: Driver) -> None:
    end, _, err = agent.run("no-such-program")
    assert (end["exit_code"], end["signal"], err) == (127, "", b"no-such-program: not found\n")
    agent.put("plain.txt", b"hello")
    assert agent.run("./plain.txt")[0]["exit_code"] == 126
    assert agent.run("./missing")[0]["exit_code"] == 127
    assert agent.run("/")[0]["exit_code"] == 126
    # Their words keep to the window like everything else.
    frames = agent.frames("exec", argv=["no-such-program"], window=4)
    assert [f["ev"] for f in frames[:2]] == ["info", "data"]
    assert len(base64.b64decode(frames[1]["data"])) == 4
    assert data_of(frames, 2) == b"no-such-program: not found\n"


def test_a_program_is_looked_for_along_the_commands_own_path(agent: Driver, tmp_path: Path) -> None:
    for folder, mode in (("shut", 0o644), ("open", 0o755)):
        (tmp_path / folder).mkdir()
        program = tmp_path / folder / "tool"
        program.write_text(f"#!/bin/sh\necho {folder}\n")
        program.chmod(mode)
    (tmp_path / "folder" / "tool").mkdir(parents=True)
    path = ":".join(str(tmp_path / name) for name in ("none", "folder", "shut", "open"))
    ended, out, _ = agent.run("tool", env={"PATH": path})
    assert (ended["exit_code"], out) == (0, b"open\n")
    ended, _, _ = agent.run("tool", env={"PATH": str(tmp_path / "shut")})
    assert ended["exit_code"] == 126
    ended, out, _ = agent.run("tool", env={"PATH": ""}, cwd=str(tmp_path / "open"))
    assert (ended["exit_code"], out) == (0, b"open\n")


def test_a_broken_pipe_ends_a_command_as_in_a_shell(agent: Driver) -> None:
    ended, _, _ = agent.run("sh", "-c", "kill -PIPE $$")
    assert ended["signal"] == "SIGPIPE"


def test_a_signal_is_told_by_number_and_name(agent: Driver) -> None:
    end, _, _ = agent.shell("kill -SEGV $$")
    assert (end["exit_code"], end["signal"]) == (139, "SIGSEGV")


def test_the_environment_is_the_images_own_and_the_requests(start: StartAgent) -> None:
    agent = start(env={"STACYVM_API_KEY": "secret", "IMAGE": "yes", "PATH": os.environ["PATH"]})
    _, out, _ = agent.run("env", env={"NAME": "value ü", "IMAGE": "mine"})
    found = dict(line.split("=", 1) for line in out.decode().splitlines())
    mark = found.pop("STACYVM_EXEC")
    assert mark
    assert found == {
        "IMAGE": "mine",
        "NAME": "value ü",
        "PATH": os.environ["PATH"],
        "HOME": str(agent.workspace),
    }


def test_a_command_leads_its_own_session_with_only_three_descriptors(agent: Driver) -> None:
    _, out, _ = agent.shell(
        "ls /proc/self/fd | wc -l; readlink /proc/self/fd/0; cut -d' ' -f1,5,6 /proc/$$/stat"
    )
    count, stdin, ids = out.decode().splitlines()
    assert count == "4"  # the fourth is the listing's
    assert stdin == "/dev/null"
    assert len(set(ids.split())) == 1


def test_the_working_directory_is_the_workspace_or_the_wanted_one(agent: Driver) -> None:
    (agent.workspace / "sub").mkdir()
    assert agent.run("pwd")[1].decode().strip() == str(agent.workspace)
    assert agent.run("pwd", cwd="sub")[1].decode().strip() == str(agent.workspace / "sub")
    assert agent.run("pwd", cwd="/")[1] == b"/\n"


def test_stdin_reaches_the_command_and_its_end_too(agent: Driver) -> None:
    request_id = agent.begin("exec", argv=["cat"], stdin=True)
    agent.send(op="input", to=request_id, data=encoded(b"one "), eof=False)
    agent.send(op="input", to=request_id, data=encoded(b"two"), eof=True)
    end, out, _ = agent.outcome(request_id)
    assert (end["exit_code"], out) == (0, b"one two")


def test_much_input_flows_at_the_commands_pace(agent: Driver) -> None:
    body = os.urandom(5 << 20)
    end = agent.pour("exec", body, argv=["sh", "-c", "sleep 0.2; sha256sum > sum"], stdin=True)
    assert end["exit_code"] == 0
    import hashlib

    assert (agent.workspace / "sum").read_text().split()[0] == hashlib.sha256(body).hexdigest()


def test_input_for_a_command_that_does_not_read_is_dropped(agent: Driver) -> None:
    end = agent.pour("exec", b"x" * (3 << 20), argv=["sh", "-c", "exec <&-; sleep 0.3"], stdin=True)
    assert end["exit_code"] == 0
    end = agent.pour("exec", b"x" * (3 << 20), argv=["sleep", "0.3"], stdin=False)
    assert end["exit_code"] == 0


def test_more_input_than_the_window_ends_the_request(agent: Driver) -> None:
    request_id = agent.begin("exec", argv=["sh", "-c", "echo $$ > pid; sleep 60"], stdin=True)
    pid = _pid_in(agent.workspace / "pid")
    for _ in range(6):
        agent.send(op="input", to=request_id, data=encoded(b"x" * (1 << 18)), eof=False)
    frame = agent.finish(request_id)[-1]
    assert (frame["ev"], frame["code"]) == ("error", "protocol")
    wait_until(lambda: not alive(pid))


def test_a_slow_reader_stops_the_process_and_nobody_else(agent: Driver) -> None:
    noisy = agent.begin("exec", argv=["head", "-c", "100000000", "/dev/zero"])
    time.sleep(0.3)
    ping = agent.begin("ping")
    ahead = 0
    while (frame := agent.frame())["id"] != ping:
        ahead += len(base64.b64decode(frame.get("data", "")))
    assert ahead == 1 << 20  # the window and not a byte more
    assert agent.silent(0.2)
    agent.send(op="credit", to=noisy, bytes=ahead)
    total = ahead
    for frame in agent.finish(noisy):
        total += len(base64.b64decode(frame.get("data", "")))
    assert total == 100_000_000


def test_credit_beyond_the_window_does_not_widen_it(agent: Driver) -> None:
    noisy = agent.begin("exec", argv=["head", "-c", "9000000", "/dev/zero"], window=1000)
    agent.send(op="credit", to=noisy, bytes=1 << 30)
    got = 0
    time.sleep(0.3)
    while not agent.silent(0.2):
        got += len(base64.b64decode(agent.frame().get("data", "")))
    assert 1000 <= got <= 2000
    agent.send(op="cancel", to=noisy)


def test_output_beyond_its_limit_is_dropped_and_said(agent: Driver) -> None:
    end, out, err = agent.shell(
        "printf 12345; head -c 3000000 /dev/zero; printf x >&2", max_output=8, window=8
    )
    assert (len(out) + len(err), end["truncated"], end["exit_code"]) == (8, True, 0)
    end, out, _ = agent.shell("printf 12345678", max_output=8)
    assert (out, end["truncated"]) == (b"12345678", False)


def test_a_command_that_closes_its_output_early_still_ends(agent: Driver) -> None:
    end, out, _ = agent.shell("echo last; exec >&- 2>&-; sleep 0.2; exit 7")
    assert (end["exit_code"], out) == (7, b"last\n")


def test_a_background_child_delays_nothing_and_writes_to_the_logs(agent: Driver) -> None:
    script = (
        "(for i in 1 2 3; do sleep 0.2; echo late $i || exit 1; done; echo ok > done) & echo now"
    )
    end, out, _ = agent.shell(script)
    assert (end["exit_code"], out) == (0, b"now\n")
    assert end["duration_ms"] < 500
    wait_until((agent.workspace / "done").exists)
    wait_until(lambda: agent.call("logs", lines=10)["lines"][-1] == "late 3")
    assert agent.call("logs", lines=2)["lines"] == ["late 2", "late 3"]


def test_a_noisy_background_child_keeps_nobody_from_working(agent: Driver) -> None:
    agent.shell("yes & echo $! > pid")
    for _ in range(20):
        agent.call("ping")
    assert alive(_pid_in(agent.workspace / "pid"))


def test_a_signal_reaches_the_group(agent: Driver) -> None:
    request_id = agent.begin(
        "exec", argv=["sh", "-c", "trap 'echo caught; exit 5' INT; echo ready; sleep 60 & wait"]
    )
    assert agent.frame()["pid"] > 1
    assert agent.frame()["ev"] == "data"
    agent.begin("signal", to=request_id, signal="SIGINT")
    end, out, _ = agent.outcome(request_id)
    assert (end["exit_code"], out) == (5, b"caught\n")
    assert agent.refused("signal", to=request_id, signal="SIGINT") == "invalid"


def test_a_time_limit_kills_and_keeps_what_was_printed(agent: Driver) -> None:
    end, out, _ = agent.shell("echo before; sleep 60", timeout_ms=150)
    assert (out, end["timed_out"], end["signal"], end["exit_code"]) == (
        b"before\n",
        True,
        "SIGTERM",
        143,
    )


def test_what_ignores_sigterm_is_killed_after_its_grace(agent: Driver) -> None:
    end, _, _ = agent.shell(
        "trap '' TERM; while :; do sleep 0.05; done", timeout_ms=100, grace_ms=300
    )
    assert (end["signal"], end["exit_code"], end["timed_out"]) == ("SIGKILL", 137, True)
    assert 350 < end["duration_ms"] < 5000


def test_a_clean_end_within_the_grace_is_waited_for(agent: Driver) -> None:
    script = "trap 'echo bye; exit 0' TERM; sleep 60 & wait"
    end, out, _ = agent.shell(script, timeout_ms=200)
    assert (out, end["exit_code"], end["timed_out"]) == (b"bye\n", 0, True)


@pytest.mark.parametrize(
    "leave",
    [
        "setsid sh -c 'echo $$ > pid; sleep 60' &",
        "(setsid sh -c '(trap \"\" TERM; echo $$ > pid; exec sleep 60) &' &)",
        "(env -i /usr/bin/setsid /bin/sh -c '/bin/sh -c \"echo \\$\\$ > pid; sleep 60\" &' &)",
        "(trap '' TERM; echo $$; exec sh -c 'echo $$ > pid; sleep 60') &",
    ],
    ids=["session", "double fork", "without environment", "ignores SIGTERM"],
)
def test_a_cancel_reaches_descendants_that_left_the_group(agent: Driver, leave: str) -> None:
    request_id = agent.begin("exec", argv=["sh", "-c", f"{leave}\nsleep 60"], grace_ms=200)
    pid = _pid_in(agent.workspace / "pid")
    agent.send(op="cancel", to=request_id)
    end = agent.finish(request_id)[-1]
    assert end["ev"] == "ok"
    assert end["timed_out"] is False
    assert not alive(pid)


def test_a_kill_spares_other_commands_and_their_children(agent: Driver) -> None:
    agent.shell("(setsid sleep 60 & echo $! > spared)")
    spared = _pid_in(agent.workspace / "spared")
    other = agent.begin("exec", argv=["sh", "-c", "sleep 1; echo unharmed"])
    end, _, _ = agent.run("sleep", "60", timeout_ms=100)
    assert end["timed_out"]
    assert alive(spared)
    assert agent.outcome(other)[1] == b"unharmed\n"


def test_a_fork_bomb_ends(agent: Driver) -> None:
    """A small one, that cannot grow: each process replaces itself by a new one in a new session."""
    script = (
        "import os,signal,time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "for _ in range(6):\n"
        "    if os.fork() == 0: break\n"
        "end = time.time() + 30\n"
        "while time.time() < end:\n"
        "    if os.fork(): os._exit(0)\n"
        "    os.setsid(); time.sleep(0.002)\n"
    )
    import sys

    request_id = agent.begin("exec", argv=[sys.executable, "-c", script], grace_ms=100)
    time.sleep(0.5)
    agent.send(op="cancel", to=request_id)
    assert agent.finish(request_id)[-1]["ev"] == "ok"
    marked = b"STACYVM_EXEC="
    mine = []
    for entry in Path("/proc").iterdir():
        try:
            environ = (entry / "environ").read_bytes() if entry.name.isdigit() else b""
        except OSError:
            continue
        if marked in environ and os.fsencode(agent.workspace) in environ:
            mine.append(entry.name)
    assert mine == []


def test_no_room_for_a_process_is_said(start: StartAgent) -> None:
    agent = start()
    resource.prlimit(agent.process.pid, resource.RLIMIT_NOFILE, (16, 16))
    answers = [agent.begin("exec", argv=["sleep", "0.5"]) for _ in range(12)]
    ends: dict[int, Frame] = {}
    while len(ends) < len(answers):
        frame = agent.frame()
        if frame["ev"] in {"ok", "error"}:
            ends[frame["id"]] = frame
    assert {f["code"] for f in ends.values() if f["ev"] == "error"} == {"busy"}
    assert any(f["ev"] == "ok" for f in ends.values())
    agent.call("ping")


def test_children_die_first_when_memory_runs_out(agent: Driver) -> None:
    _, out, _ = agent.shell("sleep 0.05; cat /proc/self/oom_score_adj")
    assert out == b"500\n"


def test_logs_are_bounded_and_fit_a_frame(agent: Driver) -> None:
    agent.run("head", "-c", "2000000", "/dev/zero", max_output=1)
    lines = agent.call("logs", lines=1000)["lines"]
    assert [len(line) for line in lines] == [4096]
    agent.shell("for i in $(seq 40000); do printf '\\001\\002\\003 %d\\n' $i; done", max_output=1)
    lines = agent.call("logs", lines=1_000_000)["lines"]
    assert lines[-1] == "\x01\x02\x03 40000"
    assert 10_000 < len(lines) < 40_000
    assert agent.call("logs", lines=0)["lines"] == []
    agent.shell(r"printf '\001%.0s' $(seq 300000) | fold -w 3000", max_output=1)
    assert agent.call("logs", lines=1000)["lines"]


def test_many_commands_one_after_another_leave_no_descriptor(agent: Driver) -> None:
    agent.run("true")
    folder = Path(f"/proc/{agent.process.pid}/fd")
    before = len(list(folder.iterdir()))
    for number in range(100):
        assert agent.shell(f"exit {number}")[0]["exit_code"] == number
    assert len(list(folder.iterdir())) == before


def test_twenty_commands_at_once_all_come_back(agent: Driver) -> None:
    wanted = {
        agent.begin("exec", argv=["sh", "-c", f"sleep 0.0{n % 9}; echo {n}"]): n for n in range(20)
    }
    got: dict[int, bytes] = {}
    ended: set[int] = set()
    while len(ended) < 20:
        frame = agent.frame()
        if frame["ev"] == "data":
            got[frame["id"]] = got.get(frame["id"], b"") + base64.b64decode(frame["data"])
        elif frame["ev"] == "ok":
            ended.add(frame["id"])
    assert got == {request_id: b"%d\n" % n for request_id, n in wanted.items()}
