"""``stacyvm stats``."""

from typing import Any

import click

from stacyvm.cli.connection import Connection, client_options
from stacyvm.cli.errors import CommandError
from stacyvm.cli.parameters import SANDBOX_ID, json_option
from stacyvm.cli.tables import print_json, print_table
from stacyvm.cli.text import size


@click.command()
@click.argument("sandbox_id", metavar="ID", type=SANDBOX_ID)
@json_option
@client_options
def stats(sandbox_id: str, as_json: bool, connection: Connection) -> None:
    """Show what a sandbox uses."""
    with connection.client() as client:
        found = client.get(sandbox_id).stats()
    if as_json:
        print_json(found)
    elif not found.get("supported"):
        raise CommandError(f"no numbers are known for {sandbox_id}: its provider has none")
    else:
        print_table(("ID", "CPU", "MEMORY", "LIMIT"), [(sandbox_id, *_cells(found))])


def _cells(found: dict[str, Any]) -> tuple[str, str, str]:
    limit = found.get("mem_limit_bytes") or 0
    return (
        f"{found.get('cpu_pct', 0):.1f} %",
        size(found.get("mem_bytes", 0)),
        size(limit) if limit else "-",
    )
