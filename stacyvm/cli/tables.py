"""Records on stdout: tables for people, JSON for programs."""

import json
import sys
from collections.abc import Sequence
from typing import Any

import click
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stacyvm.cli.text import clean

_GAP = 2  # blanks between columns
_NARROWEST = 6


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; the first column is never cut.

    A terminal's width is kept by cutting the widest columns; in a pipe or file nothing is cut, so
    that ``grep`` and ``awk`` see whole values. Colour only on a terminal, never with ``NO_COLOR``.
    """
    console = Console(file=sys.stdout, highlight=False)
    cells = [[clean(cell) for cell in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(columns, *cells, strict=True)]
    if console.is_terminal:
        _narrow(widths, console.width)
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    for column, width in zip(columns, widths, strict=True):
        table.add_column(column, width=width, no_wrap=True, overflow="ellipsis")
    for row in cells:
        table.add_row(*map(Text, row))
    console.width = max(console.width, sum(widths) + _GAP * len(widths))
    # Rich pads every line to the table's width; blanks at the end are noise in a file.
    with console.capture() as capture:
        console.print(table)
    for line in capture.get().splitlines():
        click.echo(line.rstrip(), color=console.is_terminal)


def _narrow(widths: list[int], space: int) -> None:
    """Take from the widest columns, never from the first, until all fit or none can give."""
    while sum(widths) + _GAP * (len(widths) - 1) > space:
        widest = max(range(1, len(widths)), key=widths.__getitem__, default=0)
        if widest == 0 or widths[widest] <= _NARROWEST:
            return
        widths[widest] -= 1


def print_json(value: Any) -> None:
    """Print indented JSON, ASCII-escaped, so that nothing in it can drive a terminal."""
    click.echo(json.dumps(value, indent=2))
