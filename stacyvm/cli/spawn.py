"""``stacyvm spawn``."""

import time
from typing import Any

import click

from stacyvm.cli.connection import Connection, client_options
from stacyvm.cli.parameters import PAIR, json_option
from stacyvm.cli.records import as_record
from stacyvm.cli.tables import print_json
from stacyvm.cli.text import clean, since, span


@click.command()
@click.argument("image", required=False)
@click.option("--ttl", metavar="DURATION", help="Time to live, such as 90s, 10m, 1h30m.")
@click.option("--memory", "memory_mb", type=click.IntRange(min=1), metavar="MIB", help="Memory.")
@click.option("--cpus", "vcpus", type=click.IntRange(min=1), metavar="N", help="CPUs.")
@click.option("--disk", "disk_mb", type=click.IntRange(min=0), metavar="MIB", help="Disk.")
@click.option(
    "--network",
    type=click.Choice(["none", "open"]),
    help="none: no network; open: the engine's network.",
)
@click.option(
    "--workspace", type=click.Choice(["disk", "memory"]), help="Where /workspace is kept."
)
@click.option("--read-only", is_flag=True, help="Only the workspace and /tmp can be written.")
@click.option("--runtime", metavar="NAME", help="Container runtime, such as runsc (gVisor).")
@click.option("--provider", metavar="NAME", help="Where the sandbox comes from.")
@click.option(
    "-e", "--env", type=PAIR, multiple=True, metavar="KEY=VALUE", help="Environment; repeatable."
)
@click.option(
    "-m",
    "--metadata",
    type=PAIR,
    multiple=True,
    metavar="KEY=VALUE",
    help="Kept with the record; repeatable.",
)
@json_option
@client_options
def spawn(
    image: str | None,
    env: tuple[tuple[str, str], ...],
    metadata: tuple[tuple[str, str], ...],
    as_json: bool,
    connection: Connection,
    **options: Any,
) -> None:
    """Start a sandbox and print its id.

    What is not given is the server's default, the image too. The id alone goes to stdout, so
    that id=$(stacyvm spawn) works; the rest goes to stderr.
    """
    started = time.monotonic()
    with connection.client() as client:
        sandbox = client.spawn(image, env=dict(env), metadata=dict(metadata), **options)
        info = sandbox.info
    if as_json:
        print_json(as_record(info))
        return
    overdue = since(info.expires_at)
    took = time.monotonic() - started
    click.echo(
        f"{clean(info.image)} on {clean(info.provider)}, {info.memory_mb} MiB, {info.vcpus} CPU, "
        f"ready in {took:.2f} s, expires in {'?' if overdue is None else span(-overdue + 0.5)}",
        err=True,
    )
    click.echo(info.id)
