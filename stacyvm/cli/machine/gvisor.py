"""gVisor as a runtime of the engine."""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from stacyvm.cli.errors import CommandError
from stacyvm.cli.machine import commands
from stacyvm.cli.machine.rights import root_prefix

DAEMON_CONFIG = Path("/etc/docker/daemon.json")
PID_FILE = Path("/run/docker.pid")
_RELOAD_LIMIT = 10.0  # seconds


def register(program: str) -> bool:
    """Write gVisor into the daemon's configuration; return whether that changed anything.

    Raises:
        MissingRightsError: There is no right to.
        CommandError: The configuration there cannot be understood; it is left alone.
    """
    current = _read()
    wanted = with_runtime(current, program, cgroups_v1=cgroups_v1())
    if wanted == current:
        return False
    root = root_prefix(
        "Registering gVisor", [f"add the runtime runsc ({program}) to {DAEMON_CONFIG}"]
    )
    content = json.dumps(wanted, indent=2) + "\n"
    commands.feed([*root, "install", "-D", "-m", "644", "/dev/stdin", str(DAEMON_CONFIG)], content)
    click.echo(f"Registered gVisor as the runtime runsc in {DAEMON_CONFIG}.", err=True)
    return True


def with_runtime(config: dict[str, Any], program: str, *, cgroups_v1: bool) -> dict[str, Any]:
    """Return the daemon's configuration with gVisor as ``runsc``; one that is there is kept."""
    runtimes = config.get("runtimes", {})
    if "runsc" in runtimes:
        return config
    runtime: dict[str, Any] = {"path": program}
    if cgroups_v1:
        # gVisor knows only the second version; the engine's own limits still hold around it.
        runtime["runtimeArgs"] = ["--network=none", "--ignore-cgroups"]
    return {**config, "runtimes": {**runtimes, "runsc": runtime}}


def cgroups_v1() -> bool:
    """Return whether this machine uses the first version of control groups."""
    return not Path("/sys/fs/cgroup/cgroup.controllers").exists()


def reload(known_runtimes: Callable[[], Sequence[str]]) -> None:
    """Make a running engine read its runtimes anew, without touching what runs on it.

    Args:
        known_runtimes: Gives the runtimes the engine knows at that moment.

    Raises:
        CommandError: It does not take them up.
    """
    root = root_prefix("Reloading the Docker engine", ["systemctl reload docker"])
    pid = PID_FILE.read_text().strip() if PID_FILE.exists() else ""
    if not pid or not commands.succeeds([*root, "kill", "-HUP", pid]):
        raise CommandError("the Docker engine cannot be told to reload its configuration")
    deadline = time.monotonic() + _RELOAD_LIMIT
    while "runsc" not in known_runtimes():
        if time.monotonic() > deadline:
            raise CommandError(
                "the Docker engine does not take up gVisor", hint="Restart it by hand."
            )
        time.sleep(0.1)


def _read() -> dict[str, Any]:
    if not DAEMON_CONFIG.exists():
        return {}
    try:
        config = json.loads(DAEMON_CONFIG.read_text())
    except (OSError, ValueError) as error:
        raise CommandError(f"{DAEMON_CONFIG} cannot be read: {error}") from error
    if not isinstance(config, dict):
        raise CommandError(f"{DAEMON_CONFIG} holds no JSON object")
    return config
