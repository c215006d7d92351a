"""What /proc tells about processes."""

from __future__ import annotations

import os

_STATE, _PPID, _PGRP, _SESSION, _START = 0, 1, 2, 3, 19  # positions behind the command's name


class Process:
    """One line of the process table, as it was a moment ago."""

    __slots__ = ("group", "parent", "pid", "session", "start", "state")

    def __init__(self, pid: int, stat: bytes) -> None:
        """Read ``/proc/<pid>/stat``; the command's name may hold spaces and brackets."""
        facts = stat[stat.rindex(b")") + 2 :].split()
        self.pid = pid
        self.state = facts[_STATE]
        self.parent = int(facts[_PPID])
        self.group = int(facts[_PGRP])
        self.session = int(facts[_SESSION])
        self.start = int(facts[_START])  # clock ticks since boot

    @property
    def alive(self) -> bool:
        """False for a zombie, which only waits for its parent."""
        return self.state not in {b"Z", b"X"}


class Table(dict[int, Process]):
    """Every process that can be seen, by pid.

    ``torn`` if some ended while it was read: they may have had children that it misses.
    """

    torn = False


def processes() -> Table:
    """Return the table of processes as it is now."""
    found = Table()
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        if stat := _read(f"/proc/{name}/stat"):
            found[int(name)] = Process(int(name), stat)
        else:
            found.torn = True
    return found


def descendants(table: dict[int, Process], roots: set[int]) -> set[int]:
    """Return ``roots`` and everything below them."""
    children: dict[int, list[int]] = {}
    for process in table.values():
        children.setdefault(process.parent, []).append(process.pid)
    found, todo = set(roots), list(roots)
    while todo:
        new = [pid for pid in children.get(todo.pop(), ()) if pid not in found]
        found.update(new)
        todo += new
    return found


def environment_holds(pid: int, entry: bytes) -> bool:
    """Tell whether a process was started with a variable whose ``NAME=value`` begins so."""
    return (b"\0" + entry) in b"\0" + _read(f"/proc/{pid}/environ")


def _read(path: str) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""  # it ended, or belongs to somebody else
    try:
        return os.read(fd, 1 << 18)
    except OSError:
        return b""
    finally:
        os.close(fd)
