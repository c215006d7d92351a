"""serve as a process: its settings, its address, its end."""

import json
import signal
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner

from stacyvm.cli.errors import ExitCode
from stacyvm.cli.main import main
from stacyvm.config import Settings
from tests.cli.conftest import PATIENCE, Shell, processes_naming, start_server, stop_server


def test_help_names_every_setting() -> None:
    shown = CliRunner().invoke(main, ["serve", "--help"]).stdout
    missing = [name for name in Settings.model_fields if f"STACYVM_{name.upper()}" not in shown]
    assert missing == []


@pytest.mark.parametrize(
    ("args", "environment", "said"),
    [
        (["--port", "many"], {}, "--port: "),
        (["--provider", "moon"], {}, "--provider: Input should be 'docker' or 'local'"),
        ([], {"STACYVM_PORT": "99999"}, "STACYVM_PORT: Input should be less than or equal to"),
        ([], {"STACYVM_MAX_TTL": "never"}, "STACYVM_MAX_TTL: "),
    ],
)
def test_a_bad_setting_is_named(
    lone_shell: Shell, args: list[str], environment: dict[str, str], said: str
) -> None:
    done = lone_shell.run("serve", *args, environment=environment)
    assert done.returncode == ExitCode.USAGE
    assert done.stderr.decode().startswith(f"stacyvm: bad settings: {said}")
    assert done.stderr.count(b"\n") == 1


def test_all_bad_settings_are_named_at_once(lone_shell: Shell) -> None:
    done = lone_shell.run(
        "serve", "--port", "x", environment={"STACYVM_MAX_TTL": "-1", "STACYVM_REDIS_URL": "secret"}
    )
    assert b"--port: " in done.stderr
    assert b"STACYVM_MAX_TTL: " in done.stderr
    assert b"secret" not in done.stderr


def test_an_open_door_without_a_key_is_refused(lone_shell: Shell) -> None:
    done = lone_shell.run(
        "serve",
        "--host",
        "0.0.0.0",  # noqa: S104
        "--provider",
        "local",
        "--data-dir",
        "data",
    )
    assert done.returncode == ExitCode.USAGE, done.stderr
    assert done.stderr.startswith(b"stacyvm: ")
    assert b"STACYVM_API_KEY" in done.stderr


def test_a_misspelt_setting_is_named_and_its_value_is_not(lone_shell: Shell) -> None:
    done = lone_shell.run(
        "serve",
        *("--provider", "local", "--data-dir", "data", "--host", "192.0.2.1"),
        environment={"STACYVM_API_KYE": "hush"},
    )
    said = done.stderr.decode()
    assert "STACYVM_API_KYE in the environment is no setting; did you mean STACYVM_API_KEY?" in said
    assert "hush" not in said
    assert done.returncode == ExitCode.USAGE  # as nothing set the key


def test_a_port_in_use_is_said_and_leaves_nothing(lone_shell: Shell, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        data = str(tmp_path / "data")
        done = lone_shell.run("serve", "--port", port, "--provider", "local", "--data-dir", data)
    assert done.returncode == ExitCode.UNAVAILABLE, done.stderr
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr.decode()
    assert b"Traceback" not in done.stderr
    assert processes_naming(data) == []


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_with_its_sandboxes(
    lone_shell: Shell, tmp_path: Path, how: signal.Signals
) -> None:
    live = start_server(tmp_path / "data")
    try:
        assert lone_shell.run("spawn", "--url", live.url).returncode == 0
        live.process.send_signal(how)
        assert live.process.wait(PATIENCE) == 0
    finally:
        live.process.kill()
        live.process.communicate()
    assert processes_naming(str(tmp_path / "data")) == []


def test_a_second_server_on_the_same_data_is_refused(lone_shell: Shell, tmp_path: Path) -> None:
    live = start_server(tmp_path / "data")
    try:
        done = lone_shell.run(
            "serve", "--port", "0", "--provider", "local", "--data-dir", str(tmp_path / "data")
        )
        assert done.returncode == ExitCode.CONFLICT, done.stderr
        assert b"Traceback" not in done.stderr
    finally:
        stop_server(live)


def test_a_key_is_asked_for_and_given(lone_shell: Shell, tmp_path: Path) -> None:
    live = start_server(tmp_path / "data", STACYVM_API_KEY="right")
    try:
        done = lone_shell.run("list", "--url", live.url)
        assert done.returncode == ExitCode.DENIED
        assert b"STACYVM_API_KEY" in done.stderr
        wrong = lone_shell.run("list", "--url", live.url, "--api-key", "wrong")
        assert wrong.returncode == ExitCode.DENIED
        given = lone_shell.run(
            "list", "--json", "--url", live.url, environment={"STACYVM_API_KEY": "right"}
        )
        assert (given.returncode, json.loads(given.stdout)) == (0, [])
        with_stdin = lone_shell.run("spawn", "--url", live.url, "--api-key", "right")
        sandbox_id = with_stdin.stdout.decode().strip()
        done = lone_shell.run(
            "exec", "--url", live.url, "--api-key", "right", sandbox_id, "cat", stdin=b"through"
        )
        assert (done.returncode, done.stdout) == (0, b"through")
    finally:
        stop_server(live)
