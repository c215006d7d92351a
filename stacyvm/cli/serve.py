"""``stacyvm serve``."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import click

from stacyvm.api.server import serve as run_server
from stacyvm.cli.errors import CommandError, domain_errors
from stacyvm.cli.settings import read_settings
from stacyvm.config import Settings, unknown_variables, variable

log = logging.getLogger(__name__)


def _all_settings() -> str:
    lines = ["\b", "Every setting, as a variable of the environment or a line of ./.env:"]
    for name, field in Settings.model_fields.items():
        lines += [f"  {variable(name)}", f"      {field.description}"]
    return "\n".join(lines)


@click.command(epilog=_all_settings())
@click.option("--host", metavar="ADDRESS", help="Address to listen on. [STACYVM_HOST]")
@click.option("--port", metavar="PORT", help="Port; 0 picks a free one. [STACYVM_PORT]")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the server keeps its state. [STACYVM_DATA_DIR]",
)
@click.option(
    "--provider", metavar="NAME", help="docker, or local (isolates less). [STACYVM_PROVIDER]"
)
@click.option("--redis-url", metavar="URL", help="Redis to use. [STACYVM_REDIS_URL]")
@click.option("--log-level", metavar="LEVEL", help="DEBUG, INFO, ... [STACYVM_LOG_LEVEL]")
def serve(**options: Any) -> None:
    """Run the server in the foreground.

    An option wins over its variable. Ctrl-C or SIGTERM stops it; sandboxes outlive it until their
    time is over, except those of the local provider.
    """
    given = {name: value for name, value in options.items() if value is not None}
    settings = read_settings(given)
    _start_logging(settings.log_level)
    for said in unknown_variables():
        log.warning("%s", said)
    with domain_errors():
        try:
            asyncio.run(run_server(settings))
        except OSError as error:  # such as a data directory that cannot be written
            raise CommandError(f"cannot serve: {error}") from error


def _start_logging(level: str) -> None:
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # What the format does not show need not be found out for every line: the caller's place in the
    # source above all (Python's logging HOWTO, "Optimization").
    logging._srcfile = None  # noqa: SLF001
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
