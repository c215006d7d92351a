"""exec as a shell sees it: exit codes, streams, signals."""

import hashlib
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
from stacyvm_sdk import Client

from stacyvm.cli.errors import ExitCode
from tests.cli.conftest import PATIENCE, Shell

UNKNOWN = "sb-00000000"


def _wait_for(client: Client, sandbox_id: str, command: str) -> None:
    """Wait until a shell command succeeds in the sandbox."""
    deadline = time.monotonic() + 15
    while not client.get(sandbox_id).exec(command).ok:
        assert time.monotonic() < deadline, f"never true: {command}"
        time.sleep(0.05)


def _alive(client: Client, sandbox_id: str) -> str:
    """Return a command that succeeds while the process in ``pid`` lives and is no zombie."""
    return "grep -q '^State:.[^Z]' /proc/$(cat pid)/status"


@pytest.mark.parametrize("code", [0, 1, 2, 42, 125, 255])
def test_the_exit_code_is_the_commands(shell: Shell, sandbox_id: str, code: int) -> None:
    assert shell.run("exec", "-c", f"exit {code}", sandbox_id).returncode == code


def test_what_cannot_be_run_gives_what_a_shell_gives(shell: Shell, sandbox_id: str) -> None:
    assert shell.run("exec", sandbox_id, "no-such-program").returncode == 127
    assert shell.run("exec", sandbox_id, "/etc/passwd").returncode == 126
    assert shell.run("exec", "-c", "kill -9 $$", sandbox_id).returncode == 137


def test_output_goes_to_the_right_streams(shell: Shell, sandbox_id: str) -> None:
    done = shell.run("exec", "-c", "printf out; printf err >&2", sandbox_id)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"out", b"err")


def test_text_arrives_byte_for_byte(shell: Shell, sandbox_id: str) -> None:
    text = "größe \u2028 日本 \U0001f600 \x1b[1m \r \x85 \v"
    done = shell.run("exec", sandbox_id, "--", "printf", "%s", text)
    assert done.stdout == text.encode()


def test_words_reach_the_program_as_they_are(shell: Shell, sandbox_id: str) -> None:
    done = shell.run("exec", sandbox_id, "--", "printf", "[%s]", "a b", "$HOME", "--", "-n", "")
    assert done.stdout == b"[a b][$HOME][--][-n][]"


def test_a_script_sees_its_environment_and_folder(shell: Shell, sandbox_id: str) -> None:
    script = 'echo "$A|$B|$PWD"'
    done = shell.run("exec", "-e", "A=1 2", "-e", "B=x=y", "-w", "/usr", "-c", script, sandbox_id)
    assert done.stdout == b"1 2|x=y|/usr\n"


def test_output_comes_while_the_command_runs(shell: Shell, sandbox_id: str) -> None:
    process = shell.start("exec", "-c", "echo first; sleep 20", sandbox_id)
    assert process.stdout is not None
    try:
        started = time.monotonic()
        assert process.stdout.readline() == b"first\n"
        assert time.monotonic() - started < 10
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)


def test_a_timeout_is_124_with_the_output_until_then(shell: Shell, sandbox_id: str) -> None:
    done = shell.run("exec", "--timeout", "500ms", "-c", "echo before; sleep 60", sandbox_id)
    assert done.returncode == ExitCode.TIMED_OUT
    assert done.stdout == b"before\n"
    assert done.stderr == b"stacyvm: the command ran into its time limit (500ms) and was killed\n"


@pytest.mark.parametrize("piped", [False, True])
@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([UNKNOWN, "true"], "sandbox not found"),
        (["--timeout", "soon", "{id}", "true"], "invalid duration"),
        (["--timeout", "9999h", "{id}", "true"], "max_exec_timeout"),
        (["-w", "/no/such/folder", "{id}", "true"], "/no/such/folder"),
    ],
)
def test_our_own_failures_are_125(
    shell: Shell, sandbox_id: str, args: list[str], said: str, piped: bool
) -> None:
    args = [arg.format(id=sandbox_id) for arg in args]
    done = shell.run("exec", *args, stdin=b"input" if piped else None)
    assert done.returncode == ExitCode.EXEC_FAILED, done.stderr
    assert done.stderr.startswith(b"stacyvm: ")
    assert said in done.stderr.decode()
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], "Missing argument"),
        ([UNKNOWN], "what is to run?"),
        (["-i", "-n", UNKNOWN, "true"], "exclude each other"),
        ([UNKNOWN, "--timeout", "3s", "true"], "go before ID"),
        (["--nonsense", UNKNOWN, "true"], "No such option"),
    ],
)
def test_usage_errors_are_125_too(lone_shell: Shell, args: list[str], said: str) -> None:
    done = lone_shell.run("exec", *args)
    assert done.returncode == ExitCode.EXEC_FAILED
    assert said in done.stderr.decode()


def test_stdin_is_piped_to_its_end(shell: Shell, sandbox_id: str) -> None:
    done = shell.run("exec", sandbox_id, "sort", stdin=b"b\nc\na\n")
    assert (done.returncode, done.stdout) == (0, b"a\nb\nc\n")


def test_the_exit_code_passes_with_stdin_too(shell: Shell, sandbox_id: str) -> None:
    assert shell.run("exec", "-c", "cat; exit 7", sandbox_id, stdin=b"x").returncode == 7
    done = shell.run("exec", "--timeout", "500ms", "-c", "cat; sleep 60", sandbox_id, stdin=b"y")
    assert (done.returncode, done.stdout) == (ExitCode.TIMED_OUT, b"y")


def test_a_file_is_stdin(shell: Shell, sandbox_id: str, tmp_path: Path) -> None:
    (tmp_path / "input").write_bytes(b"1\n2\n3\n")
    with (tmp_path / "input").open("rb") as file:
        process = shell.start("exec", sandbox_id, "wc", "-l", stdin=file.fileno())
    assert process.communicate(timeout=PATIENCE)[0].strip() == b"3"


def test_ten_megabytes_go_through_cat_both_ways_at_once(shell: Shell, sandbox_id: str) -> None:
    line = bytes(range(32, 127)) + b"\n"
    data = line * (10 * 2**20 // len(line))
    done = shell.run("exec", sandbox_id, "cat", stdin=data)
    assert done.returncode == 0, done.stderr
    assert hashlib.sha256(done.stdout).hexdigest() == hashlib.sha256(data).hexdigest()


def test_binary_stdin_arrives_unchanged(shell: Shell, sandbox_id: str) -> None:
    data = os.urandom(1_000_003)
    done = shell.run("exec", sandbox_id, "sha256sum", stdin=data)
    assert done.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()


def test_an_answer_comes_before_stdin_ends(shell: Shell, sandbox_id: str) -> None:
    process = shell.start("exec", sandbox_id, "cat", stdin=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    for word in (b"one\n", b"two\n"):
        process.stdin.write(word)
        process.stdin.flush()
        assert process.stdout.readline() == word
    assert process.communicate(timeout=PATIENCE) == (b"", b"")
    assert process.returncode == 0


def test_a_stdin_that_never_ends_does_not_outlast_the_command(
    shell: Shell, sandbox_id: str
) -> None:
    process = shell.start("exec", sandbox_id, "echo", "done", stdin=subprocess.PIPE)
    assert process.stdout is not None
    try:
        assert process.stdout.read() == b"done\n"
        assert process.wait(PATIENCE) == 0
    finally:
        process.communicate(timeout=PATIENCE)


def test_a_command_that_reads_only_a_little_ends_well(shell: Shell, sandbox_id: str) -> None:
    done = shell.run("exec", sandbox_id, "head", "-c", "5", stdin=b"x" * 5_000_000)
    assert (done.returncode, done.stdout) == (0, b"xxxxx")


def test_no_stdin_leaves_it_to_the_next_reader(shell: Shell, sandbox_id: str) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"mine")
    os.close(writer)
    process = shell.start("exec", "-n", sandbox_id, "cat", stdin=reader)
    assert process.communicate(timeout=PATIENCE) == (b"", b"")
    assert os.read(reader, 10) == b"mine"
    os.close(reader)


def test_dev_null_is_an_empty_stdin(shell: Shell, sandbox_id: str) -> None:
    done = shell.run("exec", sandbox_id, "cat")
    assert (done.returncode, done.stdout) == (0, b"")


@pytest.mark.parametrize("stdin", [subprocess.DEVNULL, subprocess.PIPE])
@pytest.mark.parametrize("busy", [False, True])
def test_ctrl_c_kills_the_command_and_gives_130(
    shell: Shell, client: Client, sandbox_id: str, stdin: int, busy: bool
) -> None:
    script = "echo $$ > pid; " + ("while :; do echo y; done" if busy else "sleep 1000")
    process = shell.start("exec", "-c", script, sandbox_id, stdin=stdin)
    _wait_for(client, sandbox_id, "test -s pid")
    drained = threading.Thread(target=process.communicate)
    drained.start()
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    drained.join(PATIENCE)
    assert process.returncode == ExitCode.INTERRUPTED
    _wait_for(client, sandbox_id, f"! {_alive(client, sandbox_id)}")


@pytest.mark.parametrize("stdin", [subprocess.DEVNULL, subprocess.PIPE])
def test_ctrl_c_works_while_nobody_takes_our_output(
    shell: Shell, client: Client, sandbox_id: str, stdin: int
) -> None:
    script = "echo $$ > pid; while :; do echo yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy; done"
    process = shell.start("exec", "-c", script, sandbox_id, stdin=stdin)
    _wait_for(client, sandbox_id, "test -s pid")
    time.sleep(1)  # until the pipe of our stdout is full
    process.send_signal(signal.SIGINT)
    try:
        assert process.wait(10) == ExitCode.INTERRUPTED
    finally:
        process.kill()
        process.communicate()
    _wait_for(client, sandbox_id, f"! {_alive(client, sandbox_id)}")


@pytest.mark.parametrize("stdin", [subprocess.DEVNULL, subprocess.PIPE])
def test_a_reader_that_has_enough_ends_it_quietly(
    shell: Shell, client: Client, sandbox_id: str, stdin: int
) -> None:
    script = "echo $$ > pid; while :; do echo y; done"
    process = shell.start("exec", "-c", script, sandbox_id, stdin=stdin)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == b"y\n"
    process.stdout.close()
    assert process.wait(PATIENCE) == ExitCode.BROKEN_PIPE
    assert process.stderr.read() == b""
    process.stderr.close()
    if process.stdin:
        process.stdin.close()
    _wait_for(client, sandbox_id, f"! {_alive(client, sandbox_id)}")


def test_a_sandbox_that_goes_away_is_an_error_not_a_success(
    shell: Shell, client: Client, sandbox_id: str
) -> None:
    process = shell.start("exec", "-c", "echo up; sleep 1000", sandbox_id)
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    client.get(sandbox_id).destroy()
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == ExitCode.EXEC_FAILED
    assert errors.startswith(b"stacyvm: ")
    assert b"Traceback" not in errors
