"""This process's own stdin, stdout and stderr, as bytes."""

import os
import select
import stat
import sys
from pathlib import Path
from typing import Any

from stacyvm_sdk.streaming import StreamChunk


class Output:
    """Writes a command's output to our stdout and stderr at once, in the order it comes."""

    def __init__(self) -> None:
        self._files = {"stdout": unbuffered(sys.stdout), "stderr": unbuffered(sys.stderr)}

    def write(self, chunk: StreamChunk) -> None:
        """Write one chunk.

        Raises:
            BrokenPipeError: Nobody reads our stdout or stderr any more.
        """
        # Lone surrogates cannot come from a server of ours; from another they become "?".
        write_all(self._files[chunk.stream], chunk.data.encode("utf-8", "replace"))


def unbuffered(file: Any) -> Any:
    """Return the raw file below ``sys.stdout`` or ``sys.stderr``.

    Without a buffer nothing is left to flush, and to fail, when the interpreter ends.
    """
    file.flush()
    return getattr(file.buffer, "raw", file.buffer)


def write_all(file: Any, data: bytes) -> None:
    """Write all of ``data`` to a raw file, whatever it takes at once.

    Raises:
        BrokenPipeError: Nobody reads it any more.
    """
    rest = memoryview(data)
    while rest:
        written = file.write(rest)
        if written is None:  # another process has made the descriptor we share non-blocking
            select.select([], [file], [])
        else:
            rest = rest[written:]


def stdin_source(*, terminal: bool) -> int | None:
    """Return the descriptor to feed a command's stdin from, or None.

    None where stdin is closed, ``/dev/null`` (the command gets its own), or a terminal that was
    not asked for: a command that reads no stdin must not swallow what is typed ahead.
    """
    try:
        descriptor = sys.stdin.fileno()
        kind = os.fstat(descriptor)
    except (AttributeError, OSError, ValueError):  # closed, or replaced by something without one
        return None
    if os.isatty(descriptor):
        return descriptor if terminal else None
    if stat.S_ISCHR(kind.st_mode) and kind.st_rdev == Path(os.devnull).stat().st_rdev:
        return None
    return descriptor
