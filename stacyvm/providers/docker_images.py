"""Pulling images that are not here: once for all who wait."""

import asyncio
import threading

from docker import APIClient
from docker.errors import NotFound

from stacyvm.domain.errors import (
    ImageNotFoundError,
    ProviderError,
    StacyError,
    UnavailableError,
)
from stacyvm.providers.docker_engine import Engine
from stacyvm.providers.docker_errors import explanation
from stacyvm.providers.images.recipes import AGENT, NAMES

_OURS = "stacyvm/"


def with_tag(image: str) -> str:
    """Return the image reference with ``:latest`` when it has neither a tag nor a digest."""
    name = image.rpartition("/")[2]
    return image if "@" in image or ":" in name else f"{image}:latest"


class Puller:
    """Pulls each missing image once, however many spawns wait for it."""

    def __init__(self, engine: Engine, *, timeout: float) -> None:
        """Give up on a pull after ``timeout`` seconds."""
        self._engine = engine
        self._timeout = timeout
        self._pulls: dict[str, asyncio.Task[None]] = {}

    async def pull(self, image: str) -> None:
        """Make ``image``, a reference with a tag or digest, be here.

        Raises:
            ImageNotFoundError: It cannot be pulled, or is one of ours and not built.
            UnavailableError: The engine does not answer.
        """
        if image.startswith(_OURS):
            name = image.partition(":")[0].removeprefix(_OURS)
            others = ", ".join(f"{_OURS}{other}" for other in NAMES if other != AGENT)
            raise ImageNotFoundError(
                image,
                "not built yet, run `stacyvm images build`"
                if name in NAMES
                else f"there is no such image of stacyvm's own, only {others}",
            )
        task = self._pulls.get(image)
        if task is None:
            task = asyncio.create_task(self._pull(image), name=f"pull {image}")
            self._pulls[image] = task
            task.add_done_callback(lambda ended: self._forget(image, ended))
        await asyncio.shield(task)

    async def close(self) -> None:
        """Stop all pulls."""
        tasks = [*self._pulls.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _forget(self, image: str, ended: asyncio.Task[None]) -> None:
        del self._pulls[image]
        if not ended.cancelled():
            ended.exception()  # those who wait get it; there may be nobody left who does

    async def _pull(self, image: str) -> None:
        stop = threading.Event()
        try:
            async with asyncio.timeout(self._timeout):
                await self._engine.call(_pull, image, stop)
        except TimeoutError as error:
            raise ImageNotFoundError(
                image, f"pulling it took more than {self._timeout:g}s"
            ) from error
        except NotFound as error:
            raise ImageNotFoundError(image, explanation(error)) from error
        except UnavailableError:
            raise
        except StacyError as error:
            raise ImageNotFoundError(image, error.message) from error
        finally:
            stop.set()


def _pull(client: APIClient, image: str, stop: threading.Event) -> None:
    """Pull in a thread until done or stopped; letting go of the answer ends the engine's pull."""
    for line in client.pull(image, stream=True, decode=True):
        if stop.is_set():
            return
        if message := line.get("error"):
            raise ProviderError(str(message))
