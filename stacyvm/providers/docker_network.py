"""The bridge network of sandboxes with an open network: they reach the world, not each other."""

import asyncio
import logging

from docker import APIClient
from docker.errors import NotFound

from stacyvm.domain.errors import ConflictError, StacyError
from stacyvm.providers.docker_engine import Engine

_log = logging.getLogger(__name__)


class OpenNetwork:
    """One network per instance, made when the first sandbox needs it."""

    def __init__(self, engine: Engine, *, instance: str) -> None:
        self._engine = engine
        self._instance = instance
        self._name = f"stacyvm-{instance}"
        self._lock = asyncio.Lock()
        self._there = False

    async def get(self) -> str:
        """Return the network's name; it exists then.

        Raises:
            ProviderError: It cannot be made.
        """
        async with self._lock:
            if not self._there:
                try:
                    await self._engine.call(_create, self._name, self._instance)
                except ConflictError:
                    _log.debug("network %s is there already", self._name)
                self._there = True
        return self._name

    async def close(self) -> None:
        """Remove the network unless a sandbox is still in it."""
        if not self._there:
            return
        try:
            await self._engine.call(APIClient.remove_network, self._name)
        except (NotFound, StacyError) as error:
            _log.info("network %s stays: %s", self._name, error)
        self._there = False


def _create(client: APIClient, name: str, instance: str) -> None:
    client.create_network(
        name,
        driver="bridge",
        check_duplicate=True,
        labels={"stacyvm": "true", "stacyvm.instance": instance},
        options={"com.docker.network.bridge.enable_icc": "false"},
    )
