"""The client, for synchronous code."""

import builtins
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, Unpack, overload

import httpx

from stacyvm_sdk._http import NO_PROXY, options, run
from stacyvm_sdk._wire import sandboxes, server
from stacyvm_sdk.models import (
    Duration,
    QuotaSummary,
    SandboxInfo,
    SpawnAdmissionDecision,
    SpawnOptions,
)
from stacyvm_sdk.sandbox import Sandbox
from stacyvm_sdk.templates import TemplateManager

T = TypeVar("T")


class Client:
    """A connection to a stacyvm server.

    ::

        with Client() as client, client.with_sandbox() as sandbox:
            print(sandbox.exec("echo hello").stdout)

    Leaving the block closes the connection; sandboxes live on until they are destroyed or expire.
    Nothing is ever tried twice. A client may be used from several threads.

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
        self._http = httpx.Client(**made, mounts=NO_PROXY)
        self.templates = TemplateManager(self._http)

    def spawn(
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
    ) -> Sandbox:
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
        return self._sandbox(run(self._http, made))

    @overload
    def with_sandbox(
        self, callback: None = None, /, **spawn: Unpack[SpawnOptions]
    ) -> AbstractContextManager[Sandbox]: ...

    @overload
    def with_sandbox(
        self, callback: Callable[[Sandbox], T], /, **spawn: Unpack[SpawnOptions]
    ) -> T: ...

    def with_sandbox(
        self, callback: Callable[[Sandbox], T] | None = None, /, **spawn: Unpack[SpawnOptions]
    ) -> AbstractContextManager[Sandbox] | T:
        """Spawn a sandbox for a block or a function, and destroy it however that ends.

        Args:
            callback: Called with the sandbox; its result is returned. Without it the answer is a
                context manager that gives the sandbox.
            spawn: As for ``spawn``.
        """
        if callback is None:
            return self._spawned(spawn)
        sandboxes.check_callback(callback)
        with self.spawn(**spawn) as sandbox:
            return callback(sandbox)

    def admission(
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
        return run(self._http, made)

    def get(self, sandbox_id: str) -> Sandbox:
        """Return a live sandbox.

        Raises:
            SandboxNotFound: It is unknown, or has ended.
        """
        return self._sandbox(run(self._http, sandboxes.get(sandbox_id)))

    def list(self) -> builtins.list[SandboxInfo]:
        """List the live sandboxes, newest first."""
        return run(self._http, sandboxes.fetch_all())

    def spawn_template(self, template_name: str) -> Sandbox:
        """Create a sandbox from a template."""
        return self._sandbox(run(self._http, server.spawn_template(template_name)))

    def prune(self) -> int:
        """Destroy the sandboxes that have expired, and return how many."""
        return run(self._http, sandboxes.prune())

    def pool_status(self) -> dict[str, Any]:
        """Return the state of pool mode."""
        return run(self._http, server.pool_status())

    def quota_summary(self) -> QuotaSummary:
        """Return how many owners have quotas."""
        return run(self._http, server.quota_summary())

    def health(self) -> dict[str, Any]:
        """Return the server's health: ``status``, ``uptime``, ``version``."""
        return run(self._http, server.health())

    def providers(self) -> builtins.list[dict[str, Any]]:
        """List the providers with their health."""
        return run(self._http, server.providers())

    def close(self) -> None:
        """Close the connection. Sandboxes live on."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client(base_url={str(self._http.base_url)!r})"

    def _sandbox(self, info: sandboxes.Info) -> Sandbox:
        return Sandbox(self._http, info["id"], info)

    @contextmanager
    def _spawned(self, spawn: SpawnOptions) -> Iterator[Sandbox]:
        with self.spawn(**spawn) as sandbox:
            yield sandbox


@overload
def with_sandbox(
    callback: None = None,
    /,
    *,
    base_url: str | None = None,
    api_key: str | None = None,
    user_id: str | None = None,
    **spawn: Unpack[SpawnOptions],
) -> AbstractContextManager[Sandbox]: ...


@overload
def with_sandbox(
    callback: Callable[[Sandbox], T],
    /,
    *,
    base_url: str | None = None,
    api_key: str | None = None,
    user_id: str | None = None,
    **spawn: Unpack[SpawnOptions],
) -> T: ...


def with_sandbox(
    callback: Callable[[Sandbox], T] | None = None,
    /,
    *,
    base_url: str | None = None,
    api_key: str | None = None,
    user_id: str | None = None,
    **spawn: Unpack[SpawnOptions],
) -> AbstractContextManager[Sandbox] | T:
    """Connect, spawn a sandbox for a block or a function, and take both away after it.

    The arguments are those of :class:`Client` and of ``Client.with_sandbox``.
    """
    connection = Client(base_url, api_key, user_id)
    if callback is None:
        return _connected(connection, spawn)
    with connection as client:
        return client.with_sandbox(callback, **spawn)


@contextmanager
def _connected(connection: Client, spawn: SpawnOptions) -> Iterator[Sandbox]:
    with connection as client, client.with_sandbox(**spawn) as sandbox:
        yield sandbox
