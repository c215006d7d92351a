import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from stacyvm.cli.errors import CommandError, ExitCode
from stacyvm.cli.main import COMMANDS, main
from tests.cli.conftest import Shell

HEAVY = ("aiohttp", "docker", "httpx", "pydantic", "redis", "rich", "stacyvm_sdk")


@pytest.mark.parametrize("args", [["version"], ["--version"], ["--help"], ["no-such-command"]])
def test_what_needs_no_server_imports_nothing_heavy(args: list[str]) -> None:
    code = (
        "import sys\n"
        "from stacyvm.cli.main import main\n"
        "try:\n"
        f"    main({args!r})\n"
        "except SystemExit:\n"
        f"    print([name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_short_help_is_the_commands_own(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert command.get_short_help_str(limit=200).rstrip(".") == COMMANDS[name][1].rstrip(".")
    assert command.name == name


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str) -> None:
    result = CliRunner().invoke(main, [name, "--help"])
    assert result.exit_code == 0
    assert result.stdout.startswith(f"Usage: main {name}")


def test_help_names_every_command_and_exit_code() -> None:
    result = CliRunner().invoke(main, ["-h"])
    assert result.exit_code == 0
    for name in COMMANDS:
        assert f"  {name} " in result.stdout
    for code in (2, 3, 4, 5, 6, 7, 124, 130):
        assert f"\n    {code} " in result.stdout


@pytest.mark.parametrize("asked", ["version", "--version"])
def test_version_is_one_line(asked: str) -> None:
    result = CliRunner().invoke(main, [asked])
    assert (result.exit_code, result.stdout) == (0, "stacyvm 0.1.0\n")


def test_no_command_shows_the_help_and_is_a_usage_error() -> None:
    result = CliRunner().invoke(main, [])
    assert result.exit_code == ExitCode.USAGE
    assert "Commands:" in result.stderr


def test_usage_errors_are_one_line_and_where_to_read_more() -> None:
    result = CliRunner().invoke(main, ["kill", "sandbox-1"])
    assert result.exit_code == ExitCode.USAGE
    assert result.stderr == (
        "stacyvm: Invalid value for 'ID...': 'sandbox-1' is no sandbox id "
        "(sb- and 8 hexadecimal digits)\n  See `main kill --help`.\n"
    )


@pytest.mark.parametrize(
    "args",
    [
        ["list"],
        ["spawn"],
        ["kill", "sb-00000000"],
        ["extend", "sb-00000000"],
        ["logs", "sb-00000000"],
        ["stats", "sb-00000000"],
        ["cp", "-", "sb-00000000:x"],
    ],
)
def test_a_server_that_is_not_there_is_said_with_what_to_do(
    args: list[str], lone_shell: Shell
) -> None:
    done = lone_shell.run(*args, "--url", "http://127.0.0.1:1")
    assert done.returncode == ExitCode.UNAVAILABLE
    first, hint = done.stderr.decode().splitlines()
    assert first.startswith("stacyvm: cannot talk to the server at http://127.0.0.1:1")
    assert "stacyvm serve" in hint
    assert "make serve" in hint


def test_exec_without_a_server_fails_with_125(lone_shell: Shell) -> None:
    done = lone_shell.run("exec", "--url", "http://127.0.0.1:1", "sb-00000000", "true")
    assert done.returncode == ExitCode.EXEC_FAILED
    assert b"stacyvm serve" in done.stderr


def test_a_url_that_is_none_is_a_usage_error(lone_shell: Shell) -> None:
    done = lone_shell.run("list", "--url", "localhost:7423")
    assert done.returncode == ExitCode.USAGE
    assert done.stderr.decode().count("\n") == 1


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        ("BAD_REQUEST", 2),
        ("NOT_FOUND", 3),
        ("CONFLICT", 4),
        ("RESOURCE_LIMIT", 5),
        ("PAYLOAD_TOO_LARGE", 5),
        ("UNAUTHORIZED", 6),
        ("FORBIDDEN", 6),
        ("UNAVAILABLE", 7),
        ("CONNECTION_ERROR", 7),
        ("TIMEOUT", 124),
        ("SANDBOX_LOST", 1),
        ("NEVER_HEARD_OF", 1),
    ],
)
def test_exit_codes_follow_the_contracts_codes(wire: str, code: int) -> None:
    assert CommandError.from_wire(wire, "why").code == code


def test_an_error_message_cannot_drive_the_terminal() -> None:
    assert CommandError("a\x1b[2Jb\nc").message == "a\\x1b[2Jb c"
