"""``stacyvm kill``."""

import click
from stacyvm_sdk.exceptions import SandboxNotFound

from stacyvm.cli.connection import Connection, client_options
from stacyvm.cli.errors import CommandError, ExitCode
from stacyvm.cli.parameters import SANDBOX_ID


@click.command()
@click.argument("sandbox_ids", metavar="ID...", nargs=-1, required=True, type=SANDBOX_ID)
@client_options
def kill(sandbox_ids: tuple[str, ...], connection: Connection) -> None:
    """Destroy sandboxes at once.

    Everything in them is lost. Prints each id once it is done. One that is not found is reported
    at the end, after the others are destroyed.
    """
    missing = []
    with connection.client() as client:
        for sandbox_id in sandbox_ids:
            try:
                client.get(sandbox_id).destroy()
            except SandboxNotFound:
                missing.append(sandbox_id)
            else:
                click.echo(sandbox_id)
    if missing:
        raise CommandError(f"sandbox not found: {', '.join(missing)}", code=ExitCode.NOT_FOUND)
