"""Programs of the system, run as part of setting up."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from shutil import which

from stacyvm.cli import progress
from stacyvm.cli.errors import CommandError

# Debian keeps these out of the PATH of plain users.
_SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin"


def find(*names: str) -> str | None:
    """Return the path of the first of these programs that is installed."""
    path = f"{os.environ.get('PATH', os.defpath)}:{_SYSTEM_PATH}"
    return next((found for name in names if (found := which(name, path=path))), None)


def succeeds(command: Sequence[str]) -> bool:
    """Run a quick check and return whether it succeeded; its output is dropped."""
    return capture(command) is not None


def capture(command: Sequence[str]) -> str | None:
    """Return the output of a quick command, or None when it fails or is not there."""
    try:
        done = subprocess.run(  # noqa: S603 - our own command lines
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None


def run(command: Sequence[str], title: str, *, headings: tuple[str, ...] = ()) -> None:
    """Run a long command with its progress shown; asking for a password on the terminal works.

    Raises:
        CommandError: It failed; the end of its output has been shown.
    """
    with (
        progress.step(title, headings=headings) as step,
        subprocess.Popen(  # noqa: S603 - our own command lines
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process,
    ):
        if process.stdout is not None:
            for line in process.stdout:
                step.report(line)
        if process.wait():
            raise CommandError(f"`{' '.join(command)}` failed with status {process.returncode}")


def detach(command: Sequence[str], log: Path) -> None:
    """Start a daemon that outlives us and our terminal; what it says is appended to ``log``.

    Raises:
        CommandError: It cannot be started.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        done = subprocess.run(  # noqa: S603 - our own command lines
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False
        )
    if done.returncode:
        raise CommandError(f"`{' '.join(command)}` failed with status {done.returncode}")


def feed(command: Sequence[str], text: str) -> None:
    """Run a quick command with ``text`` as its input.

    Raises:
        CommandError: It failed.
    """
    done = subprocess.run(  # noqa: S603 - our own command lines
        command, input=text, text=True, stdout=subprocess.DEVNULL, check=False
    )
    if done.returncode:
        raise CommandError(f"`{' '.join(command)}` failed with status {done.returncode}")
