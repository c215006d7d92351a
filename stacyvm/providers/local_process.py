"""An agent that is a child process of the server, behind a socket pair."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from typing_extensions import override

from stacyvm.domain.errors import ProviderError
from stacyvm.providers.stream_pipe import READ_SIZE, StreamPipe
from stacyvm.providers.tail import Tail

_PATIENCE = 5.0  # seconds to wait for the end of a process that was killed


class _Watch(asyncio.SubprocessProtocol):
    def __init__(self, tail: Tail) -> None:
        self.exited = asyncio.Event()
        self._tail = tail

    @override
    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self._tail.feed(data)

    @override
    def process_exited(self) -> None:
        self.exited.set()


class AgentProcess:
    """One running agent. The socket stays open between pipes, so the agent outlives each."""

    def __init__(
        self, transport: asyncio.SubprocessTransport, watch: _Watch, sock: socket.socket, tail: Tail
    ) -> None:
        self._transport = transport
        self._watch = watch
        self._socket = sock
        self._tail = tail
        self._pipe: StreamPipe | None = None

    @classmethod
    async def start(
        cls, command: Sequence[str], *, env: Mapping[str, str], cwd: Path
    ) -> "AgentProcess":
        """Start ``command`` in a session of its own with exactly ``env``.

        Raises:
            ProviderError: It cannot be started.
        """
        tail = Tail()
        ours, theirs = socket.socketpair()
        starting = asyncio.ensure_future(
            asyncio.get_running_loop().subprocess_exec(
                lambda: _Watch(tail),
                *command,
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=asyncio.subprocess.PIPE,
                env=env,
                cwd=cwd,
                start_new_session=True,
            )
        )
        try:
            # asyncio's own way of taking back a start can wait for ever: for the end of a pipe
            # that a grandchild still holds.
            transport, watch = await asyncio.shield(starting)
        except OSError as error:
            ours.close()
            raise ProviderError(f"cannot start the agent: {error}") from error
        except BaseException:
            ours.close()
            await _take_back(starting)
            raise
        finally:
            if starting.done():
                theirs.close()
            else:
                starting.add_done_callback(lambda _: theirs.close())
        return cls(transport, watch, ours, tail)

    @property
    def pid(self) -> int:
        """The process's id, valid as long as it runs."""
        return self._transport.get_pid()

    @property
    def exit_code(self) -> int | None:
        """None while it runs, then its exit status, or 128 + n after signal n."""
        code = self._transport.get_returncode()
        return 128 - code if code is not None and code < 0 else code

    async def attach(self) -> StreamPipe:
        """Return a new pipe; the one before is closed."""
        if self._pipe is not None:
            await self._pipe.close()
        sock = self._socket.dup()
        sock.setblocking(False)
        try:
            reader, writer = await asyncio.open_connection(sock=sock, limit=2 * READ_SIZE)
        except BaseException:
            sock.close()
            raise
        self._pipe = StreamPipe(reader, writer, tail=self._tail)
        return self._pipe

    def kill(self) -> None:
        """Send SIGKILL to the process and its group, unless it has ended."""
        _kill(self._transport)

    async def wait(self) -> None:
        """Wait until the process has exited."""
        await self._watch.exited.wait()

    async def close(self) -> None:
        """Let go of everything; the process must have exited."""
        if self._pipe is not None:
            await self._pipe.close()
        self._socket.close()
        self._transport.close()


async def _take_back(
    starting: "asyncio.Future[tuple[asyncio.SubprocessTransport, _Watch]]",
) -> None:
    """End a process whose start was cancelled, as soon as there is one."""
    await asyncio.wait([starting])
    if starting.cancelled() or starting.exception() is not None:
        return
    transport, watch = starting.result()
    _kill(transport)
    transport.close()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_PATIENCE):
            await watch.exited.wait()


def _kill(transport: asyncio.SubprocessTransport) -> None:
    """Kill the process and all of its group.

    A cage that is killed in its first moment leaves a child that waits for it for ever, still in
    the same group.
    """
    if transport.get_returncode() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(transport.get_pid(), signal.SIGKILL)
