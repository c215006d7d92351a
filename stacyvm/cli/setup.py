"""``stacyvm setup``."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click
import docker

from stacyvm.cli import progress
from stacyvm.cli.errors import CommandError, ExitCode, domain_errors
from stacyvm.cli.images import build_missing
from stacyvm.cli.machine import commands, engine, gvisor, packages, runtimes
from stacyvm.cli.machine.engine import Engine
from stacyvm.cli.settings import read_settings
from stacyvm.config import Settings
from stacyvm.providers.images.base import BASE, make, pull
from stacyvm.providers.images.engine import connected


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--dev", is_flag=True, help="Also what the tests need: bubblewrap, gVisor.")
@click.option(
    "--fallback", is_flag=True, help="Without an engine run COMMAND on the local provider."
)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def setup(dev: bool, fallback: bool, command: tuple[str, ...]) -> None:
    """Prepare this machine: Docker engine, Redis, images.

    Does what is not done yet and says so; apt packages need root or sudo. COMMAND is run after it.
    Where no engine can be had that is exit status 7, and COMMAND is not run, unless --fallback or
    --dev is given.
    With STACYVM_PROVIDER=local no engine is looked for; what runs JavaScript is installed instead.
    """
    settings = read_settings({})
    flags = [*(["--dev"] if dev else []), *(["--fallback"] if fallback else [])]
    arguments = ["setup", *flags, "--", *command]
    problem = prepare(settings, dev=dev, arguments=arguments)
    if problem is None:
        if command:
            _run(command)
        click.echo("This machine is ready.", err=True)
        return
    problem.show()
    if not command or not (dev or fallback):
        raise CommandError("no Docker engine can be used", code=ExitCode.UNAVAILABLE)
    if not dev:
        click.echo("Without a Docker engine this goes on with the local provider.", err=True)
        os.environ["STACYVM_PROVIDER"] = "local"
        runtimes.provide()
    _run(command)


def prepare(settings: Settings, *, dev: bool, arguments: Sequence[str]) -> CommandError | None:
    """Do what is not done yet; return why no engine can be used, if so.

    Args:
        settings: The engine and the Redis to use.
        dev: Whether the tests are to run here as well.
        arguments: How to run this program again, should it take another group.

    Raises:
        CommandError: Something else that is needed cannot be had.
    """
    try:
        _provide_packages(settings, dev=dev)
    except CommandError as error:
        if not _has_redis(settings):
            raise
        if engine.state(settings.docker_host) is Engine.ABSENT:
            return error
        raise
    if not _wants_engine(settings, dev=dev):
        runtimes.provide()
        return None
    try:
        _provide_engine(settings, dev=dev, arguments=arguments)
    except CommandError as error:
        return error
    with domain_errors(), connected(settings.docker_host) as client:
        _provide_base(client)
        build_missing(client)
    return None


def _wants_engine(settings: Settings, *, dev: bool) -> bool:
    return dev or settings.provider != "local"


def _provide_packages(settings: Settings, *, dev: bool) -> None:
    needed, useful = [], []
    wanted = _wants_engine(settings, dev=dev)
    absent = wanted and engine.state(settings.docker_host) is Engine.ABSENT
    if absent and not engine.is_elsewhere(settings.docker_host) and not commands.find("dockerd"):
        needed += ["docker.io", "ca-certificates"]
        if commands.capture(["cat", "/sys/module/apparmor/parameters/enabled"]) == "Y\n":
            needed.append("apparmor")  # without its parser no container starts
    if not _has_redis(settings):
        needed.append("redis-server")
    if dev and not commands.find("bwrap"):
        useful.append("bubblewrap")
    if dev and not commands.find("runsc") and packages.available("runsc"):
        useful.append("runsc")
    if needed:
        packages.install([*needed, *useful])
    elif useful:
        with _warned():
            packages.install(useful)


@contextmanager
def _warned() -> Iterator[None]:
    """Show what fails in the block and go on: the tests that need it say so themselves."""
    try:
        yield
    except CommandError as error:
        error.show()


def _has_redis(settings: Settings) -> bool:
    return bool(settings.redis_url or commands.find("redis-server", "valkey-server"))


def _provide_engine(settings: Settings, *, dev: bool, arguments: Sequence[str]) -> None:
    runsc = commands.find("runsc") if dev else None
    elsewhere = engine.is_elsewhere(settings.docker_host)
    state = engine.state(settings.docker_host)
    if state is Engine.ABSENT:
        if elsewhere:
            raise CommandError("the Docker engine named by DOCKER_HOST does not answer")
        if runsc:
            with _warned():
                gvisor.register(runsc)
        engine.start()
        state = engine.state(settings.docker_host)
    if state is Engine.DENIED:
        engine.enter_group(arguments)
    if runsc and not elsewhere:
        with _warned(), domain_errors(), connected(settings.docker_host) as client:
            _provide_gvisor(client, runsc)


def _provide_gvisor(client: docker.DockerClient, runsc: str) -> None:
    def known() -> Sequence[str]:
        return list(client.info()["Runtimes"])

    if "runsc" not in known():
        gvisor.register(runsc)
        gvisor.reload(known)


def _provide_base(client: docker.DockerClient) -> None:
    if client.images.list(name=BASE):
        return
    with progress.step(f"Pulling {BASE}") as step:
        problem = pull(client, step.report)
    if not problem:
        return
    click.echo(f"No image registry can be used ({problem}).", err=True)
    if not commands.find("mmdebstrap"):
        packages.install(["mmdebstrap", "debian-archive-keyring"])
    with progress.step(f"Making {BASE} from Debian packages", headings=("I: ",)) as step:
        make(client, step.report)


def _run(command: Sequence[str]) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os.execvp(command[0], list(command))  # noqa: S606 - the user's own command
