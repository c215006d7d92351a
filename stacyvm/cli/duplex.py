"""A command's stdin and output at the same time, over one HTTP exchange.

The SDK's HTTP client sends the whole body before it reads the answer; a command that answers while
it reads (``cat``, a REPL) would stand still once the pipes between are full. aiohttp does both at
once, so this one case is done with it; what the lines mean is the SDK's business all the same.
"""

import asyncio
import json
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from stacyvm_sdk._wire import executions
from stacyvm_sdk.exceptions import ConnectionError as NoConnectionError
from stacyvm_sdk.exceptions import StreamInterrupted, make_error
from stacyvm_sdk.models import ExecOutcome
from stacyvm_sdk.streaming import StreamChunk

from stacyvm.cli.connection import Connection
from stacyvm.cli.streams import Output

# A proxy named in the environment cannot reach this machine's own loopback.
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_CHUNK = 64 * 1024
_AHEAD = 4  # chunks read from stdin before the server has taken them


async def run_duplex(
    connection: Connection, sandbox_id: str, run: dict[str, Any], source: int, output: Output
) -> ExecOutcome:
    """Run a command with its stdin read from the descriptor ``source``.

    Leaving early, by an error or Ctrl-C, closes the connection, and the server kills the command.

    Raises:
        StacyVMError: As ``exec_stream`` of the SDK.
        BrokenPipeError: Nobody reads our output any more.
    """
    body = _body(executions.request(**run) | {"stream": True}, Stdin(source))
    # No limit in all, as a command may run long; a silent server still sends heartbeats.
    patience = aiohttp.ClientTimeout(
        total=None, sock_connect=10, sock_read=executions.STREAM_SILENCE
    )
    target = f"{connection.url.rstrip('/')}/api/v1/sandboxes/{sandbox_id}/exec"
    answered = False
    try:
        async with (
            aiohttp.ClientSession(
                timeout=patience,
                headers=connection.headers(),
                trust_env=urlsplit(connection.url).hostname not in _LOOPBACK,
            ) as session,
            session.post(target, data=body) as response,
        ):
            answered = True
            try:
                return await _read(response, output)
            finally:
                # Closed rather than released: a release waits until all of stdin is sent, and
                # stdin may never end.
                response.close()
    except (aiohttp.ClientError, TimeoutError) as error:
        if answered:
            raise StreamInterrupted(f"the stream broke off: {error}") from error
        raise NoConnectionError(str(error) or type(error).__name__) from error


async def _read(response: aiohttp.ClientResponse, output: Output) -> ExecOutcome:
    if not response.ok:
        raise _error(response, await response.read())
    reader = executions.EventReader()
    async for data in response.content.iter_any():
        for chunk in reader.feed(data):
            # In a thread, as whoever reads our output may be slow, and stdin has to go on.
            await _in_daemon(output.write, chunk)
        if reader.outcome is not None:
            return reader.outcome
    reader.finish()
    raise AssertionError("finish() raises where there is no outcome")


def _error(response: aiohttp.ClientResponse, body: bytes) -> Exception:
    try:
        envelope = json.loads(body)
    except ValueError:  # a proxy's page
        envelope = None
    if not isinstance(envelope, dict):
        envelope = {"message": body.decode(errors="replace")[:500]}
    return make_error(envelope, status=response.status)


async def _body(run: dict[str, Any], stdin: "Stdin") -> AsyncIterator[bytes]:
    yield executions.head(run, stdin=True)
    async for chunk in stdin:
        yield chunk


async def _in_daemon(function: Callable[[StreamChunk], None], chunk: StreamChunk) -> None:
    """Run a blocking function in a thread that cannot keep the process from ending.

    The loop's own threads would: Ctrl-C has to work while ``less`` does not take our output.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def settle(error: Exception | None) -> None:
        if done.cancelled():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def work() -> None:
        error: Exception | None = None
        try:
            function(chunk)
        except OSError as failure:
            error = failure
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, error)

    threading.Thread(target=work, name="output", daemon=True).start()
    await done


class Stdin:
    """Iterates over a descriptor's bytes until its end, of whatever kind the descriptor is.

    The event loop cannot wait for a regular file, and making a shared terminal non-blocking would
    outlive us, so a thread reads. It is a daemon: a read that never returns must not keep the
    process from ending.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._chunks: asyncio.Queue[bytes] = asyncio.Queue()
        self._room = threading.Semaphore(_AHEAD)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield chunks as they come."""
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._pump, args=(loop,), name="stdin", daemon=True).start()
        while chunk := await self._chunks.get():
            yield chunk
            self._room.release()

    def _pump(self, loop: asyncio.AbstractEventLoop) -> None:
        while True:
            self._room.acquire()
            try:
                chunk = os.read(self._descriptor, _CHUNK)
            except OSError:  # such as EIO of a terminal that is gone: nothing more comes
                chunk = b""
            try:
                loop.call_soon_threadsafe(self._chunks.put_nowait, chunk)
            except RuntimeError:  # the loop is closed: the command has ended
                return
            if not chunk:
                return
