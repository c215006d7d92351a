"""``stacyvm logs``."""

import click

from stacyvm.cli.connection import Connection, client_options
from stacyvm.cli.parameters import SANDBOX_ID, json_option
from stacyvm.cli.tables import print_json
from stacyvm.cli.text import clean


@click.command()
@click.argument("sandbox_id", metavar="ID", type=SANDBOX_ID)
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="How many of the last lines.",
)
@json_option
@client_options
def logs(sandbox_id: str, lines: int, as_json: bool, connection: Connection) -> None:
    """Print the last output of a sandbox's commands.

    Both streams of all of them, and what background processes print after their command ended;
    the last 256 KiB are kept.
    """
    with connection.client() as client:
        found = client.get(sandbox_id).logs(lines)
    if as_json:
        print_json(found)
        return
    for line in found:
        click.echo(clean(line))
