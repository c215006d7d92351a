"""End what expired, and make actual equal wanted."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from stacyvm.domain.errors import StacyError, UnavailableError
from stacyvm.domain.sandbox import Sandbox, SandboxState
from stacyvm.providers.base import Found, Provider
from stacyvm.services.fleet import Attached
from stacyvm.services.sandboxes import Sandboxes, why_ended

T = TypeVar("T")

log = logging.getLogger(__name__)

PING_TIMEOUT = 10.0  # seconds an agent may take to answer a ping before it counts as hung
AT_ONCE = 16  # sandboxes looked after at the same time


@dataclass(frozen=True)
class Reaper:
    """The two services that run on an interval. Both can be run at any time, by any server."""

    sandboxes: Sandboxes

    async def reap(self) -> int:
        """End expired sandboxes and return how many this call ended."""
        return await self.sandboxes.prune()

    async def reconcile(self) -> None:
        """Compare records with each provider and put right what differs.

        Adopts running sandboxes that have no channel here, ends records of what is gone with the
        reason, removes containers without a live record, and finds agents that no longer answer.
        Spawns under way are spared. A provider that fails is skipped.
        """
        for provider in self.sandboxes.providers.values():
            try:
                await self._reconcile(provider)
            except StacyError as error:
                log.warning("reconcile of %s skipped: %s", provider.name, error)

    async def _reconcile(self, provider: Provider) -> None:
        # Records first: whatever is on record as running now was in the engine before now, so what
        # the later listing lacks is really gone.
        spawning = frozenset(self.sandboxes.fleet.spawning)
        records = [s for s in await self.sandboxes.list() if s.provider == provider.name]
        found = {f.id: f for f in await provider.list()}
        await _each(
            [s for s in records if s.id not in spawning], lambda s: self._settle(s, found.get(s.id))
        )
        known = {s.id for s in records}
        await _each(
            [f for f in found.values() if f.id not in known], lambda f: self._orphan(provider, f)
        )

    async def _settle(self, sandbox: Sandbox, found: Found | None) -> None:
        attached = self.sandboxes.fleet.get(sandbox.id)
        if sandbox.state is SandboxState.CREATING:
            # The record was read a while ago: a spawn of ours may have ended well meanwhile.
            if attached is None and sandbox.id not in self.sandboxes.fleet.spawning:
                await self.sandboxes.end(
                    sandbox, SandboxState.ERROR, "the server stopped while it was being created"
                )
        elif found is None or not found.running:
            await self.sandboxes.end(sandbox, *why_ended(found))
        elif attached is None or attached.channel.closed:
            await self.sandboxes.adopt(sandbox)
        else:
            await self._ping(attached)

    async def _ping(self, attached: Attached) -> None:
        try:
            await attached.channel.call("ping", timeout=PING_TIMEOUT)
        except StacyError as error:
            if not attached.channel.closed:
                await self.sandboxes.mark_unhealthy(
                    attached.sandbox_id, f"its agent does not answer: {error}"
                )

    async def _orphan(self, provider: Provider, found: Found) -> None:
        record = await self.sandboxes.store.get(found.id)
        if record is None or record.state.ended:
            log.warning("removing %s: it has no live record", found.id)
            await provider.remove(found.id)


async def run_every(interval: float, job: Callable[[], Awaitable[object]], name: str) -> None:
    """Run ``job`` for ever, ``interval`` seconds after it last ended, whatever it raises."""
    while True:
        try:
            await job()
        except UnavailableError as error:
            log.warning("%s: %s", name, error)
        except Exception:
            log.exception("%s failed", name)
        await asyncio.sleep(interval)


async def _each(items: list[T], work: Callable[[T], Awaitable[None]]) -> None:
    """Do ``work`` on every item, a bounded number at once; one failure does not stop the others."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(item: T) -> None:
        async with slots:
            try:
                await work(item)
            except StacyError as error:
                log.warning("reconcile of %s: %s", item, error)
            except Exception:
                log.exception("reconcile of %s failed", item)

    await asyncio.gather(*(one(item) for item in items))
