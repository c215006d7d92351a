"""Ending what ran in a local sandbox, and deleting its folder whatever the guest made of it."""

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from stacyvm.domain.errors import ProviderError

_ROUNDS = 50
_DELETE_TRIES = 20


def kill_tree(pid: int | None, folder: Path) -> None:
    """Kill an agent and everything that descends from it.

    The agent is stopped first so that it starts nothing new, and dies last: it adopts orphans, so
    its descendants stay findable. Where it has died before, they are known by their ``TMPDIR`` in
    ``folder``. Blocking; for a thread.
    """
    if pid is not None:
        _send(pid, signal.SIGSTOP)
    for _ in range(_ROUNDS):
        found = set(_members(pid, folder)) - {pid, os.getpid()}
        if not found:
            break
        for member in found:
            _send(member, signal.SIGKILL)
    if pid is not None:
        _send(pid, signal.SIGKILL)


async def delete_folder(folder: Path) -> None:
    """Delete a folder and all in it. Idempotent.

    It is ``rm`` that does it: it goes arbitrarily deep and follows no link. Folders the guest has
    locked are opened first, and dying processes that still write are outlasted.

    Raises:
        ProviderError: Something could not be deleted.
    """
    said = ""
    for attempt in range(_DELETE_TRIES):
        said = await _run("rm", "-rf", "--", str(folder))
        if not said:
            return
        await _run("chmod", "-R", "u+rwx", "--", str(folder))
        await asyncio.sleep(0.01 * attempt)
    raise ProviderError(f"cannot delete {folder}: {said}")


async def _run(*command: str) -> str:
    """Return what a command complained about; empty when it succeeded."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    return (said.decode("utf-8", "replace")[:200] or "failed") if process.returncode else ""


def _members(pid: int | None, folder: Path) -> Iterator[int]:
    parents = {}
    mark = b"TMPDIR=" + os.fsencode(folder / "tmp")
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            status = (entry / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
            marked = _is_ours(entry) and mark in (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue  # it ended meanwhile
        if status[0] in "ZX":
            continue
        parents[int(entry.name)] = int(status[1])
        if marked:
            yield int(entry.name)
    if pid is not None:
        yield from _descendants(pid, parents)


def _is_ours(entry: Path) -> bool:
    return entry.stat().st_uid == os.getuid()


def _descendants(pid: int, parents: dict[int, int]) -> Iterator[int]:
    found = {pid}
    while fresh := {child for child, parent in parents.items() if parent in found} - found:
        found |= fresh
        yield from fresh


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return  # gone already, which is what was wanted
