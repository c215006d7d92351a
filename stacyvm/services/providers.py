"""What providers there are, and how they do."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from stacyvm.domain.errors import ProviderNotFoundError, StacyError
from stacyvm.providers.base import Provider


@dataclass(frozen=True, kw_only=True, slots=True)
class ProviderStatus:
    """A provider as it is now."""

    name: str
    healthy: bool
    default: bool
    latency: float  # of the health check, in seconds
    last_checked: datetime
    error: str
    capabilities: tuple[str, ...]
    runtime_count: int  # sandboxes of ours that it holds
    config: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Providers:
    """The use cases around providers."""

    providers: Mapping[str, Provider]
    now: Callable[[], datetime]

    async def list(self) -> list[ProviderStatus]:
        """Return the status of every provider, checked now."""
        return list(await asyncio.gather(*(self._status(p) for p in self.providers.values())))

    async def get(self, name: str) -> ProviderStatus:
        """Return one provider's status, checked now.

        Raises:
            ProviderNotFoundError: No provider of that name.
        """
        if name not in self.providers:
            raise ProviderNotFoundError(name, sorted(self.providers))
        return await self._status(self.providers[name])

    async def test(self) -> dict[str, bool]:
        """Return each provider's health by name."""
        return {status.name: status.healthy for status in await self.list()}

    async def _status(self, provider: Provider) -> ProviderStatus:
        health = await provider.healthy()
        count, error = 0, health.error
        if health.healthy:
            try:
                count = len(await provider.list())
            except StacyError as failure:
                error = failure.message
        return ProviderStatus(
            name=provider.name,
            healthy=not error,
            default=provider.name == next(iter(self.providers)),
            latency=health.latency,
            last_checked=self.now(),
            error=error,
            capabilities=provider.capabilities,
            runtime_count=count,
            config=dict(provider.config),
        )
