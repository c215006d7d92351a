"""What the shell gets when a command fails: one line on stderr and an exit code by category."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import IO, Any

import click
from typing_extensions import override

from stacyvm.cli.text import clean
from stacyvm.domain.errors import StacyError


class ExitCode(IntEnum):
    """Exit codes of the command line."""

    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    CONFLICT = 4
    LIMIT = 5
    DENIED = 6
    UNAVAILABLE = 7
    TIMED_OUT = 124  # as timeout(1)
    EXEC_FAILED = 125  # as docker run: codes below it are the command's own
    INTERRUPTED = 130  # 128 + SIGINT
    BROKEN_PIPE = 141  # 128 + SIGPIPE


EXIT_CODES_HELP = """\b
Exit codes:
  0    done
  1    failed, for any reason not below
  2    the request makes no sense: wrong options, bad values
  3    not found: no such sandbox, file, image or provider
  4    conflict: the sandbox is not running, the target exists
  5    a limit is reached, or the sandbox's disk is full
  6    not allowed: no API key, a wrong one, or no permission
  7    the server cannot be reached, or what it stands on is down
  124  timed out
  130  interrupted
exec gives the command's own exit code, and 125 where stacyvm itself failed."""

_BY_WIRE_CODE = {
    "BAD_REQUEST": ExitCode.USAGE,
    "NOT_FOUND": ExitCode.NOT_FOUND,
    "CONFLICT": ExitCode.CONFLICT,
    "RESOURCE_LIMIT": ExitCode.LIMIT,
    "UNAUTHORIZED": ExitCode.DENIED,
    "FORBIDDEN": ExitCode.DENIED,
    "UNAVAILABLE": ExitCode.UNAVAILABLE,
    "TIMEOUT": ExitCode.TIMED_OUT,
    "PAYLOAD_TOO_LARGE": ExitCode.LIMIT,
    "CONNECTION_ERROR": ExitCode.UNAVAILABLE,
}
_HINTS = {
    "CONNECTION_ERROR": (
        "Start a server with `stacyvm serve` or `make serve`, or name another with --url."
    ),
    "UNAUTHORIZED": "Give the server's key with STACYVM_API_KEY or --api-key.",
}


class CommandError(click.ClickException):
    """An expected failure.

    ``code`` is the exit code; ``hint``, if any, is a second line that says what to do.
    """

    def __init__(self, message: str, *, code: int = ExitCode.FAILED, hint: str = "") -> None:
        super().__init__(clean(message))
        self.code = int(code)
        self.hint = hint

    @classmethod
    def from_wire(cls, wire_code: str, message: str) -> "CommandError":
        """Return the error for one of the contract's codes; an unknown code is a plain failure."""
        code = _BY_WIRE_CODE.get(wire_code, ExitCode.FAILED)
        return cls(message, code=code, hint=_HINTS.get(wire_code, ""))

    @override
    def show(self, file: IO[Any] | None = None) -> None:
        """Print the error, and the hint below it, to stderr."""
        click.echo(f"stacyvm: {self.message}", file=file, err=True)
        if self.hint:
            click.echo(f"  {self.hint}", file=file, err=True)


@contextmanager
def domain_errors() -> Iterator[None]:
    """Turn the server's own errors, raised in this process, into command errors."""
    try:
        yield
    except StacyError as error:
        raise CommandError.from_wire(error.code, error.message) from error
