"""spawn, list, kill, extend, logs and stats against a real server."""

import json
import os
import re
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import click
from stacyvm_sdk import Client

from stacyvm.cli.errors import ExitCode
from stacyvm.cli.records import COLUMNS
from tests.cli.conftest import PATIENCE, PROGRAM, Shell, clean_environment

UNKNOWN = "sb-00000000"


def test_spawn_prints_the_id_alone(
    shell: Shell, client: Client, spawned: Callable[[str], str]
) -> None:
    done = shell.run("spawn", "--ttl", "5m", "-m", "team=red", "-m", "note=a=b", "--memory", "256")
    assert done.returncode == 0, done.stderr
    sandbox_id = spawned(done.stdout.decode().strip())
    assert done.stdout == f"{sandbox_id}\n".encode()
    assert re.fullmatch(r"sb-[0-9a-f]{8}", sandbox_id)
    details = done.stderr.decode()
    assert "expires in 5m" in details
    assert details.count("\n") == 1
    info = client.get(sandbox_id).info
    assert info.state == "running"
    assert info.metadata == {"team": "red", "note": "a=b"}
    assert info.memory_mb == 256


def test_spawn_json_is_the_record(shell: Shell, spawned: Callable[[str], str]) -> None:
    done = shell.run("spawn", "--json", "--user", "ada")
    record = json.loads(done.stdout)
    spawned(record["id"])
    assert record["state"] == "running"
    assert record["provider"] == "local"
    assert record["owner_id"] == "ada"
    assert done.stderr == b""


def test_spawn_gives_the_environment_to_commands(
    shell: Shell, spawned: Callable[[str], str]
) -> None:
    sandbox_id = spawned(shell.run("spawn", "-e", "COLOUR=deep blue").stdout.decode().strip())
    assert shell.run("exec", "-c", "echo $COLOUR", sandbox_id).stdout == b"deep blue\n"


def test_spawn_errors_have_their_categories(shell: Shell) -> None:
    for args, code, said in (
        (["--ttl", "1d"], ExitCode.USAGE, "unknown unit"),
        (["--ttl=-1s"], ExitCode.USAGE, "ttl must be positive"),
        (["--ttl", "9999h"], ExitCode.LIMIT, "max_ttl"),
        (["no/such-image"], ExitCode.NOT_FOUND, "image not found: no/such-image"),
        (["--provider", "moon"], ExitCode.NOT_FOUND, "provider not found: moon"),
        (["-e", "novalue"], ExitCode.USAGE, "is not KEY=VALUE"),
    ):
        done = shell.run("spawn", *args)
        assert (args, done.returncode) == (args, code), done.stderr
        assert done.stdout == b""
        assert done.stderr.startswith(b"stacyvm: ")
        assert said in done.stderr.decode()
        assert b"Traceback" not in done.stderr


def test_list_json_is_an_array_of_records(shell: Shell, sandbox_id: str) -> None:
    records = json.loads(shell.run("list", "--json").stdout)
    (record,) = [record for record in records if record["id"] == sandbox_id]
    assert record["state"] == "running"
    assert datetime.fromisoformat(record["expires_at"]) > datetime.now(UTC)


def test_list_of_an_owner_is_only_theirs(
    shell: Shell, sandbox_id: str, spawned: Callable[[str], str]
) -> None:
    mine = spawned(shell.run("spawn", "--user", "grace").stdout.decode().strip())
    done = shell.run("list", "-q", "--user", "grace")
    assert done.stdout.decode().split() == [mine]
    assert sandbox_id in shell.run("list", "-q").stdout.decode().split()


def test_list_in_a_pipe_cuts_nothing(shell: Shell, spawned: Callable[[str], str]) -> None:
    long = "x" * 50
    sandbox_id = spawned(
        shell.run("spawn", "-m", f"k={long}", "--user", "o" * 100).stdout.decode().strip()
    )
    header, *rows = shell.run("list").stdout.decode().splitlines()
    assert header.split() == " ".join(COLUMNS).split()
    (row,) = [row for row in rows if row.startswith(sandbox_id)]
    cells = row.split()
    assert cells[1] == "running"
    assert cells[3:5] == ["local", "o" * 100]
    assert cells[-1] == f"k={long}"


def _on_a_terminal(shell: Shell, *args: str, columns: int, **environment: str) -> str:
    leader, follower = os.openpty()
    try:
        with subprocess.Popen(
            [PROGRAM, *args],
            stdin=subprocess.DEVNULL,
            stdout=follower,
            stderr=follower,
            env=clean_environment(
                STACYVM_URL=shell.url, COLUMNS=str(columns), TERM="xterm", **environment
            ),
        ) as process:
            os.close(follower)
            follower = -1
            printed = b""
            while True:
                try:
                    part = os.read(leader, 65536)
                except OSError:  # EIO: the other end is closed
                    break
                printed += part
            process.wait(PATIENCE)
    finally:
        os.close(leader)
        if follower >= 0:
            os.close(follower)
    return printed.decode()


def test_list_on_a_terminal_fits_it(shell: Shell, spawned: Callable[[str], str]) -> None:
    sandbox_id = spawned(
        shell.run("spawn", "-m", "k=" + "x" * 50, "--user", "o" * 100).stdout.decode().strip()
    )
    plain = _on_a_terminal(shell, "list", columns=90, NO_COLOR="1")
    assert sandbox_id in plain
    assert max(len(click.unstyle(line)) for line in plain.splitlines()) <= 90
    assert "o" * 100 not in plain
    assert "\x1b[3" not in plain


def test_kill_prints_what_it_destroyed(shell: Shell, client: Client) -> None:
    ids = [client.spawn().id for _ in range(2)]
    done = shell.run("kill", *ids)
    assert (done.returncode, done.stdout.decode().split()) == (0, ids)
    assert not {info.id for info in client.list()} & set(ids)


def test_kill_goes_on_after_one_that_is_not_there(shell: Shell, client: Client) -> None:
    there = client.spawn().id
    done = shell.run("kill", UNKNOWN, there)
    assert done.returncode == ExitCode.NOT_FOUND
    assert done.stdout.decode().split() == [there]
    assert done.stderr.decode() == f"stacyvm: sandbox not found: {UNKNOWN}\n"
    assert there not in {info.id for info in client.list()}


def test_another_owners_sandbox_cannot_be_killed(
    shell: Shell, client: Client, spawned: Callable[[str], str]
) -> None:
    theirs = spawned(client.spawn(owner_id="linus").id)
    assert shell.run("kill", "--user", "eve", theirs).returncode == ExitCode.NOT_FOUND
    assert client.get(theirs).state == "running"


def test_extend_says_until_when(shell: Shell, sandbox_id: str) -> None:
    done = shell.run("extend", sandbox_id, "3h")
    assert done.returncode == 0, done.stderr
    assert re.match(rf"{sandbox_id} expires in (3h|2h59m), at 20", done.stdout.decode())
    record = json.loads(shell.run("extend", sandbox_id, "4h", "--json").stdout)
    left = datetime.fromisoformat(record["expires_at"]) - datetime.now(UTC)
    assert timedelta(hours=3.9) < left < timedelta(hours=4)


def test_extend_errors_have_their_categories(shell: Shell, sandbox_id: str) -> None:
    for args, code in (
        ([sandbox_id, "30"], ExitCode.USAGE),
        ([sandbox_id, "0s"], ExitCode.USAGE),
        ([sandbox_id, "9999h"], ExitCode.LIMIT),
        ([UNKNOWN, "1h"], ExitCode.NOT_FOUND),
    ):
        assert (args, shell.run("extend", *args).returncode) == (args, code)


def test_logs_of_a_background_process(shell: Shell, sandbox_id: str) -> None:
    script = "(sleep 0.3; echo late) & "
    assert shell.run("exec", "-c", script, sandbox_id).returncode == 0
    deadline = datetime.now(UTC) + timedelta(seconds=10)
    lines: list[str] = []
    while not any("late" in line for line in lines) and datetime.now(UTC) < deadline:
        lines = json.loads(shell.run("logs", sandbox_id, "--json").stdout)
    assert any("late" in line for line in lines)
    assert "late" in shell.run("logs", "-n", "5", sandbox_id).stdout.decode()


def test_stats_as_json_and_as_a_table(shell: Shell, sandbox_id: str) -> None:
    numbers = json.loads(shell.run("stats", sandbox_id, "--json").stdout)
    done = shell.run("stats", sandbox_id)
    if numbers["supported"]:
        header, row = done.stdout.decode().splitlines()
        assert header.split() == " ".join(COLUMNS).split()
        assert row.startswith(sandbox_id)
    else:
        assert done.returncode == ExitCode.FAILED
        assert b"no numbers" in done.stderr
