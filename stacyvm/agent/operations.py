"""Everything an agent can do beyond hello, ping and lease; loaded after the first hello.

What only few sandboxes ever use is loaded later still, by the thread that needs it.
"""

from __future__ import annotations

import errno
import os
import signal
import time

from stacyvm.agent import changes, fields, listing, trees
from stacyvm.agent.children import MARK, Children
from stacyvm.agent.disk import Disk
from stacyvm.agent.execution import Commands, Execution, Limits
from stacyvm.agent.failure import Failure
from stacyvm.agent.frames import DEFAULT_WINDOW, MAX_WINDOW, Frame
from stacyvm.agent.info import describe, info_of
from stacyvm.agent.logs import Logs
from stacyvm.agent.loop import Loop
from stacyvm.agent.options import Options
from stacyvm.agent.paths import Paths
from stacyvm.agent.privileges import guest_environment
from stacyvm.agent.reading import Reading, open_file
from stacyvm.agent.requests import Live, Reply
from stacyvm.agent.spawn import NotStartedError, failed, spawn
from stacyvm.agent.stats import NO_STATS, Sampling
from stacyvm.agent.workers import Job, Workers
from stacyvm.agent.writing import Writing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_MOST_MODE = 0o7777
_MOST_ARGUMENTS = 100_000
_LONGEST_TIMEOUT_MS = 1 << 41
_MOST_QUEUED = 256
_SHORT_LIST = 256  # entries that are described within one turn of the loop
_SIGNALS = {number.name: int(number) for number in signal.Signals}

_MOMENT = 0.005  # seconds


class Operations:
    """The table of operations, and what they share."""

    def __init__(
        self, loop: Loop, options: Options, paths: Paths, environment: dict[bytes, bytes], boot: str
    ) -> None:
        self._loop = loop
        self._paths = paths
        self._environment = guest_environment(environment, paths.home)
        self._logs = Logs()
        self._children = Children(loop, boot, contained=options.contained)
        self._commands = Commands(loop, self._children, self._logs)
        self._contained = options.contained
        self._disk = Disk(loop, paths.home, options.disk_mb)
        self._disk.watch(lambda: bool(self._commands.running), self._commands.kill_running)
        self._walkers = Workers(loop, threads=4, queue=_MOST_QUEUED)
        # Those wait for the client, so they must not keep walks waiting with them.
        self._archivers = Workers(loop, threads=4, queue=0)
        self.table: dict[str, Callable[[Frame, Reply], Live | None]] = {
            "exec": self._exec,
            "signal": self._signal,
            "read": self._read,
            "write": self._write,
            "list": self._list,
            "stat": self._stat,
            "move": self._move,
            "chmod": self._chmod,
            "mkdir": self._mkdir,
            "remove": self._remove,
            "logs": self._tail,
            "glob": self._glob,
            "pack": self._pack,
            "unpack": self._unpack,
            "stats": self._stats,
        }

    def on_terminate(self, callback: Callable[[], None]) -> None:
        """Call back when the agent is asked to end by SIGTERM."""
        signal.signal(signal.SIGTERM, lambda *_: self._loop.post(callback))

    def kill_all(self) -> None:
        """Kill every process of the guest that can be found."""
        self._children.kill_all()

    def _exec(self, frame: Frame, reply: Reply) -> Live:
        argv = _strings(frame.get("argv"))
        mark = self._children.mark()
        environment = {**self._environment, **_environment(frame.get("env")), MARK: mark.value}
        cwd = self._working_directory(frame)
        stdin = fields.boolean(frame, "stdin")
        limits = Limits(
            timeout=fields.integer(frame, "timeout_ms", 0, 0, _LONGEST_TIMEOUT_MS) / 1000,
            grace=fields.integer(frame, "grace_ms", 2000, 0, 600_000) / 1000,
            output=fields.integer(frame, "max_output", 0),
            window=_window(frame),
        )
        self._disk.touch()
        started = time.monotonic()
        try:
            spawned = spawn(argv, environment, cwd, stdin=stdin)
        except NotStartedError as error:
            reply.send("info", {"pid": 0})
            nothing = failed(str(error))
            execution = Execution(reply, self._commands, nothing, mark, limits, started)
            execution.failed(error.status)
            return execution
        # A short command's output or end is there in a moment, and takes this along.
        reply.hold("info", {"pid": spawned.pid}, self._loop, _MOMENT)
        return Execution(reply, self._commands, spawned, mark, limits, started)

    def _signal(self, frame: Frame, reply: Reply) -> None:
        name = fields.text(frame, "signal")
        if name not in _SIGNALS:
            raise Failure("invalid", f"unknown signal {name[:40]!r}")
        execution = self._live_execution(fields.required(frame, "to"))
        execution.signal(_SIGNALS[name])
        reply.ok()

    def _read(self, frame: Frame, reply: Reply) -> Live:
        path = self._path(frame)
        offset = fields.integer(frame, "offset", 0, low=-(1 << 53))
        length = fields.optional(frame, "length")
        window = _window(frame)
        file = open_file(path)
        start = offset if offset >= 0 else max(0, file.size + offset)
        rest = max(0, file.size - start)
        size = rest if length is None else min(rest, length)
        reading = Reading(reply, self._loop, file, offset=start, length=size, window=window)
        described = info_of(self._paths, path, file.stat)
        described |= {"size": file.size, "offset": start, "length": size}
        reply.send("info", described)
        reading.guarded(reading.step)
        return reading

    def _write(self, frame: Frame, reply: Reply) -> Live:
        path = self._path(frame)
        mode = fields.optional(frame, "mode", 0, _MOST_MODE)
        size = fields.optional(frame, "size")
        data, eof = fields.data(frame), fields.boolean(frame, "eof")
        if path.endswith(b"/"):
            raise Failure("is_a_directory", "the path names a folder")
        self._disk.admit(size or 0)
        if fields.boolean(frame, "parents"):
            changes.make_parents(path)
        writing = Writing(reply, self._disk, path, mode=mode, size=size)
        if data or eof:
            writing.guarded(lambda: writing.take_input(data, eof=eof))
        return writing

    def _list(self, frame: Frame, reply: Reply) -> Live | None:
        path = self._path(frame)
        found = listing.entries(path, most=_SHORT_LIST)
        if found is None:
            return self._walk(reply, lambda job: self._list_long(job, path))
        infos = list(listing.describe_all(self._paths, found))
        for batch in listing.batches(infos):
            reply.send("items", {"items": batch})
        reply.ok({"count": len(infos)})
        return None

    def _list_long(self, job: Job, path: bytes) -> Frame:
        found = listing.entries(path, most=listing.MOST_ITEMS)
        if found is None:
            raise Failure("too_many", f"the folder has more than {listing.MOST_ITEMS} entries")
        return _send_items(job, listing.describe_all(self._paths, found))

    def _glob(self, frame: Frame, reply: Reply) -> Live:
        pattern = self._path(frame, "pattern")
        return self._walk(reply, lambda job: self._glob_all(job, pattern))

    def _glob_all(self, job: Job, pattern: bytes) -> Frame:
        from stacyvm.agent.globbing import Glob

        found = Glob(pattern, job.check).run()
        return _send_items(job, (self._paths.shown(path) for path in found))

    def _walk(self, reply: Reply, work: Callable[[Job], Frame]) -> Live:
        job = Job(reply, self._loop, work)
        self._walkers.start(job.run)
        return job

    def _stat(self, frame: Frame, reply: Reply) -> None:
        reply.ok({"info": describe(self._paths, self._path(frame))})

    def _move(self, frame: Frame, reply: Reply) -> Live | None:
        source, target = self._path(frame, "src"), self._path(frame, "dst")
        if fields.boolean(frame, "parents"):
            changes.make_parents(target)
        try:
            os.rename(source, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            return self._walk(reply, lambda job: _move_across(job, source, target))
        reply.ok()
        return None

    def _chmod(self, frame: Frame, reply: Reply) -> None:
        os.chmod(self._path(frame), fields.required(frame, "mode", 0, _MOST_MODE))
        reply.ok()

    def _mkdir(self, frame: Frame, reply: Reply) -> None:
        mode = fields.integer(frame, "mode", 0o755, 0, _MOST_MODE)
        parents = fields.boolean(frame, "parents")
        changes.make_folder(self._path(frame), mode, parents=parents)
        reply.ok()

    def _remove(self, frame: Frame, reply: Reply) -> Live | None:
        path = self._path(frame)
        missing_ok = fields.boolean(frame, "missing_ok")
        if os.path.normpath(path) == os.path.normpath(self._paths.home):
            raise Failure("permission", "the workspace itself cannot be removed")
        if fields.boolean(frame, "recursive") and os.path.isdir(path):
            return self._walk(reply, lambda job: self._remove_tree(job, path))
        self._disk.use(-changes.remove_one(path, missing_ok=missing_ok))
        reply.ok()
        return None

    def _remove_tree(self, job: Job, path: bytes) -> Frame:
        # The size is only of use under a limit, but then the next write depends on it.
        size = trees.size_of(path, job.check) if self._disk.limited else 0
        trees.remove_tree(path.rstrip(b"/"), job.check)
        self._loop.post(lambda: self._disk.use(-size))
        return {}

    def _pack(self, frame: Frame, reply: Reply) -> Live:
        path = self._path(frame)
        window = _window(frame)
        os.stat(path)  # what is missing is said before a thread is taken
        job = Job(reply, self._loop, lambda job: _pack_all(job, path), window=window)
        self._archivers.start(job.run)
        return job

    def _unpack(self, frame: Frame, reply: Reply) -> Live:
        path = self._path(frame)
        self._disk.admit(0)
        changes.make_folder(path, 0o755, parents=True)
        job = Job(reply, self._loop, lambda job: self._unpack_all(job, path))
        self._archivers.start(job.run)
        return job

    def _unpack_all(self, job: Job, path: bytes) -> Frame:
        from stacyvm.agent.unpacking import Unpacking

        return Unpacking(path, self._disk.use_in_thread).run(job.input)

    def _stats(self, _: Frame, reply: Reply) -> Live | None:
        if not self._contained:
            # Without a control group of our own the numbers would be the whole machine's.
            reply.ok(NO_STATS)
            return None
        return Sampling(reply, self._loop)

    def _tail(self, frame: Frame, reply: Reply) -> None:
        count = fields.integer(frame, "lines", 100, 0, 1_000_000)
        reply.ok({"lines": self._logs.lines(count)})

    def _path(self, frame: Frame, name: str = "path") -> bytes:
        return self._paths.real(fields.text(frame, name))

    def _live_execution(self, request_id: int) -> Execution:
        for execution in self._commands.running:
            if execution.reply.id == request_id and execution.reply.open:
                return execution
        raise Failure("invalid", f"no command is live as request {request_id}")

    def _working_directory(self, frame: Frame) -> bytes:
        wanted = frame.get("cwd") or self._paths.workspace
        cwd = self._paths.real(wanted)
        if not os.path.isdir(cwd):
            raise Failure("invalid", f"working directory {wanted!r:.200} is not a folder")
        if not os.access(cwd, os.X_OK, effective_ids=True):
            raise Failure("invalid", f"working directory {wanted!r:.200} is closed to the sandbox")
        return cwd


def _window(frame: Frame) -> int:
    return fields.integer(frame, "window", DEFAULT_WINDOW, 1, MAX_WINDOW)


def _strings(argv: object) -> list[bytes]:
    if type(argv) is not list or not 1 <= len(argv) <= _MOST_ARGUMENTS:
        raise Failure("invalid", "argv must be a list of strings with at least one")
    found = [fields.raw(value, "an argument") for value in argv]
    if not found[0]:
        raise Failure("invalid", "the name of the program is empty")
    return found


def _environment(env: object) -> dict[bytes, bytes]:
    if env is None:
        return {}
    if type(env) is not dict:
        raise Failure("invalid", "env must be an object of strings")
    found = {}
    for name, value in env.items():
        key = fields.raw(name, "a variable's name")
        if not key or b"=" in key:
            raise Failure("invalid", f"{name[:40]!r} can be no variable's name")
        found[key] = fields.raw(value, f"variable {name[:40]!r}")
    return found


def _send_items(job: Job, items: Iterator[object]) -> Frame:
    count = 0
    for batch in listing.batches(items):
        count += len(batch)
        job.items(batch)
    return {"count": count}


def _pack_all(job: Job, path: bytes) -> Frame:
    from stacyvm.agent.packing import pack

    return pack(path, job.data)


def _move_across(job: Job, source: bytes, target: bytes) -> Frame:
    trees.move_across(source, target, job.check)
    return {}
