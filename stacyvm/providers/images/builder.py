"""Building our images through the engine's API, and telling which of them are up to date."""

import io
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import docker
import requests
from docker.errors import APIError, DockerException, ImageNotFound

from stacyvm.domain.errors import ProviderError
from stacyvm.providers.images.base import ensure_base
from stacyvm.providers.images.engine import SILENCE, reason
from stacyvm.providers.images.recipes import (
    AGENT,
    AGENT_HASH,
    AGENT_LOADER,
    IMAGE_HASH,
    NAMES,
    Recipe,
    loader,
    recipe,
)


class Status(StrEnum):
    """How an image in the engine stands to its recipe."""

    READY = "ready"
    OUTDATED = "outdated"
    MISSING = "missing"


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageState:
    """One of our images as it is in the engine."""

    image: str
    status: Status
    id: str = ""
    size: int = 0  # bytes, with the layers it shares
    created: str = ""  # RFC 3339
    digest: str = ""  # what it was built from


def states(client: docker.DockerClient, names: Sequence[str] = NAMES) -> list[ImageState]:
    """Return how each of the named images stands.

    Raises:
        ProviderError: The engine fails.
    """
    return [_state(client, recipe(name)) for name in names]


def build(client: docker.DockerClient, name: str, report: Callable[[str], None]) -> ImageState:
    """Build one image, whether or not it is up to date; a base that is missing is made first.

    Args:
        client: A connected client.
        name: One of ``NAMES``.
        report: Gets every line of the log.

    Raises:
        UnavailableError: There is no base image and no way to get one.
        ProviderError: The build failed; the log says how.
    """
    made_from = recipe(name)
    before = _state(client, made_from)
    ensure_base(client, report)
    # Nothing has changed, so what is wanted is newer packages.
    anew = before.status is Status.READY
    _build(client, made_from, _labels(client, made_from, anew=anew), anew=anew, report=report)
    after = _state(client, made_from)
    if before.id not in ("", after.id):
        _remove(client, before.id)
    return after


def _state(client: docker.DockerClient, wanted: Recipe) -> ImageState:
    try:
        found = client.images.get(wanted.image)
    except ImageNotFound:
        return ImageState(image=wanted.image, status=Status.MISSING)
    except DockerException as error:
        raise ProviderError(f"The engine fails: {reason(error)}.") from error
    digest = str(found.labels.get(IMAGE_HASH, ""))
    return ImageState(
        image=wanted.image,
        status=Status.READY if digest == wanted.digest else Status.OUTDATED,
        id=str(found.id),
        size=int(found.attrs.get("Size", 0)),
        created=str(found.attrs.get("Created", "")),
        digest=digest,
    )


def _labels(client: docker.DockerClient, made_from: Recipe, *, anew: bool) -> dict[str, str]:
    labels = {IMAGE_HASH: made_from.digest}
    if made_from.name == AGENT:
        architecture = str(client.info().get("Architecture", ""))
        try:
            labels[AGENT_LOADER] = loader(architecture)
        except ValueError as error:
            raise ProviderError(str(error)) from error
        # Names the volume the image is copied to: newer packages need a volume of their own, as
        # running sandboxes still use the old one.
        labels[AGENT_HASH] = secrets.token_hex(32) if anew else made_from.digest
    return labels


def _build(
    client: docker.DockerClient,
    made_from: Recipe,
    labels: dict[str, str],
    *,
    anew: bool,
    report: Callable[[str], None],
) -> None:
    try:
        events = client.api.build(
            fileobj=io.BytesIO(made_from.archive()),
            custom_context=True,
            tag=made_from.image,
            labels=labels,
            nocache=anew,
            rm=True,
            forcerm=True,
            decode=True,
            timeout=round(SILENCE),
        )
        for event in events:
            for line in str(event.get("stream", "")).splitlines():
                report(line.rstrip())
            if "error" in event:
                raise ProviderError(f"Building {made_from.image} failed: {event['error']}.")
    except (DockerException, requests.RequestException) as error:
        raise ProviderError(f"Building {made_from.image} failed: {reason(error)}.") from error


def _remove(client: docker.DockerClient, image_id: str) -> None:
    try:
        client.images.remove(image_id)
    except ImageNotFound:
        return
    except APIError as error:
        # A sandbox still runs on it: it stays, without a name, until the user prunes.
        if error.status_code != 409:
            raise ProviderError(f"The engine fails: {reason(error)}.") from error
