"""What a long step is doing: one live line on a terminal, few plain lines elsewhere."""

import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.status import Status

from stacyvm.cli.text import clean

KEPT = 30


class Step:
    """The log of one long step, shown in a compact way; the last lines are kept for a failure."""

    def __init__(self, title: str, status: Status | None, *, headings: tuple[str, ...]) -> None:
        self.title = title
        self.tail: deque[str] = deque(maxlen=KEPT)
        self._status = status
        self._headings = headings

    def report(self, line: str) -> None:
        """Take one line of the log."""
        text = clean(line)
        if not text:
            return
        self.tail.append(text)
        if self._status is not None:
            self._status.update(f"{_escaped(self.title)} [dim]{_escaped(text[:80])}[/]")
        elif text.startswith(self._headings):
            click.echo(f"    {text[:100]}", err=True)


@contextmanager
def step(title: str, *, headings: tuple[str, ...] = ()) -> Iterator[Step]:
    """Show a long step on stderr: that it began, what it does, how long it took.

    Args:
        title: What is being done, as ``Building stacyvm/node``.
        headings: Lines of the log that begin so are shown where there is no terminal.

    When the block raises, the last lines of the log are printed before the error goes on.
    """
    console = Console(file=sys.stderr, highlight=False)
    started = time.monotonic()
    if console.is_terminal:
        with console.status(_escaped(title)) as status:
            current = Step(title, status, headings=headings)
            with _telling(current):
                yield current
    else:
        click.echo(f"{title} ...", err=True)
        current = Step(title, None, headings=headings)
        with _telling(current):
            yield current
    click.echo(f"{title}: done in {time.monotonic() - started:.1f} s", err=True)


@contextmanager
def _telling(current: Step) -> Iterator[None]:
    try:
        yield
    except BaseException:
        click.echo(f"{current.title}: failed", err=True)
        for line in current.tail:
            click.echo(f"  | {line}", err=True)
        raise


def _escaped(text: str) -> str:
    return text.replace("[", "\\[")
