"""The sandboxes this server is attached to: their channels, and what becomes of lost ones."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from stacyvm.channel.channel import Channel

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Attached:
    """One sandbox with its open channel. The owner is here so that a hot call needs no record."""

    sandbox_id: str
    owner_id: str
    provider: str
    channel: Channel
    settled: asyncio.Event = field(default_factory=asyncio.Event)  # its loss has been dealt with


# Seconds the server's stop waits for what runs behind requests; an engine that hangs may take
# longer, and the next start's reconcile ends what was left.
CLOSE_WAIT = 10.0

OnLost = Callable[[Attached, str], Awaitable[None]]


class Fleet:
    """The open channels of this process, and the tasks that clean up behind requests."""

    def __init__(self) -> None:
        self._attached: dict[str, Attached] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        # Ids between reservation and running: reconcile spares them.
        self.spawning: set[str] = set()

    def get(self, sandbox_id: str) -> Attached | None:
        """Return the sandbox when its channel is open or only just lost."""
        return self._attached.get(sandbox_id)

    def attach(self, attached: Attached, on_lost: OnLost) -> None:
        """Keep an open channel; ``on_lost`` is called once if it closes while still kept."""
        self._attached[attached.sandbox_id] = attached
        self.run_behind(self._watch(attached, on_lost), name=f"watch {attached.sandbox_id}")

    async def release(self, sandbox_id: str, reason: str) -> None:
        """Let a channel go and close it; its watcher will not call ``on_lost``."""
        if attached := self._attached.pop(sandbox_id, None):
            await attached.channel.close(reason)

    def run_behind(self, work: Coroutine[Any, Any, None], *, name: str) -> None:
        """Run ``work`` as a task that outlives the request, and that ``close`` waits for."""
        self._keep(asyncio.create_task(work, name=name))

    async def finish(
        self, work: Coroutine[Any, Any, None], *, name: str, timeout: float | None = None
    ) -> None:
        """Run ``work`` likewise and wait for it, at most ``timeout`` seconds.

        After that, and when the caller is cancelled, it goes on behind.
        """
        task = asyncio.create_task(work, name=name)
        self._keep(task)
        await asyncio.wait([task], timeout=timeout)

    async def close(self) -> None:
        """Close every channel, leave the sandboxes alive, and wait for what runs behind.

        What takes over ``CLOSE_WAIT`` seconds is cancelled.
        """
        deadline = asyncio.get_running_loop().time() + CLOSE_WAIT
        while self._attached or self._tasks:
            # Each time again: what runs behind may attach one more.
            for sandbox_id in list(self._attached):
                await self.release(sandbox_id, "the server is stopping")
            if asyncio.get_running_loop().time() > deadline:
                for task in self._tasks:
                    log.warning("%s is given up: the server is stopping", task.get_name())
                    task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=0.2)

    async def _watch(self, attached: Attached, on_lost: OnLost) -> None:
        reason = await attached.channel.wait_closed()
        try:
            if self._attached.get(attached.sandbox_id) is attached:
                await on_lost(attached, reason)
        finally:
            attached.settled.set()

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("%s failed", task.get_name(), exc_info=error)
