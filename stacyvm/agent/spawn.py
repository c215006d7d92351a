"""Starting a process."""

from __future__ import annotations

import errno
import os
import signal

from stacyvm.agent.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

NOT_FOUND = 127
NOT_EXECUTABLE = 126

# The guest's processes go first when memory runs out, so that the agent lives to tell of it.
_OOM_SCORE = b"500"
# Python ignores these; what it starts should not.
_IGNORED = (signal.SIGPIPE, signal.SIGXFSZ)
_NO_MORE = {errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE}


class Spawned:
    """A started process, and the agent's ends of its pipes; -1 where there is none."""

    __slots__ = ("pid", "stderr", "stdin", "stdout")

    def __init__(self, pid: int, stdin: int, stdout: int, stderr: int) -> None:
        self.pid = pid  # 0: nothing was started
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr


class NotStartedError(Exception):
    """There is no such program, or it cannot be run; as a shell would say and count it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def spawn(argv: list[bytes], env: dict[bytes, bytes], cwd: bytes, *, stdin: bool) -> Spawned:
    """Start ``argv`` in a session of its own, stdin at ``/dev/null`` unless wanted.

    Raises:
        NotStartedError: The program is missing (127) or not executable (126).
        Failure: The system has no room for another process, or for such a long command line.
    """
    ours: list[int] = []
    theirs: list[int] = []
    try:
        stdin_pipe = _pipe(ours, theirs, reader_is_ours=False) if stdin else None
        stdout_pipe = _pipe(ours, theirs, reader_is_ours=True)
        stderr_pipe = _pipe(ours, theirs, reader_is_ours=True)
        pid = _start(argv, env, cwd, stdin_pipe, stdout_pipe[1], stderr_pipe[1])
    except BaseException as error:
        for fd in ours:
            os.close(fd)
        if isinstance(error, OSError):
            raise _explain(error, argv[0]) from error
        raise
    finally:
        for fd in theirs:
            os.close(fd)
    _give_up_first(pid)
    return Spawned(pid, stdin_pipe[1] if stdin_pipe else -1, stdout_pipe[0], stderr_pipe[0])


def failed(message: str) -> Spawned:
    """Return what stands for a process that was not started: its stderr holds why."""
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    os.write(writer, message.encode("utf-8", "surrogateescape")[:4000] + b"\n")
    os.close(writer)
    return Spawned(0, -1, -1, reader)


def _pipe(ours: list[int], theirs: list[int], *, reader_is_ours: bool) -> tuple[int, int]:
    reader, writer = os.pipe2(os.O_CLOEXEC)
    ours.append(reader if reader_is_ours else writer)
    theirs.append(writer if reader_is_ours else reader)
    os.set_blocking(ours[-1], False)
    return reader, writer


def _start(
    argv: list[bytes],
    env: dict[bytes, bytes],
    cwd: bytes,
    stdin: tuple[int, int] | None,
    stdout: int,
    stderr: int,
) -> int:
    null = (os.POSIX_SPAWN_OPEN, 0, b"/dev/null", os.O_RDONLY, 0)
    actions = [
        (os.POSIX_SPAWN_DUP2, stdin[0], 0) if stdin else null,
        (os.POSIX_SPAWN_DUP2, stdout, 1),
        (os.POSIX_SPAWN_DUP2, stderr, 2),
    ]
    # A child inherits the folder its parent is in; the agent's other threads use absolute paths.
    os.chdir(cwd)
    try:
        return _first_that_starts(argv, env, actions)
    finally:
        os.chdir("/")


def _first_that_starts(
    argv: list[bytes], env: dict[bytes, bytes], actions: Sequence[tuple[object, ...]]
) -> int:
    """Start the first of the programs that ``argv[0]`` may mean, as ``execvp`` does."""
    refusal: OSError = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    for program in _candidates(argv[0], env):
        try:
            # All descriptors of the agent close themselves on exec.
            return os.posix_spawn(
                program, argv, env, file_actions=actions, setsid=True, setsigdef=_IGNORED
            )
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError as error:
            refusal = error  # a later folder may hold one that can be run
    raise refusal


def _candidates(name: bytes, env: dict[bytes, bytes]) -> list[bytes]:
    if b"/" in name:
        return [name]
    folders = env.get(b"PATH", os.fsencode(os.defpath)).split(b":")
    found = [os.path.join(folder, name) for folder in folders]
    return [program for program in found if os.access(program, os.F_OK)]


def _give_up_first(pid: int) -> None:
    try:
        fd = os.open(f"/proc/{pid}/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return  # it ended already, or belongs to another user (a setuid program)
    try:
        os.write(fd, _OOM_SCORE)
    except OSError:
        return
    finally:
        os.close(fd)


def _explain(error: OSError, program: bytes) -> Exception:
    name = program.decode("utf-8", "surrogateescape")[:200]
    if error.errno == errno.E2BIG:
        return Failure("invalid", "the arguments and the environment are too long together")
    if error.errno in _NO_MORE:
        return Failure("busy", f"no room for another process: {error.strerror}")
    if error.errno in {errno.ENOENT, errno.ENOTDIR}:
        return NotStartedError(NOT_FOUND, f"{name}: not found")
    return NotStartedError(NOT_EXECUTABLE, f"{name}: {error.strerror}")
