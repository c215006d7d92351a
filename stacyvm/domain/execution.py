"""An execution: a command run in a sandbox, and its one outcome."""

from dataclasses import dataclass, field
from typing import Literal

from stacyvm.domain.errors import InvalidRequestError


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """What to run. ``argv`` is final: the shell form is already wrapped in ``sh -c``."""

    argv: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict, repr=False)
    workdir: str = ""  # empty is the workspace
    timeout: float = 0.0  # seconds; 0 is none
    stdin: bool = False  # False: the command reads from /dev/null


@dataclass(frozen=True, slots=True)
class Output:
    """Bytes a command printed, in the order the agent read them."""

    stream: Literal["stdout", "stderr"]
    data: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How a command ended. ``exit_code`` is 128 + n after signal n, as a shell gives."""

    exit_code: int
    duration: float  # seconds
    signal: str = ""  # "SIGKILL" and so on when a signal ended it
    timed_out: bool = False
    truncated: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ExecResult:
    """A finished command with its output as text (invalid UTF-8 as U+FFFD)."""

    outcome: Outcome
    stdout: str
    stderr: str


def build_argv(command: str, args: list[str], mode: str) -> tuple[str, ...]:
    """Return the argument vector for the contract's ``command``, ``args`` and ``mode``.

    Raises:
        InvalidRequestError: Unknown mode, a NUL character, or argv mode without a command.
    """
    if "\0" in command or any("\0" in arg for arg in args):
        raise InvalidRequestError("invalid input: command and args must not contain NUL")
    if mode == "argv":
        if not command.strip():
            raise InvalidRequestError("invalid input: argv exec mode requires command")
        return (command, *args)
    if mode not in {"", "shell"}:
        raise InvalidRequestError(f'invalid input: unknown exec mode "{mode}" (shell, argv)')
    return ("sh", "-c", " ".join([command, *(_quote(arg) for arg in args)]))


def _quote(text: str) -> str:
    return "'" + text.replace("'", "'\"'\"'") + "'"
