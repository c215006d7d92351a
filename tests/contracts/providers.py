"""The providers the contract is tried on, and a way to talk to a sandbox of theirs."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from stacyvm.channel.channel import Channel
from stacyvm.channel.events import Data
from stacyvm.domain.sandbox import SandboxSpec, new_sandbox_id
from stacyvm.providers.base import Provider

MakeProvider = Callable[[str], Provider]


def spec(**fields: Any) -> SandboxSpec:
    values = {"id": new_sandbox_id(), "image": "stacyvm/node", "memory_mb": 256, "ttl": 120.0}
    return SandboxSpec(**{**values, **fields})


@asynccontextmanager
async def running(provider: Provider, wanted: SandboxSpec) -> AsyncIterator[Channel]:
    """Create and start a sandbox, and remove it at the end whatever happened."""
    try:
        await provider.create(wanted)
        channel = await Channel.open(await provider.start(wanted.id), lease=60, timeout=20)
        try:
            yield channel
        finally:
            await channel.close()
    finally:
        await provider.remove(wanted.id)


async def run(channel: Channel, command: str) -> tuple[int, str]:
    """Run a shell command; return its exit code and all its output."""
    output = b""
    async with channel.stream("exec", argv=["sh", "-c", command]) as stream:
        async for event in stream:
            if isinstance(event, Data):
                output += event.data
        return int(stream.result["exit_code"]), output.decode()


async def wait_until(check: Callable[[], Awaitable[bool]], timeout: float = 10) -> None:
    async with asyncio.timeout(timeout):
        while not await check():  # noqa: ASYNC110 - the engine has no event for it
            await asyncio.sleep(0.02)
