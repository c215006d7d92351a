"""``stacyvm cp``."""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import click
from stacyvm_sdk.exceptions import FileNotFound
from stacyvm_sdk.sandbox import Sandbox

from stacyvm.cli.connection import Connection, client_options
from stacyvm.cli.errors import CommandError, ExitCode
from stacyvm.cli.streams import unbuffered, write_all

_REMOTE = re.compile(r"(sb-[0-9a-f]{8}):(.*)", re.DOTALL)
_CHUNK = 256 * 1024
_PIECE = 4 * 2**20  # bytes of a file fetched at once on its way to stdout
_EXAMPLES = """\b
Examples:
  stacyvm cp app/ $id:app
  stacyvm cp $id:out/report.json .
  echo hello | stacyvm cp - $id:note.txt"""


@dataclass(frozen=True, slots=True)
class Remote:
    """A path in a sandbox, as ``ID:PATH`` names it; relative to the workspace unless absolute."""

    sandbox_id: str
    path: str

    @classmethod
    def parse(cls, text: str) -> "Remote | None":
        """Read ``ID:PATH``; None when the text is a local path. An empty PATH is the workspace."""
        found = _REMOTE.fullmatch(text)
        return cls(found[1], found[2] or ".") if found else None


@click.command(epilog=_EXAMPLES)
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST")
@client_options
def cp(source: str, target: str, connection: Connection) -> None:
    """Copy files or directories into or out of a sandbox.

    One side is ID:PATH (relative paths start at /workspace), the other a local path, or - for
    stdin or stdout. As with cp -r, a DST that is a directory gets SRC inside it; SRC/. copies
    what is in SRC. Files are complete or not there.
    """
    into, out_of = Remote.parse(target), Remote.parse(source)
    try:
        if into is not None and out_of is None:
            with connection.client() as client:
                _upload(client.get(into.sandbox_id), source, into.path)
        elif out_of is not None and into is None:
            with connection.client() as client:
                _download(client.get(out_of.sandbox_id), out_of.path, target)
        else:
            raise click.UsageError(
                "one of SRC and DST must be ID:PATH, the other a local path or -"
            )
    except BrokenPipeError:
        raise click.exceptions.Exit(ExitCode.BROKEN_PIPE) from None
    except OSError as error:
        raise _local_error(error) from error


def _upload(sandbox: Sandbox, source: str, target: str) -> None:
    if source == "-":
        sandbox.write_file(target, _read_stdin())
        return
    path = Path(source)
    path.stat()  # the local side first: nothing is asked of the sandbox for a missing file
    goes_inside = target.endswith("/") or _is_directory(sandbox, target)
    if goes_inside and not _contents_only(source):
        target = f"{target.rstrip('/')}/{path.resolve().name}"
    sandbox.upload(path, target)


def _download(sandbox: Sandbox, source: str, target: str) -> None:
    about = sandbox.stat_file(source)
    if target == "-":
        if about["is_dir"]:
            raise CommandError(f"{source} is a directory", code=ExitCode.USAGE)
        _print_file(sandbox, source, about["size"])
        return
    path = Path(target)
    name = PurePosixPath(about["path"]).name
    if (target.endswith("/") or path.is_dir()) and name and not _contents_only(source):
        path /= name
    sandbox.download(source, path)


def _print_file(sandbox: Sandbox, path: str, size: int) -> None:
    stdout = unbuffered(sys.stdout)
    if size <= _PIECE:  # also where the size is not known: /proc says 0
        write_all(stdout, sandbox.read_bytes(path))
        return
    for offset in range(0, size, _PIECE):
        write_all(stdout, sandbox.read_bytes(path, offset, min(_PIECE, size - offset)))


def _contents_only(source: str) -> bool:
    """Tell whether the path ends in ``.`` or ``..``: what is in the directory, not itself."""
    return source.rstrip("/").rpartition("/")[2] in {".", ".."}


def _is_directory(sandbox: Sandbox, path: str) -> bool:
    try:
        return bool(sandbox.stat_file(path)["is_dir"])
    except FileNotFound:
        return False


def _read_stdin() -> Iterator[bytes]:
    if sys.stdin is None or sys.stdin.closed:
        raise CommandError("stdin is closed", code=ExitCode.USAGE)
    # read() would wait for a full chunk; a pipe gives what it has
    read = getattr(sys.stdin.buffer, "read1", sys.stdin.buffer.read)
    while chunk := read(_CHUNK):
        yield chunk


def _local_error(error: OSError) -> CommandError:
    where = f"{error.filename}: " if error.filename else ""
    missing = isinstance(error, FileNotFoundError)
    return CommandError(
        f"{where}{error.strerror or error}",
        code=ExitCode.NOT_FOUND if missing else ExitCode.FAILED,
    )
