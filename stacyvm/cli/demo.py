"""``stacyvm demo``."""

import signal
import sys
import time
from collections.abc import Sequence
from typing import NoReturn

import click

from stacyvm.cli.errors import CommandError, domain_errors
from stacyvm.cli.machine import commands, engine
from stacyvm.cli.settings import read_settings
from stacyvm.cli.showcase.expectation import expected
from stacyvm.cli.showcase.job import ENGINES, Timings, do_job, example
from stacyvm.cli.showcase.server import DemoServer, running_server
from stacyvm.cli.tables import print_table
from stacyvm.config import Settings
from stacyvm.domain.sandbox import is_sandbox_id
from stacyvm.providers.images.engine import connected

_GONE_LIMIT = 10.0  # seconds


@click.command()
@click.option(
    "--provider",
    type=click.Choice(["docker", "local"]),
    help="Where the sandboxes come from; docker where an engine answers.",
)
def demo(provider: str | None) -> None:
    """Do the main job once, end to end.

    Starts a server, runs the example program on a real data file in a Node sandbox and in a QuickJS
    sandbox, checks both results, destroys the sandboxes and proves that nothing is left.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    settings = read_settings({"provider": provider} if provider else {})
    used = _provider(settings)
    wanted = expected(example() / "data")
    with running_server(used) as server:
        click.echo(f"The server listens on {server.connection.url}.")
        with server.connection.client() as client:
            timings = [do_job(client, engine, wanted) for engine in ENGINES]
            gone = _prove_nothing_left(settings, used, server)
    click.echo(f"\n{gone}\n")
    _print(timings)
    click.echo("\nDone: both engines came to the right result, and the server has stopped.")


def _interrupt(number: int, _frame: object) -> NoReturn:
    sys.exit(128 + number)


def _provider(settings: Settings) -> str:
    used = settings.provider
    if used == "docker" and engine.state(settings.docker_host) is not engine.Engine.ANSWERS:
        click.echo("No Docker engine answers; `stacyvm setup` would provide one.")
        used = "local"
    if used == "local":
        cage = "in bubblewrap" if commands.find("bwrap") else "with no isolation"
        click.echo(
            f"This runs on the local provider: sandboxes are processes of this machine, {cage}.\n"
            "It does the whole job, but it is no place for code you do not trust."
        )
    return used


def _prove_nothing_left(settings: Settings, provider: str, server: DemoServer) -> str:
    began = time.monotonic()
    while left := _left(settings, provider, server):
        if time.monotonic() - began > _GONE_LIMIT:
            raise CommandError(f"sandboxes are left: {', '.join(left)}")
        time.sleep(0.02)
    took = time.monotonic() - began
    if provider == "docker":
        label = f"stacyvm.instance={server.instance}"
        return f"The engine has no container labelled {label}, {took:.2f} s after the last destroy."
    return f"No sandbox's folder is left, {took:.2f} s after the last destroy."


def _left(settings: Settings, provider: str, server: DemoServer) -> list[str]:
    if provider == "local":
        folders = (server.data_dir / "local").glob("*")
        return [folder.name for folder in folders if is_sandbox_id(folder.name)]
    label = f"stacyvm.instance={server.instance}"
    with domain_errors(), connected(settings.docker_host) as client:
        found = client.containers.list(all=True, filters={"label": label}, ignore_removed=True)
        return [str(one.name) for one in found]


def _print(timings: Sequence[Timings]) -> None:
    rows = [
        (step, *(f"{1000 * one.steps[step]:.1f} ms" for one in timings))
        for step in timings[0].steps
    ]
    print_table(("STEP", *(engine.name for engine in ENGINES)), rows)
