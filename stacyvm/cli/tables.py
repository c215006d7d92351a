"""Records on stdout: tables for people, JSON for programs."""

import json
import sys
from collections.abc import Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stacyvm.cli.text import clean


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; the first column is never cut.

    A terminal's width is kept by shortening; in a pipe or file nothing is cut, so that ``grep``
    and ``awk`` see whole values. Colour only on a terminal, and never with ``NO_COLOR``.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        table.add_column(column, no_wrap=True, overflow="ellipsis" if index else "fold")
    for row in rows:
        table.add_row(*(Text(clean(cell)) for cell in row))
    console = Console(file=sys.stdout, highlight=False)
    if not console.is_terminal:
        widest = Console(width=1_000_000)
        console.width = max(widest.measure(table).maximum, 1)
    # Rich pads every line to the table's width; blanks at the end are noise in a file.
    with console.capture() as capture:
        console.print(table)
    for line in capture.get().splitlines():
        click.echo(line.rstrip(), color=console.is_terminal)


def print_json(value: Any) -> None:
    """Print indented JSON, ASCII-escaped, so that nothing in it can drive a terminal."""
    click.echo(json.dumps(value, indent=2))
