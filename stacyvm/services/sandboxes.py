"""Spawn, look after and end sandboxes."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from stacyvm.channel.channel import Channel
from stacyvm.config import Settings
from stacyvm.domain.errors import (
    ProviderNotFoundError,
    SandboxLostError,
    SandboxNotFoundError,
    StacyError,
)
from stacyvm.domain.sandbox import (
    Sandbox,
    SandboxSpec,
    SandboxState,
    check_ttl,
    is_sandbox_id,
)
from stacyvm.providers.base import Found, Provider
from stacyvm.services.admission import Admission, decide
from stacyvm.services.fleet import Attached, Fleet
from stacyvm.services.spawning import HELLO_TIMEOUT, SpawnRequest, plan
from stacyvm.store.sandboxes import SandboxStore

log = logging.getLogger(__name__)

# The agent ends the sandbox by itself this many seconds after its expiry, in case no server does.
LEASE_GRACE = 10.0
# How long the caller of a spawn that failed waits for the last of it to be gone, in seconds.
UNDO_WAIT = 15.0
# How long the caller of a lost sandbox waits to be told why it died, in seconds.
WHY_TIMEOUT = 5.0
# The agent's exit status when its lease has passed (docs/protocol.md, "Life").
EXIT_EXPIRED = 124

LIVE = frozenset({SandboxState.CREATING, SandboxState.RUNNING, SandboxState.UNHEALTHY})


@dataclass(frozen=True, kw_only=True)
class Sandboxes:
    """The use cases around a sandbox's life.

    Every record is written before its container is made, and ends before its container goes, so at
    any instant a crash leaves something that reconcile can see and put right.
    """

    settings: Settings
    store: SandboxStore
    providers: Mapping[str, Provider]  # the first one is the default
    fleet: Fleet
    now: Callable[[], datetime]
    slots: asyncio.Semaphore  # creations under way at once

    async def spawn(self, request: SpawnRequest) -> Sandbox:
        """Create a sandbox and return it running.

        When the caller is cancelled, or anything fails, nothing is left of it.

        Raises:
            InvalidRequestError: A value makes no sense.
            LimitExceededError: A limit on number, size or time is reached.
            ImageNotFoundError: The image is not here and cannot be pulled.
            ProviderNotFoundError: No provider of that name.
            UnavailableError: The engine or Redis does not answer.
            ProviderError: The engine failed.
            AgentError: The sandbox started but its agent did not answer.
        """
        provider = self._provider(request.provider)
        sandbox, spec = plan(request, self.settings, provider=provider.name, now=self.now())
        self.fleet.spawning.add(sandbox.id)
        build: asyncio.Task[Sandbox] | None = None
        try:
            await self.store.reserve(
                sandbox,
                max_sandboxes=self.settings.max_sandboxes,
                max_per_owner=self.settings.max_sandboxes_per_owner,
            )
            _raise_if_cancelled()
            # A task of its own, never cancelled: an engine call under way cannot be taken back, so
            # a caller that leaves must not stop us from knowing what there is to undo.
            build = asyncio.create_task(
                self._build(provider, spec, sandbox), name=f"spawn {spec.id}"
            )
            running = await asyncio.shield(build)
            _raise_if_cancelled()
        except BaseException as error:
            await self.fleet.finish(
                self._undo(provider, sandbox, build, error),
                name=f"undo {sandbox.id}",
                timeout=UNDO_WAIT,
            )
            if isinstance(error, StacyError) and build is not None:
                await self._raise_if_ended(sandbox.id, error)
            raise
        finally:
            self.fleet.spawning.discard(sandbox.id)
        return running

    async def admission(self, request: SpawnRequest) -> Admission:
        """Return whether ``spawn`` would let this request in now; nothing is reserved.

        Raises:
            StacyError: As ``spawn``, when no free place would help: a value that makes no sense, a
                size above the server's maximum, an unknown provider.
        """
        ttl = self.settings.default_ttl if request.ttl is None else request.ttl
        # Only for what it refuses; a ttl above the maximum is an answer here and no refusal.
        possible = replace(request, ttl=min(ttl, self.settings.max_ttl))
        plan(
            possible,
            self.settings,
            provider=self._provider(request.provider).name,
            now=self.now(),
        )
        owner = request.owner_id
        return decide(
            self.settings,
            ttl=ttl,
            active=await self.store.count(),
            active_owner=await self.store.count(owner_id=owner) if owner else 0,
        )

    async def get(self, sandbox_id: str, *, owner_id: str = "") -> Sandbox:
        """Return a live sandbox.

        Raises:
            SandboxNotFoundError: Unknown, ended, or owned by somebody other than ``owner_id``.
        """
        sandbox = await self._record(sandbox_id, owner_id)
        if sandbox is None:
            raise SandboxNotFoundError(sandbox_id)
        if sandbox.state.ended:
            raise SandboxNotFoundError(sandbox_id, ended=sandbox.reason or sandbox.state)
        return sandbox

    async def destroy(self, sandbox_id: str, *, owner_id: str = "") -> None:
        """End a sandbox from whatever state it is in. Idempotent: unknown and ended are success.

        The record has ended when this returns; the container is killed behind it, and should that
        fail, reconcile does it again.

        Raises:
            SandboxNotFoundError: It is owned by somebody other than ``owner_id``.
        """
        sandbox = await self._record(sandbox_id, owner_id)
        if sandbox is not None:
            await self.end(sandbox, SandboxState.DESTROYED, "destroyed by request")

    async def prune(self, *, owner_id: str = "") -> int:
        """End what has expired and return how many that were."""
        expired = await self.store.expired(self.now())
        mine = [s for s in expired if not owner_id or s.owner_id == owner_id]
        ended = [await self.end(s, SandboxState.EXPIRED, "expired") for s in mine]
        return sum(ended)

    async def extend(self, sandbox_id: str, ttl: float, *, owner_id: str = "") -> Sandbox:
        """Let a sandbox live for ``ttl`` seconds from now, unless it already lives longer.

        Raises:
            InvalidRequestError: ``ttl`` is not above 0.
            LimitExceededError: ``ttl`` is above ``max_ttl``.
            SandboxNotFoundError: Unknown, ended, or another owner's.
        """
        check_ttl(ttl, max_ttl=self.settings.max_ttl)
        channel = await self.channel(sandbox_id, owner_id=owner_id)
        sandbox = await self.store.extend(
            sandbox_id, now=self.now(), ttl=ttl, max_ttl=self.settings.max_ttl
        )
        await channel.renew(self._lease(sandbox))
        return sandbox

    async def logs(self, sandbox_id: str, *, lines: int, owner_id: str = "") -> list[str]:
        """Return the last lines that commands in the sandbox have printed, oldest first."""
        channel = await self.channel(sandbox_id, owner_id=owner_id)
        answer = await channel.call("logs", lines=lines)
        return [str(line) for line in answer.get("lines", [])]

    async def stats(self, sandbox_id: str, *, owner_id: str = "") -> dict[str, Any]:
        """Return what the sandbox uses, in percent of a CPU and in bytes."""
        channel = await self.channel(sandbox_id, owner_id=owner_id)
        answer = await channel.call("stats")
        if answer.get("supported") is not True:
            return {"supported": False}
        return {
            "supported": True,
            "cpu_pct": float(answer["cpu_pct"]),
            "mem_bytes": int(answer["mem_bytes"]),
            "mem_limit_bytes": int(answer["mem_limit_bytes"]),
        }

    async def channel(self, sandbox_id: str, *, owner_id: str = "") -> Channel:
        """Return the channel of a running sandbox. Costs no round trip while it is attached.

        Raises:
            SandboxNotFoundError: Unknown, ended, or another owner's.
            SandboxNotRunningError: It is being created, or is unhealthy.
        """
        attached = self.fleet.get(sandbox_id)
        if attached is not None and not attached.channel.closed:
            if owner_id and attached.owner_id != owner_id:
                raise SandboxNotFoundError(sandbox_id)
            return attached.channel
        if attached is not None:
            await self.why_lost(sandbox_id)
        sandbox = await self.get(sandbox_id, owner_id=owner_id)
        sandbox.require_running()
        raise SandboxLostError(sandbox_id, "its channel is being opened again; try once more")

    async def why_lost(self, sandbox_id: str) -> str:
        """Return why a sandbox whose channel closed was lost, as far as it can be known soon."""
        attached = self.fleet.get(sandbox_id)
        if attached is not None:
            try:
                async with asyncio.timeout(WHY_TIMEOUT):
                    await attached.settled.wait()
            except TimeoutError:
                return attached.channel.reason
        record = await self.store.get(sandbox_id)
        return (record and record.reason) or "its channel closed"

    async def end(self, sandbox: Sandbox, state: SandboxState, reason: str) -> bool:
        """End a sandbox's record, and its container behind; True when this call ended it."""
        ended = await self.store.end(sandbox.id, state=state, reason=reason, now=self.now())
        if ended is None:
            return False
        log.info("sandbox %s %s: %s", sandbox.id, state, reason)
        self.fleet.run_behind(self._remove(ended, reason), name=f"remove {sandbox.id}")
        return True

    async def adopt(self, sandbox: Sandbox) -> None:
        """Attach to a running sandbox that this process has no channel to, keeping all of it."""
        provider = self.providers[sandbox.provider]
        try:
            pipe = await provider.attach(sandbox.id)
            channel = await Channel.open(pipe, lease=self._lease(sandbox), timeout=HELLO_TIMEOUT)
        except StacyError as error:
            await self.mark_unhealthy(sandbox.id, f"its agent does not answer: {error}")
            return
        adopted = await self.store.update(
            sandbox.id, expect=LIVE, state=SandboxState.RUNNING, reason=""
        )
        if adopted is None:
            await channel.close("the sandbox ended while it was being adopted")
            return
        self._attach(adopted, channel)
        log.info("sandbox %s adopted", sandbox.id)

    async def mark_unhealthy(self, sandbox_id: str, reason: str) -> None:
        """Record that a live sandbox cannot be used, and let its channel go."""
        log.warning("sandbox %s is unhealthy: %s", sandbox_id, reason)
        await self.store.update(
            sandbox_id, expect=LIVE, state=SandboxState.UNHEALTHY, reason=reason[:500]
        )
        await self.fleet.release(sandbox_id, reason)

    def _provider(self, name: str) -> Provider:
        if not name:
            return next(iter(self.providers.values()))
        if name not in self.providers:
            raise ProviderNotFoundError(name, sorted(self.providers))
        return self.providers[name]

    async def _build(self, provider: Provider, spec: SandboxSpec, sandbox: Sandbox) -> Sandbox:
        async with self.slots:
            await provider.create(replace(spec, ttl=spec.ttl + LEASE_GRACE))
            pipe = await provider.start(spec.id)
            channel = await Channel.open(pipe, lease=spec.ttl + LEASE_GRACE, timeout=HELLO_TIMEOUT)
        try:
            running = await self.store.update(
                spec.id,
                expect={SandboxState.CREATING},
                state=SandboxState.RUNNING,
                expires_at=self.now() + timedelta(seconds=spec.ttl),
            )
        except BaseException:
            await channel.close("the spawn failed")
            raise
        if running is None:
            await channel.close("the spawn failed")
            raise SandboxNotFoundError(spec.id, ended="destroyed while it was being created")
        self._attach(running, channel)
        log.info("sandbox %s running: image %s", running.id, running.image)
        return running

    async def _undo(
        self,
        provider: Provider,
        sandbox: Sandbox,
        build: asyncio.Task[Sandbox] | None,
        error: BaseException,
    ) -> None:
        if build is None and not isinstance(error, asyncio.CancelledError):
            return  # the reservation was refused: there is nothing to undo
        if build is not None:
            await asyncio.wait([build])
            if not build.cancelled():
                build.exception()  # its caller may have gone; it is dealt with here
        why = str(error) if isinstance(error, StacyError) else "the caller went away"
        try:
            await self.store.end(
                sandbox.id, state=SandboxState.ERROR, reason=why[:500], now=self.now()
            )
        finally:  # without Redis the record stays `creating`; the container goes all the same
            await self.fleet.release(sandbox.id, "the spawn failed")
            if build is not None:
                await provider.remove(sandbox.id)

    async def _raise_if_ended(self, sandbox_id: str, error: StacyError) -> None:
        """Raise what the caller should hear when somebody else ended the sandbox meanwhile.

        ``error`` is then but the noise that a container makes that is taken away.
        """
        try:
            record = await self.store.get(sandbox_id)
        except StacyError:
            return  # Redis is what failed, and ``error`` says so
        if record is not None and record.state in {SandboxState.DESTROYED, SandboxState.EXPIRED}:
            ended = f"{record.state} while it was being created"
            raise SandboxNotFoundError(sandbox_id, ended=ended) from error

    async def _remove(self, sandbox: Sandbox, reason: str) -> None:
        await self.fleet.release(sandbox.id, reason)
        await self.providers[sandbox.provider].remove(sandbox.id)

    def _attach(self, sandbox: Sandbox, channel: Channel) -> None:
        attached = Attached(sandbox.id, sandbox.owner_id, sandbox.provider, channel)
        self.fleet.attach(attached, self._lost)

    async def _lost(self, attached: Attached, reason: str) -> None:
        """Find out what became of a sandbox whose channel closed by itself, and record it."""
        sandbox = await self.store.get(attached.sandbox_id)
        if sandbox is None or sandbox.state.ended:
            await self.fleet.release(attached.sandbox_id, reason)
            return
        found = await self._settled(attached)
        if found is not None and found.running:
            await self.mark_unhealthy(sandbox.id, reason)
            return
        state, why = why_ended(found)
        await self.end(sandbox, state, why)

    async def _settled(self, attached: Attached) -> Found | None:
        """Ask the provider about a sandbox until it stopped; a pipe breaks a moment before that."""
        provider = self.providers[attached.provider]
        found = await provider.find(attached.sandbox_id)
        for delay in (0.05, 0.1, 0.2, 0.4, 0.8):
            if found is None or not found.running:
                break
            await asyncio.sleep(delay)
            found = await provider.find(attached.sandbox_id)
        return found

    async def _record(self, sandbox_id: str, owner_id: str) -> Sandbox | None:
        if not is_sandbox_id(sandbox_id):
            return None
        sandbox = await self.store.get(sandbox_id)
        if sandbox is not None and owner_id and sandbox.owner_id != owner_id:
            raise SandboxNotFoundError(sandbox_id)
        return sandbox

    def _lease(self, sandbox: Sandbox) -> float:
        left = (sandbox.expires_at - self.now()).total_seconds()
        return max(left, 0.0) + LEASE_GRACE

    async def list(self, *, owner_id: str = "") -> list[Sandbox]:
        """Return live sandboxes, newest first; with ``owner_id`` only that owner's."""
        return await self.store.list(owner_id=owner_id or None)


def why_ended(found: Found | None) -> tuple[SandboxState, str]:
    """Return the state and reason to record for a sandbox that no longer runs."""
    if found is None:
        return SandboxState.DESTROYED, "its container is gone"
    if found.exit_code == EXIT_EXPIRED:
        return SandboxState.EXPIRED, "expired"
    if found.oom_killed:
        return SandboxState.ERROR, f"out of memory (exit code {found.exit_code})"
    return SandboxState.ERROR, f"its agent ended with exit code {found.exit_code}"


def _raise_if_cancelled() -> None:
    """Raise if this task was cancelled and ``asyncio.wait_for`` below lost that (Python 3.11)."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
