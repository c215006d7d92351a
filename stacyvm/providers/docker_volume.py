"""The volume that carries the agent into any image, filled once per version of the agent."""

import asyncio
import logging
import time
from http import HTTPStatus
from typing import Any

from docker import APIClient
from docker.errors import APIError, NotFound

from stacyvm.domain.errors import ConflictError, ImageNotFoundError, ProviderError
from stacyvm.providers.docker_engine import Engine
from stacyvm.providers.docker_spec import AGENT_DIR, AgentVolume

_log = logging.getLogger(__name__)

AGENT_IMAGE = "stacyvm/agent:latest"
_FILL_TIMEOUT = 120.0
_HASH_DIGITS = 12


class AgentVolumes:
    """Knows the present agent's volume; making sure that it is there costs nothing but once."""

    def __init__(self, engine: Engine, *, image: str = AGENT_IMAGE) -> None:
        self._engine = engine
        self._image = image
        self._lock = asyncio.Lock()
        self._volume: AgentVolume | None = None

    async def get(self) -> AgentVolume:
        """Return the volume, filled.

        Raises:
            ImageNotFoundError: The agent's image was never built.
            ProviderError: The volume cannot be filled.
        """
        async with self._lock:
            if self._volume is None:
                self._volume = await self._ensure()
            return self._volume

    def doubt(self) -> None:
        """Look again next time: a container did not start, perhaps because the volume is gone."""
        self._volume = None

    async def _ensure(self) -> AgentVolume:
        volume = _describe(await self._inspect_image(), self._image)
        deadline = time.monotonic() + _FILL_TIMEOUT
        while not await self._fill(volume.name):
            if time.monotonic() > deadline:
                # Whoever filled it has died over it, and it may be half full.
                _log.warning("filling volume %s anew", volume.name)
                await self._engine.call(_discard, volume.name)
                deadline += _FILL_TIMEOUT
            await asyncio.sleep(0.2)
        return volume

    async def _inspect_image(self) -> dict[str, Any]:
        try:
            return dict(await self._engine.call(APIClient.inspect_image, self._image))
        except NotFound as error:
            raise ImageNotFoundError(
                self._image, "not built yet, run `stacyvm images build`"
            ) from error

    async def _fill(self, name: str) -> bool:
        """Fill the volume unless it has something in it; False while another server does."""
        try:
            await self._engine.call(_fill, name, self._image)
        except ConflictError:
            return await self._engine.call(_filled_by_another, name)
        except NotFound as error:
            raise ProviderError(f"cannot fill volume {name}: {error}") from error
        return True


def _describe(image: dict[str, Any], name: str) -> AgentVolume:
    labels = image["Config"].get("Labels") or {}
    try:
        digest, loader = labels["stacyvm.agent.hash"], labels["stacyvm.agent.loader"]
    except KeyError as error:
        raise ProviderError(
            f"image {name} has no label {error}, run `stacyvm images build`"
        ) from error
    return AgentVolume(
        name=f"stacyvm-agent-{digest[:_HASH_DIGITS]}", loader=loader.rpartition("/")[2]
    )


def _helper(name: str) -> str:
    return f"{name}-fill"


def _fill(client: APIClient, name: str, image: str) -> None:
    """Create a container with the empty volume: the engine copies the image's files into it.

    The container's name is the lock between servers: as long as it exists somebody is filling.
    """
    client.create_container_from_config(  # type: ignore[no-untyped-call]
        {
            "Image": image,
            "Labels": {"stacyvm": "true", "stacyvm.helper": "agent-volume"},
            "HostConfig": {
                "NetworkMode": "none",
                "Mounts": [{"Type": "volume", "Source": name, "Target": AGENT_DIR}],
            },
        },
        _helper(name),
    )
    client.remove_container(_helper(name), force=True)


def _filled_by_another(client: APIClient, name: str) -> bool:
    """Tell whether the server that holds the lock has filled the volume, and free the lock then.

    The engine shows a container only once its creation is over, and with it the copying; so one
    that can be seen is about to be removed, or was left by a server that was killed at that moment.
    """
    try:
        client.inspect_container(_helper(name))
    except NotFound:
        return False
    try:
        client.remove_container(_helper(name), force=True)
    except APIError as error:
        if error.status_code not in {HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT}:
            raise
    return True


def _discard(client: APIClient, name: str) -> None:
    client.remove_container(_helper(name), force=True)
    client.remove_volume(name)
