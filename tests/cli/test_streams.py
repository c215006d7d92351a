import os
import subprocess
import sys
from pathlib import Path

SHOW = (
    "from stacyvm.cli.streams import stdin_source as source\n"
    "print(source(terminal=False), source(terminal=True))"
)


def _sources(stdin: int) -> str:
    done = subprocess.run(
        [sys.executable, "-c", SHOW],
        stdin=stdin,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return done.stdout.strip()


def test_dev_null_is_no_stdin() -> None:
    assert _sources(subprocess.DEVNULL) == "None None"


def test_a_pipe_is_stdin_even_if_it_is_at_its_end() -> None:
    assert _sources(subprocess.PIPE) == "0 0"


def test_a_file_is_stdin(tmp_path: Path) -> None:
    path = tmp_path / "input"
    path.write_text("x")
    with path.open() as file:
        assert _sources(file.fileno()) == "0 0"


def test_a_terminal_is_stdin_only_where_asked_for() -> None:
    leader, follower = os.openpty()
    try:
        assert _sources(follower) == "None 0"
    finally:
        os.close(leader)
        os.close(follower)


def test_a_closed_stdin_is_none() -> None:
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" -c "$1" <&-', sys.executable, SHOW],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stdout.strip() == "None None"


def test_all_is_written_to_a_pipe_that_another_made_non_blocking() -> None:
    writing = (
        "import os, sys\n"
        "from stacyvm.cli.streams import unbuffered, write_all\n"
        "os.set_blocking(1, False)\n"
        "write_all(unbuffered(sys.stdout), bytes(range(256)) * 8192)\n"
    )
    with subprocess.Popen([sys.executable, "-c", writing], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        # One byte at first, so that the pipe is full while the rest is written.
        received = process.stdout.read(1) + process.stdout.read()
    assert process.returncode == 0
    assert received == bytes(range(256)) * 8192
