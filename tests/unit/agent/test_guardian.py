"""The guardian: whatever the guest does to its agent, the sandbox ends at its lease."""

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stacyvm.agent.build import build_zipapp
from tests.unit.agent.driver import Driver, alive, python_for_all, wait_until

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can give up root")

# The shell is the namespace's init, as docker-init is a container's: guardian and agent below it.
CAGE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
INIT = ("sh", "-c", '"$@"; exit $?', "init")
SLACK = 2.0

Cage = Callable[..., Driver]


@pytest.fixture
def cage() -> Iterator[Cage]:
    """Start contained agents that give up root, each in a PID namespace of its own."""
    root = Path(tempfile.mkdtemp(dir="/tmp"))  # pytest's own folders are closed to other users
    root.chmod(0o755)
    build_zipapp(root / "agent.pyz")
    started: list[Driver] = []

    def make(*options: str, within: tuple[str, ...] = (*CAGE, *INIT), **how: Any) -> Driver:
        agent = Driver(
            how.pop("workspace", root / "workspace"),
            *("--uid", "1000", "--contained", *options),
            program=root / "agent.pyz",
            python=python_for_all(),
            within=within,
            **how,
        )
        started.append(agent)
        return agent

    yield make
    for agent in started:
        agent.close()
    shutil.rmtree(root)


def below(pid: int) -> int:
    """Return the only child of a process."""
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)


def guardian_of(agent: Driver) -> int:
    return below(below(agent.process.pid))


def uids(pid: int) -> list[str]:
    status = Path(f"/proc/{pid}/status").read_text()
    return status.split("Uid:")[1].split("\n")[0].split()


def test_the_guardian_is_nobodys_and_the_agent_the_guests(cage: Cage) -> None:
    agent = cage()
    guardian = guardian_of(agent)
    assert uids(guardian) == ["65533"] * 4
    assert uids(below(guardian)) == ["1000"] * 4
    held = {fd.readlink() for fd in Path(f"/proc/{guardian}/fd").iterdir()}
    stdio = {Path(f"/proc/{agent.process.pid}/fd/{fd}").readlink() for fd in (0, 1)}
    assert not held & stdio


def test_the_guest_cannot_touch_the_guardian(cage: Cage) -> None:
    agent = cage()
    find = f"guardian=$(sed -n 's/^PPid:.//p' /proc/{agent.hello()['pid']}/status); echo $guardian"
    attack = "for s in STOP KILL TERM HUP; do kill -$s $guardian && echo $s; done"
    _, out, err = agent.shell(f"{find}; {attack}; cat /proc/$guardian/environ")
    assert out == b"2\n"
    assert err.count(b"not permitted") == 4
    assert b"ermission denied" in err
    assert agent.call("ping")


@pytest.mark.parametrize("within", [(*CAGE, *INIT), CAGE], ids=["below-init", "as-init"])
def test_a_stopped_agent_does_not_outlive_its_lease(cage: Cage, within: tuple[str, ...]) -> None:
    agent = cage(within=within)
    started = time.monotonic()
    agent.hello(lease_ms=1000)
    agent.begin("exec", argv=["sh", "-c", "kill -STOP $0", str(agent.hello(lease_ms=1000)["pid"])])
    assert agent.process.wait(20) == 124
    assert 1 <= time.monotonic() - started < 1 + SLACK + 1.5


def test_a_guest_that_stops_all_it_can_does_not_outlive_its_lease(cage: Cage) -> None:
    agent = cage()
    agent.hello(lease_ms=1000)
    agent.begin("exec", argv=["sh", "-c", "while :; do kill -STOP -1; done"])
    agent.begin("exec", argv=["true"])
    assert agent.process.wait(20) == 124


def test_renewals_reach_the_guardian(cage: Cage) -> None:
    agent = cage("--lease-ms", "500")
    agent.hello(lease_ms=500)
    agent.call("lease", ttl_ms=3000)
    stopped = time.monotonic()
    agent.begin("exec", argv=["sh", "-c", "kill -STOP $PPID"])
    assert agent.process.wait(20) == 124
    assert 3 < time.monotonic() - stopped + 0.1 < 3 + SLACK + 1.5


def test_the_agents_own_end_is_the_clean_one(cage: Cage) -> None:
    agent = cage()
    started = time.monotonic()
    agent.hello(lease_ms=500)
    assert agent.process.wait(20) == 124
    assert time.monotonic() - started < 0.5 + SLACK
    assert "the lease is over" in agent.stderr()


@pytest.mark.parametrize("victim", ["$PPID", "-1"])
def test_a_killed_agent_ends_the_sandbox(cage: Cage, victim: str) -> None:
    agent = cage()
    agent.begin("exec", argv=["sh", "-c", f"kill -KILL {victim}"])
    assert agent.process.wait(20) == 137


def test_the_agents_status_passes_through(cage: Cage) -> None:
    agent = cage()
    agent.stdin.close()
    assert agent.process.wait(20) == 0


def test_a_failed_start_passes_through(cage: Cage) -> None:
    agent = cage(workspace=Path("/proc/none"), hello=False)
    assert agent.process.wait(20) == 70
    assert "cannot make the workspace" in agent.stderr()


def test_terminating_the_guardian_ends_the_agent(cage: Cage) -> None:
    agent = cage()
    sleeper = agent.begin("exec", argv=["sleep", "1000"])
    assert agent.frame()["id"] == sleeper
    os.kill(guardian_of(agent), signal.SIGTERM)
    assert agent.process.wait(20) == 143


def test_terminating_the_guardian_of_a_stopped_agent_ends_the_sandbox(cage: Cage) -> None:
    agent = cage()
    guardian = guardian_of(agent)
    inner = below(guardian)
    os.kill(inner, signal.SIGSTOP)
    os.kill(guardian, signal.SIGTERM)
    assert agent.process.wait(20) == 143
    wait_until(lambda: not alive(inner))


def test_commands_are_killed_with_all_their_orphans(cage: Cage) -> None:
    agent = cage()
    runaway = "(env -i setsid sleep 1000 >/dev/null 2>&1 &) ; sleep 1000"
    end = agent.frames("exec", argv=["sh", "-c", runaway], timeout_ms=300, grace_ms=100)[-1]
    assert end["timed_out"]
    _, out, _ = agent.shell("grep -c '^sleep' /proc/[0-9]*/comm | grep -c ':1$'")
    assert out == b"0\n"
    assert agent.call("ping")
