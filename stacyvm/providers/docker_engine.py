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
        self._connecting = asyncio.Lock()
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
        """Close all connections, once what is under way has ended."""
        client, self._client = self._client, None
        await asyncio.to_thread(self._threads.shutdown)
        if client is not None:
            await asyncio.to_thread(client.close)

    async def _connected(self) -> docker.APIClient:
        async with self._connecting:
            if self._client is None:
                loop = asyncio.get_running_loop()
                self._client = await loop.run_in_executor(self._threads, self._connect)
            return self._client

    def _connect(self) -> docker.APIClient:
        options: dict[str, Any] = {"tls": self.tls} if self.tls else {}
        with translated(self.address):
            self._knock()
            return docker.APIClient(
                base_url=self.address,
                version="auto",
                timeout=_TIMEOUT,
                max_pool_size=_THREADS,
                **options,
            )

    def _knock(self) -> None:
        """Connect once by ourselves: the library leaves its socket open when it finds nobody."""
        path = self.address.removeprefix("unix://")
        if path != self.address:
            with socket.socket(socket.AF_UNIX) as knocking:
                knocking.settimeout(_TIMEOUT)
                knocking.connect(path)
