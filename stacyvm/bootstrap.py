"""Settings to services: the only module that names implementations."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from stacyvm.config import Settings
from stacyvm.domain.errors import UnavailableError
from stacyvm.providers.base import Provider
from stacyvm.providers.docker import DockerProvider
from stacyvm.providers.local import LocalProvider
from stacyvm.services.executions import Executions
from stacyvm.services.files import Files
from stacyvm.services.fleet import Fleet
from stacyvm.services.health import Health
from stacyvm.services.providers import Providers
from stacyvm.services.reaper import Reaper, run_every
from stacyvm.services.sandboxes import Sandboxes
from stacyvm.services.services import Services
from stacyvm.store.connect import connect
from stacyvm.store.embedded import EmbeddedRedis
from stacyvm.store.identity import DataDir
from stacyvm.store.sandboxes import SandboxStore

log = logging.getLogger(__name__)

CANCEL_AGAIN = 0.2  # seconds between two attempts to cancel a task
ADOPT_WAIT = 5.0  # seconds a start waits for the first look at the engine
CLOSE_WAIT = 10.0  # seconds a provider may take to let go
RESTART_DELAY = 5.0  # seconds between two attempts to start a private Redis


@asynccontextmanager
async def open_services(settings: Settings) -> AsyncIterator[Services]:
    """Start everything a server needs, give its use cases, and stop it all at the end.

    What ran before is adopted before this yields, unless the engine or an agent takes too long:
    then that goes on behind. Sandboxes outlive it, except those of the ``local`` provider. Both
    the start and the end take a bounded time, whatever hangs.

    Raises:
        ConflictError: Another server uses the data directory.
        UnavailableError: Redis does not answer, or no Redis server is installed.
    """
    async with AsyncExitStack() as stack:
        data_dir = await asyncio.to_thread(DataDir(settings.data_dir).open)
        stack.push_async_callback(asyncio.to_thread, data_dir.close)
        url = settings.redis_url or await stack.enter_async_context(_private_redis(data_dir.path))
        redis = connect(url)
        stack.push_async_callback(redis.aclose)
        store = SandboxStore(redis, instance=data_dir.instance, retention=settings.record_retention)
        await store.ping()
        provider = make_provider(settings, instance=data_dir.instance)
        stack.push_async_callback(_close, provider)
        fleet = Fleet()
        stack.push_async_callback(fleet.close)
        services = make_services(settings, store, provider, fleet)
        looked = asyncio.Event()

        async def reconcile() -> None:
            try:
                await services.reaper.reconcile()
            finally:
                looked.set()

        for interval, job, name in (
            (settings.reap_interval, services.reaper.reap, "reaper"),
            (settings.reconcile_interval, reconcile, "reconcile"),
        ):
            task = asyncio.create_task(run_every(interval, job, name), name=name)
            stack.push_async_callback(_cancel, task)
        try:
            async with asyncio.timeout(ADOPT_WAIT):
                await looked.wait()
        except TimeoutError:
            log.warning(
                "the engine, or an agent, has not answered for %g s: starting without it; "
                "sandboxes that ran before are adopted once it does",
                ADOPT_WAIT,
            )
        yield services


async def _close(provider: Provider) -> None:
    """Close a provider; what hangs is given up, for the next start to put right."""
    try:
        async with asyncio.timeout(CLOSE_WAIT):
            await provider.close()
    except TimeoutError:
        log.warning("provider %s did not let go within %g s", provider.name, CLOSE_WAIT)


@asynccontextmanager
async def _private_redis(data_dir: Path) -> AsyncIterator[str]:
    """Run a private Redis and give its URL; one that dies is started again on the same data."""
    redis = EmbeddedRedis(data_dir)
    url = await redis.start()
    keeper = asyncio.create_task(_keep(redis), name="keep redis")
    try:
        yield url
    finally:
        await _cancel(keeper)
        await redis.stop()


async def _keep(redis: EmbeddedRedis) -> None:
    while True:
        status = await redis.wait()
        tail = await asyncio.to_thread(redis.log_tail)
        log.error("the private Redis ended with status %d, starting it again; %s", status, tail)
        await redis.stop()
        await _start_again(redis)


async def _start_again(redis: EmbeddedRedis) -> None:
    while True:
        try:
            await redis.start()
        except (UnavailableError, OSError) as error:
            log.error(  # noqa: TRY400 - the error's text holds all there is to know
                "the private Redis does not start; trying again in %g s: %s", RESTART_DELAY, error
            )
        else:
            return
        await asyncio.sleep(RESTART_DELAY)


def make_provider(settings: Settings, *, instance: str) -> Provider:
    """Return the provider that the settings name."""
    if settings.provider == "docker":
        return DockerProvider(
            instance=instance,
            docker_host=settings.docker_host,
            pull_timeout=settings.pull_timeout,
            runtimes=settings.runtimes,
        )
    return LocalProvider(instance=instance, root=settings.data_dir / "local")


def make_services(
    settings: Settings, store: SandboxStore, provider: Provider, fleet: Fleet
) -> Services:
    """Wire the use cases together."""
    providers = {provider.name: provider}
    sandboxes = Sandboxes(
        settings=settings,
        store=store,
        providers=providers,
        fleet=fleet,
        now=utc_now,
        slots=asyncio.Semaphore(settings.spawn_concurrency),
    )
    statuses = Providers(providers=providers, now=utc_now)
    return Services(
        settings=settings,
        sandboxes=sandboxes,
        executions=Executions(settings=settings, sandboxes=sandboxes),
        files=Files(sandboxes=sandboxes),
        providers=statuses,
        health=Health(providers=statuses, store=store),
        reaper=Reaper(sandboxes),
    )


def utc_now() -> datetime:
    """Return the present time, aware and in UTC."""
    return datetime.now(UTC)


async def _cancel(task: "asyncio.Task[None]") -> None:
    # More than once if need be: on Python 3.11 ``asyncio.wait_for``, which the Redis client
    # connects through, loses a cancellation that comes at the moment the wait is over.
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=CANCEL_AGAIN)
