"""The client, for asynchronous code."""

import builtins
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, Unpack, overload

import httpx

from stacyvm_sdk._http import NO_PROXY, options, run_async
from stacyvm_sdk._wire import sandboxes, server
from stacyvm_sdk.async_sandbox import AsyncSandbox
from stacyvm_sdk.models import (
    Duration,
    QuotaSummary,
    SandboxInfo,
    SpawnAdmissionDecision,
    SpawnOptions,
)
from stacyvm_sdk.templates import AsyncTemplateManager

T = TypeVar("T")


class AsyncClient:
    """A connection to a stacyvm server.

    ::

        async with AsyncClient() as client, client.with_sandbox() as sandbox:
            print((await sandbox.exec("echo hello")).stdout)

    Leaving the block closes the connection; sandboxes live on until they are destroyed or expire.
    Nothing is ever tried twice. A client belongs to the event
    loop it is first used in.

    Args:
        base_url: Address of the server. None: ``STACYVM_URL``, else ``http://localhost:7423``.
        api_key: Key the server asks for. None: ``STACYVM_API_KEY``, else no key.
        user_id: Act as this owner: only its own sandboxes are seen.
        timeout: Seconds to wait for a connection and for each answer, None for ever. Spawns,
            commands and uploads may rightly take longer, and are waited for longer.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        user_id: str | None = None,
        timeout: float | None = 30.0,
    ) -> None:
        made = options(base_url, api_key, user_id, timeout)
        self._http = httpx.AsyncClient(**made, mounts=NO_PROXY)
        self.templates = AsyncTemplateManager(self._http)

    async def spawn(
        self,
        image: str | None = None,
        provider: str | None = None,
        memory_mb: int | None = None,
        vcpus: int | None = None,
        ttl: Duration | None = None,
        owner_id: str | None = None,
        template: str | None = None,
        metadata: Mapping[str, str] | None = None,
        *,
        env: Mapping[str, str] | None = None,
        network: Literal["none", "open"] | None = None,
        runtime: str | None = None,
        workspace: Literal["disk", "memory"] | None = None,
        disk_mb: int | None = None,
        read_only: bool = False,
    ) -> AsyncSandbox:
        """Create a sandbox and return it running. What is not given is the server's default.

        Args:
            image: Image to run.
            provider: ``docker`` or ``local``.
            memory_mb: Memory limit, in MiB.
            vcpus: Processors.
            ttl: How long it lives unless extended.
            owner_id: Who owns it; the client's ``user_id`` comes first.
            template: Template to start from.
            metadata: Kept with the record.
            env: Variables of every command; never kept in the record.
            network: ``none``, or ``open`` for a network of its own.
            runtime: Container runtime, such as ``runsc`` for gVisor.
            workspace: ``disk``, or ``memory`` with a hard size limit.
            disk_mb: Size limit of the workspace, in MiB; 0 is none.
            read_only: Nothing but the workspace and ``/tmp`` can be written.

        Raises:
            ImageNotFound: The image is not there and cannot be pulled.
            LimitExceeded: A limit on number, size or time is reached.
            StacyVMError: Any other error, see :mod:`stacyvm_sdk.exceptions`.
        """
        made = sandboxes.spawn(
            image=image,
            provider=provider,
            memory_mb=memory_mb,
            vcpus=vcpus,
            ttl=ttl,
            owner_id=owner_id,
            template=template,
            metadata=metadata,
            env=env,
            network=network,
            runtime=runtime,
            workspace=workspace,
            disk_mb=disk_mb,
            read_only=read_only,
        )
        return self._sandbox(await run_async(self._http, made))

    @overload
    def with_sandbox(
        self, callback: None = None, /, **spawn: Unpack[SpawnOptions]
    ) -> AbstractAsyncContextManager[AsyncSandbox]: ...

    @overload
    def with_sandbox(
        self, callback: Callable[[AsyncSandbox], Awaitable[T]], /, **spawn: Unpack[SpawnOptions]
    ) -> Coroutine[Any, Any, T]: ...

    def with_sandbox(
        self,
        callback: Callable[[AsyncSandbox], Awaitable[T]] | None = None,
        /,
        **spawn: Unpack[SpawnOptions],
    ) -> AbstractAsyncContextManager[AsyncSandbox] | Coroutine[Any, Any, T]:
        """Spawn a sandbox for a block or a function, and destroy it however that ends.

        Args:
            callback: Awaited with the sandbox; its result is returned. Without it the answer is
                an async context manager that gives the sandbox.
            spawn: As for ``spawn``.
        """
        if callback is None:
            return self._spawned(spawn)
        sandboxes.check_callback(callback)
        return self._call_with(callback, spawn)

    async def admission(
        self,
        image: str | None = None,
        provider: str | None = None,
        memory_mb: int | None = None,
        vcpus: int | None = None,
        ttl: Duration | None = None,
        owner_id: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> SpawnAdmissionDecision:
        """Ask whether a spawn would be admitted now, without spawning."""
        made = sandboxes.admission(
            image=image,
            provider=provider,
            memory_mb=memory_mb,
            vcpus=vcpus,
            ttl=ttl,
            owner_id=owner_id,
            metadata=metadata,
        )
        return await run_async(self._http, made)

    async def get(self, sandbox_id: str) -> AsyncSandbox:
        """Return a live sandbox.

        Raises:
            SandboxNotFound: It is unknown, or has ended.
        """
        return self._sandbox(await run_async(self._http, sandboxes.get(sandbox_id)))

    async def list(self) -> builtins.list[SandboxInfo]:
        """List the live sandboxes, newest first."""
        return await run_async(self._http, sandboxes.fetch_all())

    async def spawn_template(self, template_name: str) -> AsyncSandbox:
        """Create a sandbox from a template."""
        return self._sandbox(await run_async(self._http, server.spawn_template(template_name)))

    async def prune(self) -> int:
        """Destroy the sandboxes that have expired, and return how many."""
        return await run_async(self._http, sandboxes.prune())

    async def pool_status(self) -> dict[str, Any]:
        """Return the state of pool mode."""
        return await run_async(self._http, server.pool_status())

    async def quota_summary(self) -> QuotaSummary:
        """Return how many owners have quotas."""
        return await run_async(self._http, server.quota_summary())

    async def health(self) -> dict[str, Any]:
        """Return the server's health: ``status``, ``uptime``, ``version``."""
        return await run_async(self._http, server.health())

    async def providers(self) -> builtins.list[dict[str, Any]]:
        """List the providers with their health."""
        return await run_async(self._http, server.providers())

    async def close(self) -> None:
        """Close the connection. Sandboxes live on."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"AsyncClient(base_url={str(self._http.base_url)!r})"

    def _sandbox(self, info: sandboxes.Info) -> AsyncSandbox:
        return AsyncSandbox(self._http, info["id"], info)

    @asynccontextmanager
    async def _spawned(self, spawn: SpawnOptions) -> AsyncIterator[AsyncSandbox]:
        async with await self.spawn(**spawn) as sandbox:
            yield sandbox

    async def _call_with(
        self, callback: Callable[[AsyncSandbox], Awaitable[T]], spawn: SpawnOptions
    ) -> T:
        async with await self.spawn(**spawn) as sandbox:
            return await callback(sandbox)
