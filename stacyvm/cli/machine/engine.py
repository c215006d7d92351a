"""The Docker engine on this machine: whether it answers, starting it, and who may use it."""

import getpass
import grp
import os
import shlex
import sys
import time
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

import click

from stacyvm.cli import progress
from stacyvm.cli.errors import CommandError, ExitCode
from stacyvm.cli.machine import commands
from stacyvm.cli.machine.rights import root_prefix
from stacyvm.domain.errors import UnavailableError
from stacyvm.providers.images.engine import connected

LOG = Path("~/.local/state/stacyvm/dockerd.log").expanduser()
START_LIMIT = 60.0  # seconds a daemon gets until it answers
_GRACE = 3.0  # seconds until a daemon that was started must be seen running


class Engine(StrEnum):
    """Whether the engine can be used from here."""

    ANSWERS = "answers"
    DENIED = "denied"  # it is there, and this user may not use it
    ABSENT = "absent"


def state(docker_host: str = "", *, patience: float = 10) -> Engine:
    """Return whether an engine answers, within ``patience`` seconds of silence."""
    try:
        with connected(docker_host, timeout=patience):
            return Engine.ANSWERS
    except UnavailableError as error:
        return Engine.DENIED if _denied(error) else Engine.ABSENT


def _denied(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, PermissionError) or "Permission denied" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def is_elsewhere(docker_host: str) -> bool:
    """Return whether the engine to use is one that is not ours to start."""
    return bool(docker_host or os.environ.get("DOCKER_HOST"))


def start() -> None:
    """Start the engine and wait until it answers.

    Raises:
        MissingRightsError: There is no right to.
        CommandError: It does not come up; the end of its log has been shown.
    """
    systemd = Path("/run/systemd/system").is_dir()
    root = root_prefix(
        "Starting the Docker engine", ["systemctl start docker" if systemd else "dockerd &"]
    )
    with progress.step("Starting the Docker engine") as step:
        if systemd:
            if not commands.succeeds([*root, "systemctl", "start", "docker"]):
                raise CommandError(
                    "the Docker engine does not start", hint="See `journalctl -u docker`."
                )
        elif not is_running():
            dockerd = commands.find("dockerd") or "dockerd"
            commands.detach([*root, "setsid", "--fork", dockerd], LOG)
        if not _comes_up():
            for line in _log_tail():
                step.report(line)
            raise CommandError("the Docker engine does not come up", hint=f"Its log is {LOG}.")


def is_running() -> bool:
    """Return whether a ``dockerd`` runs on this machine, answering or not."""
    return any(_name(process) == "dockerd" for process in Path("/proc").glob("[0-9]*"))


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return ""  # it has just ended


def _comes_up() -> bool:
    began = time.monotonic()
    while (elapsed := time.monotonic() - began) < START_LIMIT:
        if state(patience=5) is not Engine.ABSENT:
            return True
        if elapsed > _GRACE and not is_running():
            return False
        time.sleep(0.2)
    return False


def _log_tail() -> list[str]:
    return LOG.read_text(errors="replace").splitlines()[-progress.KEPT :] if LOG.exists() else []


def enter_group(arguments: Sequence[str]) -> None:
    """Run this program again as a member of the group ``docker``; does not return.

    The membership is made if there is none yet. Becoming effective at once, without a new login,
    takes ``sg``.

    Raises:
        MissingRightsError: The user is not in the group and nobody here can change that.
        CommandError: There is no such group, or no ``sg``.
    """
    user = getpass.getuser()
    docker = next((group for group in grp.getgrall() if group.gr_name == "docker"), None)
    if docker is None or docker.gr_gid in {os.getegid(), *os.getgroups()}:
        raise CommandError(
            "this user may not use the Docker engine, and the group docker does not help",
            code=ExitCode.DENIED,
        )
    if user not in docker.gr_mem:
        join = ["usermod", "-aG", "docker", user]
        root = root_prefix(f"Adding {user} to the group docker", [" ".join(join)])
        commands.run([*root, *join], f"Adding {user} to the group docker")
    sg = commands.find("sg")
    if sg is None:
        raise CommandError(
            f"{user} has joined the group docker, which takes effect at the next login",
            code=ExitCode.DENIED,
            hint="Log out and in again, then repeat this.",
        )
    click.echo("Going on as a member of the group docker.", err=True)
    again = [sys.executable, sys.argv[0], *arguments]
    os.execv(sg, ["sg", "docker", "-c", shlex.join(again)])  # noqa: S606 - our own command line
