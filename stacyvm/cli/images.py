"""``stacyvm images``."""

from collections.abc import Sequence
from dataclasses import asdict

import click
import docker

from stacyvm.cli import progress, text
from stacyvm.cli.errors import domain_errors
from stacyvm.cli.settings import read_settings
from stacyvm.cli.tables import print_json, print_table
from stacyvm.providers.images.base import BASE, ensure_base
from stacyvm.providers.images.builder import Status, build, states
from stacyvm.providers.images.engine import connected
from stacyvm.providers.images.recipes import NAMES


@click.group()
def images() -> None:
    """Build and list the images sandboxes start from."""


@images.command(name="build")
@click.argument("names", metavar="[NAME]...", nargs=-1, type=click.Choice(NAMES))
@click.option("--force", is_flag=True, help="Build anew what is up to date, with newer packages.")
def build_(names: Sequence[str], force: bool) -> None:
    """Build the images that are missing or outdated: agent, node, quickjs.

    The base image is pulled where a registry can be reached, and otherwise made from Debian's
    packages.
    """
    with domain_errors(), connected(read_settings({}).docker_host) as client:
        built = build_missing(client, names or NAMES, force=force)
    if not built:
        click.echo("The images are up to date.", err=True)


def build_missing(
    client: docker.DockerClient, names: Sequence[str] = NAMES, *, force: bool = False
) -> bool:
    """Build what is not up to date, showing progress; return whether anything was built.

    Raises:
        UnavailableError: There is no base image and no way to get one.
        ProviderError: A build failed.
    """
    wanted = [
        name
        for name, state in zip(names, states(client, names), strict=True)
        if force or state.status is not Status.READY
    ]
    if not wanted:
        return False
    if not client.images.list(name=BASE):
        with progress.step(f"Getting the base image {BASE}", headings=("No image", "I: ")) as step:
            ensure_base(client, step.report)
    for name in wanted:
        with progress.step(f"Building stacyvm/{name}", headings=("Step ",)) as step:
            build(client, name, step.report)
    return True


@images.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(as_json: bool) -> None:
    """List the images and whether they are up to date."""
    with domain_errors(), connected(read_settings({}).docker_host) as client:
        found = states(client)
    if as_json:
        print_json([asdict(state) for state in found])
        return
    print_table(
        ("IMAGE", "STATUS", "SIZE", "CREATED", "HASH"),
        [
            (
                state.image,
                str(state.status),
                text.size(state.size) if state.id else "-",
                state.created[:19] or "-",
                state.digest[:12] or "-",
            )
            for state in found
        ],
    )
