import subprocess
import sys
import time
from pathlib import Path

import pytest

from stacyvm.cli.errors import CommandError
from stacyvm.cli.machine import commands, gvisor, packages, rights
from stacyvm.cli.machine.gvisor import with_runtime
from tests.cli.conftest import Shell, clean_environment


@pytest.fixture
def no_engine(tmp_path: Path) -> Shell:
    environment = clean_environment(STACYVM_DOCKER_HOST=f"unix://{tmp_path}/none")
    return Shell(directory=tmp_path, environment=environment)


def test_without_an_engine_the_exit_status_tells(no_engine: Shell) -> None:
    done = no_engine.run("setup")
    assert done.returncode == 7
    assert b"does not answer" in done.stderr


def test_without_an_engine_a_command_is_not_run(no_engine: Shell) -> None:
    done = no_engine.run("setup", "--", "echo", "ran")
    assert (done.returncode, done.stdout) == (7, b"")


def test_a_command_goes_on_with_the_local_provider_only_if_told_so(no_engine: Shell) -> None:
    script = "echo $STACYVM_PROVIDER; exit 3"
    done = no_engine.run("setup", "--fallback", "--", "sh", "-c", script)
    assert done.returncode == 3
    assert done.stdout == b"local\n"
    assert b"local provider" in done.stderr


def test_the_local_provider_needs_no_engine(
    no_engine: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(no_engine.environment, "STACYVM_PROVIDER", "local")
    done = no_engine.run("setup", "--", "sh", "-c", "echo $STACYVM_PROVIDER")
    assert (done.returncode, done.stdout) == (0, b"local\n")
    assert b"engine" not in done.stderr


def test_tests_are_left_to_choose_their_provider(no_engine: Shell) -> None:
    done = no_engine.run("setup", "--dev", "--", "sh", "-c", "echo [$STACYVM_PROVIDER]")
    assert done.stdout == b"[]\n"


def test_without_redis_nothing_can_run(no_engine: Shell, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    script = (
        "import sys\n"
        "from stacyvm.cli.machine import commands\n"
        "commands._SYSTEM_PATH = ''\n"
        "from stacyvm.cli.main import main\n"
        "main(['setup', '--', 'true'])\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**no_engine.environment, "PATH": str(tmp_path / "empty")},
        cwd=tmp_path,
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert b"redis-server cannot be installed" in done.stderr


@pytest.mark.docker
def test_where_all_is_there_it_is_quick_and_changes_nothing(tmp_path: Path) -> None:
    shell = Shell(directory=tmp_path, environment=clean_environment())
    assert shell.run("setup").returncode == 0
    began = time.monotonic()
    done = shell.run("setup", "--", "sh", "-c", 'echo "a  b" "$1"', "-", "--help")
    took = time.monotonic() - began
    assert done.stdout == b"a  b --help\n"
    assert done.stderr == b""
    assert took < 5  # it looks, and does nothing; two cores may be busy with other things


def test_gvisor_is_added_to_what_the_configuration_holds() -> None:
    before = {"log-level": "warn", "runtimes": {"other": {"path": "/o"}}}
    assert with_runtime(before, "/usr/bin/runsc", cgroups_v1=True) == {
        "log-level": "warn",
        "runtimes": {
            "other": {"path": "/o"},
            "runsc": {
                "path": "/usr/bin/runsc",
                "runtimeArgs": ["--network=none", "--ignore-cgroups"],
            },
        },
    }
    assert before["runtimes"] == {"other": {"path": "/o"}}
    assert with_runtime({}, "/r", cgroups_v1=False) == {"runtimes": {"runsc": {"path": "/r"}}}


def test_a_gvisor_that_is_registered_is_kept() -> None:
    before = {"runtimes": {"runsc": {"path": "/mine", "runtimeArgs": ["--debug"]}}}
    assert with_runtime(before, "/usr/bin/runsc", cgroups_v1=True) == before


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_configuration_not_understood_is_left_alone(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "daemon.json"
    file.write_text(content)
    monkeypatch.setattr(gvisor, "DAEMON_CONFIG", file)
    with pytest.raises(CommandError, match="daemon"):
        gvisor.register("/usr/bin/runsc")
    assert file.read_text() == content


def test_without_rights_the_commands_to_run_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr(commands, "_SYSTEM_PATH", "")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(rights.MissingRightsError) as raised:
        rights.root_prefix("Installing x", ["apt-get install -y x"])
    assert raised.value.hint == "As root, run:\n    apt-get install -y x"


def test_a_package_nobody_has_is_not_available() -> None:
    assert not packages.available("stacyvm-no-such-package")


def test_a_failing_step_shows_the_end_of_its_log(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CommandError, match="status 3"):
        commands.run(["sh", "-c", "seq 1 50; echo broken >&2; exit 3"], "Counting")
    shown = capfd.readouterr().err
    assert "Counting: failed" in shown
    assert "  | broken" in shown
    assert "  | 50" in shown
    assert "  | 20\n" not in shown


def test_a_daemon_outlives_the_one_who_starts_it(tmp_path: Path) -> None:
    log = tmp_path / "state" / "daemon.log"
    commands.detach(["setsid", "--fork", "sh", "-c", "echo $PPID; sleep 0.2; echo done"], log)
    deadline = time.monotonic() + 10
    while "done" not in log.read_text() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert log.read_text().splitlines()[-1] == "done"
