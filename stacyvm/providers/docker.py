"""Sandboxes as hardened containers of a Docker engine."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar

from docker import APIClient
from docker.errors import NotFound

from stacyvm.domain.errors import (
    ConflictError,
    InvalidRequestError,
    ProviderError,
    StacyError,
)
from stacyvm.domain.pipe import Pipe
from stacyvm.domain.sandbox import SandboxSpec
from stacyvm.providers.base import BASE_CAPABILITIES, Found, Health
from stacyvm.providers.docker_attach import DockerPipe, attach
from stacyvm.providers.docker_engine import Engine
from stacyvm.providers.docker_found import from_inspection, from_listing
from stacyvm.providers.docker_images import Puller, with_tag
from stacyvm.providers.docker_network import OpenNetwork
from stacyvm.providers.docker_spec import AGENT_DIR, container_config
from stacyvm.providers.docker_volume import AGENT_IMAGE, AgentVolumes

_GONE_TIMEOUT = 30.0
_HEALTH_TIMEOUT = 5.0
_REMOVE_TRIES = 3

T = TypeVar("T")


class DockerProvider:
    """Containers of one engine that carry this instance's label, and no others."""

    def __init__(
        self,
        *,
        instance: str,
        docker_host: str = "",
        pull_timeout: float = 300.0,
        runtimes: Sequence[str] = (),
        agent_image: str = AGENT_IMAGE,
    ) -> None:
        """Use an engine; nothing is sent to it yet.

        Args:
            instance: This server's identity, a label on all it makes.
            docker_host: Engine address; empty: as Docker's own environment says.
            pull_timeout: Longest time to pull an image that is not here, in seconds.
            runtimes: Container runtimes a sandbox may ask for.
            agent_image: Image with the agent's files and labels.
        """
        self._instance = instance
        self._runtimes = tuple(runtimes)
        self._engine = Engine(docker_host)
        self._puller = Puller(self._engine, timeout=pull_timeout)
        self._volumes = AgentVolumes(self._engine, image=agent_image)
        self._network = OpenNetwork(self._engine, instance=instance)
        self._quota: bool | None = None  # None until the engine was asked
        self._under_way: dict[str, asyncio.Task[Any]] = {}
        self._pipes: dict[str, DockerPipe] = {}
        self._created: set[str] = set()

    @property
    def name(self) -> str:
        """``docker``."""
        return "docker"

    @property
    def capabilities(self) -> tuple[str, ...]:
        """What ``GET /providers`` lists."""
        return (*BASE_CAPABILITIES, "runtime_inventory", "container")

    @property
    def config(self) -> dict[str, str]:
        """Where the engine is and what may be asked of it."""
        return {
            "address": self._engine.address,
            "runtimes": ", ".join(self._runtimes),
            "disk": "hard limit" if self._quota else "soft limit",
        }

    async def create(self, spec: SandboxSpec) -> None:
        """Create the container, pulling its image if it is not here.

        Raises:
            ImageNotFoundError: The image is not here and cannot be pulled.
            InvalidRequestError: The engine refuses the spec.
            ConflictError: There is a container of that name.
            UnavailableError: The engine does not answer.
            ProviderError: Anything else the engine says.
        """
        if spec.runtime and spec.runtime not in self._runtimes:
            known = ", ".join(self._runtimes) or "none"
            raise InvalidRequestError(f'unknown runtime "{spec.runtime}" (allowed: {known})')
        if self._quota is None:
            self._quota = await self._engine.call(_may_have_quota)
        image = with_tag(spec.image)
        config = container_config(
            spec,
            image=image,
            instance=self._instance,
            volume=await self._volumes.get(),
            network=await self._network.get() if spec.network == "open" else "none",
            quota=self._quota,
        )
        self._created.add(spec.id)
        try:
            await self._create(spec.id, config)
        except NotFound:
            await self._puller.pull(image)
            await self._create(spec.id, config)
        except StacyError as error:
            if not (self._quota and "storage-opt" in error.message.lower()):
                raise
            self._quota = False  # it looked as if it could, and cannot
            await self.create(spec)

    async def start(self, sandbox_id: str) -> Pipe:
        """Attach to the created container, then start it.

        Raises:
            ProviderError: There is no such container, or it cannot be started.
            UnavailableError: The engine does not answer.
        """
        pipe = await self._attach(sandbox_id)
        try:
            await self._finish(sandbox_id, self._engine.call(APIClient.start, sandbox_id))
        except BaseException as error:
            await pipe.close()
            if isinstance(error, NotFound | InvalidRequestError):
                # The command is ours: it is the agent's volume that has something missing.
                self._volumes.doubt()
                raise ProviderError(f"cannot start {sandbox_id}: {error}") from error
            raise
        return pipe

    async def attach(self, sandbox_id: str) -> Pipe:
        """Return a new pipe to a running container's agent; this server's former one is closed.

        Raises:
            ProviderError: It is not running.
            UnavailableError: The engine does not answer.
        """
        found = await self.find(sandbox_id)
        if found is None or not found.running:
            raise ProviderError(f"sandbox {sandbox_id} is not running")
        return await self._attach(sandbox_id)

    async def remove(self, sandbox_id: str) -> None:
        """Kill and remove the container at once, and wait until it is gone. Idempotent.

        Raises:
            UnavailableError: The engine does not answer.
            ProviderError: It cannot remove the container.
        """
        # A call that was given up goes on in its thread, and may yet create what is to be removed.
        if task := self._under_way.get(sandbox_id):
            await asyncio.wait([task])
        if pipe := self._pipes.pop(sandbox_id, None):
            if f"exec {AGENT_DIR}/" in pipe.last_words():
                self._volumes.doubt()  # the container's init did not find the agent
            await pipe.close()
        if sandbox_id not in self._created and await self.find(sandbox_id) is None:
            return
        await self._remove(sandbox_id)
        self._created.discard(sandbox_id)

    async def list(self) -> list[Found]:
        """Return this instance's containers; those that ended with how they ended."""
        label = f"stacyvm.instance={self._instance}"
        listing = await self._engine.call(
            APIClient.containers, all=True, filters={"label": [label, "stacyvm.sandbox"]}
        )
        running = [from_listing(body) for body in listing if body["State"] == "running"]
        ended = [
            body["Labels"]["stacyvm.sandbox"] for body in listing if body["State"] != "running"
        ]
        found = await asyncio.gather(*(self.find(sandbox_id) for sandbox_id in ended))
        return [*running, *(one for one in found if one is not None)]

    async def find(self, sandbox_id: str) -> Found | None:
        """Return one of this instance's sandboxes, or None."""
        try:
            body = await self._engine.call(APIClient.inspect_container, sandbox_id)
        except NotFound:
            return None
        return from_inspection(body, instance=self._instance)

    async def healthy(self) -> Health:
        """Ping the engine. Never raises."""
        start = time.monotonic()
        error = ""
        try:
            async with asyncio.timeout(_HEALTH_TIMEOUT):
                await self._engine.call(APIClient.ping)
        except TimeoutError:
            error = f"Docker engine at {self._engine.address} is slower than {_HEALTH_TIMEOUT:g}s"
        except (NotFound, StacyError) as failure:
            error = str(failure)
        return Health(healthy=not error, latency=time.monotonic() - start, error=error)

    async def close(self) -> None:
        """Let go of all connections; containers stay."""
        await self._puller.close()
        for pipe in self._pipes.values():
            await pipe.close()
        self._pipes.clear()
        if self._under_way:
            await asyncio.wait([*self._under_way.values()])
        await self._network.close()
        await self._engine.close()

    async def _create(self, sandbox_id: str, config: dict[str, Any]) -> None:
        await self._finish(sandbox_id, self._engine.call(_create, config, sandbox_id))

    async def _attach(self, sandbox_id: str) -> DockerPipe:
        if former := self._pipes.pop(sandbox_id, None):
            await former.close()
        pipe = await attach(
            sandbox_id,
            address=self._engine.address,
            api_version=await self._engine.api_version(),
            tls=self._engine.tls,
        )
        self._pipes[sandbox_id] = pipe
        return pipe

    async def _finish(self, sandbox_id: str, work: Awaitable[T]) -> T:
        """Await ``work``, which goes on when the caller is cancelled; ``remove`` waits for it."""
        task = asyncio.ensure_future(work)
        self._under_way[sandbox_id] = task
        task.add_done_callback(lambda ended: self._ended(sandbox_id, ended))
        return await asyncio.shield(task)

    def _ended(self, sandbox_id: str, task: "asyncio.Task[Any]") -> None:
        if self._under_way.get(sandbox_id) is task:
            del self._under_way[sandbox_id]
        if not task.cancelled():
            task.exception()  # its caller may have gone

    async def _remove(self, sandbox_id: str) -> None:
        for attempt in range(_REMOVE_TRIES):
            try:
                await self._engine.call(APIClient.remove_container, sandbox_id, v=True, force=True)
            except NotFound:
                return
            except ConflictError:  # somebody else's removal is under way
                await self._wait_gone(sandbox_id)
            except ProviderError:
                if attempt + 1 == _REMOVE_TRIES:
                    raise
                await asyncio.sleep(0.2)
            else:
                return

    async def _wait_gone(self, sandbox_id: str) -> None:
        with contextlib.suppress(NotFound):
            async with asyncio.timeout(_GONE_TIMEOUT):
                while True:
                    await self._engine.call(APIClient.inspect_container, sandbox_id)
                    await asyncio.sleep(0.05)


def _create(client: APIClient, config: dict[str, Any], name: str) -> None:
    client.create_container_from_config(config, name)  # type: ignore[no-untyped-call]


def _may_have_quota(client: APIClient) -> bool:
    """Tell whether the engine's storage may be able to limit the size of a container's layer."""
    info = client.info()
    facts = dict(fact for fact in info.get("DriverStatus") or [] if len(fact) == 2)
    return info.get("Driver") == "overlay2" and facts.get("Backing Filesystem") == "xfs"
