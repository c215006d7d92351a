"""Whether the server can do its work."""

import time
from dataclasses import dataclass, field

from stacyvm.domain.errors import UnavailableError
from stacyvm.services.providers import Providers, ProviderStatus
from stacyvm.store.sandboxes import SandboxStore


@dataclass(frozen=True, kw_only=True, slots=True)
class Readiness:
    """The answer to "can it spawn now?"."""

    ready: bool
    providers: list[ProviderStatus]
    redis_error: str  # empty when Redis answers


@dataclass(frozen=True, kw_only=True)
class Health:
    """The use cases around health."""

    providers: Providers
    store: SandboxStore
    started: float = field(default_factory=time.monotonic)

    def uptime(self) -> float:
        """Return seconds since the server started."""
        return time.monotonic() - self.started

    async def ready(self) -> Readiness:
        """Check everything a spawn needs: Redis and at least one provider."""
        statuses = await self.providers.list()
        try:
            await self.store.ping()
            redis_error = ""
        except UnavailableError as error:
            redis_error = error.message
        healthy = any(status.healthy for status in statuses)
        return Readiness(
            ready=healthy and not redis_error, providers=statuses, redis_error=redis_error
        )
