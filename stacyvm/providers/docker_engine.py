"""The Docker library off the event loop."""

import asyncio
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Concatenate, ParamSpec, TypeVar

import docker
from docker.tls import TLSConfig
from docker.utils import kwargs_from_env

from stacyvm.providers.docker_errors import translated

_THREADS = 16
_TIMEOUT = 60  # seconds without a byte from the engine
_CONNECT_TIMEOUT = 10  # the same while asking it for its version, which costs it nothing
_LOCAL = "unix:///var/run/docker.sock"

P = ParamSpec("P")
T = TypeVar("T")


class Engine:
    """One engine. Every call runs in a small pool of threads; the first one also connects."""

    def __init__(self, docker_host: str) -> None:
        """Use the engine at ``docker_host``; empty: as Docker's own environment says."""
        settings = kwargs_from_env()
        self.address: str = docker_host or settings.get("base_url") or _LOCAL
        self.tls: TLSConfig | None = settings.get("tls")
        self._client: docker.APIClient | None = None
        self._connecting: asyncio.Future[docker.APIClient] | None = None
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="docker")

    async def call(
        self,
        method: Callable[Concatenate[docker.APIClient, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Return ``method(client, …)``, run in a thread. A cancelled caller does not stop it.

        Raises:
            docker.errors.NotFound: The engine answers 404.
            UnavailableError: It does not answer.
            InvalidRequestError: It answers 400.
            ConflictError: It answers 409.
            ProviderError: It answers any other error.
        """
        client = await self._connected()

        def work() -> T:
            with translated(self.address):
                return method(client, *args, **kwargs)

        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def api_version(self) -> str:
        """Return the negotiated version of the engine's API."""
        return str((await self._connected()).api_version)

    async def close(self) -> None:
        """Close all idle connections; what is under way closes its own when it ends."""
        client, self._client = self._client, None
        # Not waited for: a thread may wait for an engine that hangs, and nobody wants its answer.
        self._threads.shutdown(wait=False, cancel_futures=True)
        if client is not None:
            await asyncio.to_thread(client.close)

    async def _connected(self) -> docker.APIClient:
        if self._client is not None:
            return self._client
        # One attempt for all who wait: an engine that hangs makes each wait once, and not for
        # those before it; and it goes on when one of them leaves.
        if self._connecting is None:
            loop = asyncio.get_running_loop()
            self._connecting = loop.run_in_executor(self._threads, self._connect)
            self._connecting.add_done_callback(self._connection_ended)
        return await asyncio.shield(self._connecting)

    def _connection_ended(self, attempt: "asyncio.Future[docker.APIClient]") -> None:
        self._connecting = None
        if not attempt.cancelled() and attempt.exception() is None:
            self._client = attempt.result()

    def _connect(self) -> docker.APIClient:
        options: dict[str, Any] = {"tls": self.tls} if self.tls else {}
        with translated(self.address):
            self._knock()
            client = docker.APIClient(
                base_url=self.address,
                version="auto",
                timeout=_CONNECT_TIMEOUT,
                max_pool_size=_THREADS,
                **options,
            )
        client.timeout = _TIMEOUT
        return client

    def _knock(self) -> None:
        """Connect once by ourselves: the library leaves its socket open when it finds nobody."""
        path = self.address.removeprefix("unix://")
        if path != self.address:
            with socket.socket(socket.AF_UNIX) as knocking:
                knocking.settimeout(_CONNECT_TIMEOUT)
                knocking.connect(path)
