"""Attaching to a container's stdio: an HTTP connection that becomes a byte stream.

Our own, on the event loop, because the Docker library's is blocking and has lost bytes between the
response's buffer and the socket; here one reader sees all of them.
"""

import asyncio
import contextlib
import json
import ssl
from urllib.parse import urlsplit

from docker.tls import TLSConfig
from typing_extensions import override

from stacyvm.domain.errors import ProviderError, UnavailableError
from stacyvm.providers.docker_errors import does_not_answer
from stacyvm.providers.docker_stdcopy import Demultiplexer
from stacyvm.providers.stream_pipe import READ_SIZE, StreamPipe
from stacyvm.providers.tail import Tail

_TIMEOUT = 30.0
_LARGEST_ERROR = 64 * 1024
_PORT, _TLS_PORT = 2375, 2376


class DockerPipe(StreamPipe):
    """A pipe to a container's stdin and stdout; its stderr is kept for error messages."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tail = Tail()
        super().__init__(reader, writer, tail=tail)
        self._demultiplexer = Demultiplexer(tail.feed)

    @override
    async def read(self) -> bytes:
        """Return the next bytes of stdout, or ``b""`` once the container or the engine is gone.

        Raises:
            ChannelClosedError: The engine's framing is broken.
        """
        while raw := await super().read():
            if data := self._demultiplexer.feed(raw):
                return data
        return b""


async def attach(
    container: str, *, address: str, api_version: str, tls: TLSConfig | None
) -> DockerPipe:
    """Attach to a container, created or running, and return the pipe to it.

    Raises:
        UnavailableError: The engine does not answer.
        ProviderError: It refuses.
    """
    request = (
        f"POST /v{api_version}/containers/{container}/attach"
        "?stream=1&stdin=1&stdout=1&stderr=1 HTTP/1.1\r\n"
        "Host: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n"
    )
    try:
        async with asyncio.timeout(_TIMEOUT):
            reader, writer = await _connect(address, tls)
            try:
                writer.write(request.encode("ascii"))
                await writer.drain()
                await _expect_stream(reader, container)
            except BaseException:
                writer.transport.abort()
                with contextlib.suppress(OSError):  # it is being given up already
                    await writer.wait_closed()
                raise
    except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError) as error:
        raise UnavailableError(does_not_answer(address)) from error
    return DockerPipe(reader, writer)


async def _connect(
    address: str, tls: TLSConfig | None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    url = urlsplit(address)
    limit = 2 * READ_SIZE
    if url.scheme in {"unix", "http+unix"}:
        return await asyncio.open_unix_connection(url.path, limit=limit)
    if url.scheme not in {"tcp", "http", "https"} or not url.hostname:
        raise ProviderError(f"engine address {address}: only unix:// and tcp:// can be used")
    context = await asyncio.to_thread(_tls_context, tls) if tls else None
    port = url.port or (_TLS_PORT if tls else _PORT)
    return await asyncio.open_connection(url.hostname, port, ssl=context, limit=limit)


def _tls_context(tls: TLSConfig) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=tls.ca_cert or None)
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.cert:
        context.load_cert_chain(*tls.cert)
    return context


async def _expect_stream(reader: asyncio.StreamReader, container: str) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    status = head.split(" ", 2)[1] if head.startswith("HTTP/1.") else ""
    if status in {"101", "200"}:
        return
    body = await reader.read(_LARGEST_ERROR)
    try:
        said = str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        said = head.splitlines()[0]
    raise ProviderError(f"cannot attach to {container}: {said}")
