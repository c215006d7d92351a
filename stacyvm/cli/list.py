"""``stacyvm list``."""

import click

from stacyvm.cli.connection import Connection, client_options
from stacyvm.cli.parameters import json_option
from stacyvm.cli.records import COLUMNS, as_record, as_row
from stacyvm.cli.tables import print_json, print_table


@click.command("list")
@click.option("-q", "--quiet", is_flag=True, help="Print the ids alone.")
@json_option
@client_options
def list_(quiet: bool, as_json: bool, connection: Connection) -> None:
    """List the live sandboxes.

    Newest first. With --user, only that owner's.
    """
    with connection.client() as client:
        infos = client.list()
    if as_json:
        print_json([as_record(info) for info in infos])
    elif quiet:
        for info in infos:
            click.echo(info.id)
    else:
        print_table(COLUMNS, [as_row(info) for info in infos])
