"""``stacyvm extend``."""

import click

from stacyvm.cli.connection import Connection, client_options
from stacyvm.cli.parameters import SANDBOX_ID, json_option
from stacyvm.cli.records import as_record
from stacyvm.cli.tables import print_json
from stacyvm.cli.text import clean, since, span


@click.command()
@click.argument("sandbox_id", metavar="ID", type=SANDBOX_ID)
@click.argument("ttl", metavar="[TTL]", default="30m")
@json_option
@client_options
def extend(sandbox_id: str, ttl: str, as_json: bool, connection: Connection) -> None:
    """Give a sandbox more time.

    It then lives TTL from now (default 30m; units s, m, h), or as long as it would have anyway if
    that is longer.
    """
    with connection.client() as client:
        sandbox = client.get(sandbox_id)
        sandbox.extend_ttl(ttl)
        info = sandbox.info
    if as_json:
        print_json(as_record(info))
        return
    overdue = since(info.expires_at)
    left = "an unknown time" if overdue is None else span(-overdue)
    click.echo(f"{info.id} expires in {left}, at {clean(info.expires_at)}")
