"""Listings: a folder's entries as items of bounded frames."""

from __future__ import annotations

import os

from stacyvm.agent.info import describe
from stacyvm.agent.paths import Paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MOST_ITEMS = 100_000
_BATCH = 100  # of the longest paths, every byte escaped, these still fit a frame
_BATCH_BYTES = 64 << 10


def entries(path: bytes, *, most: int) -> list[bytes] | None:
    """Return the sorted paths of all entries of a folder, None if there are more than ``most``.

    Raises:
        OSError: It is missing, no folder, or closed to us.
    """
    found = []
    with os.scandir(path) as scan:
        for entry in scan:
            found.append(entry.path)
            if len(found) > most:
                return None
    found.sort()
    return found


def describe_all(paths: Paths, found: list[bytes]) -> Iterator[dict[str, object]]:
    """Yield the infos of ``found``, leaving out what has gone meanwhile."""
    for path in found:
        try:
            yield describe(paths, path)
        except FileNotFoundError:
            continue


def batches(items: Iterable[object]) -> Iterator[list[object]]:
    """Yield lists of items small enough for one frame each."""
    batch: list[object] = []
    size = 0
    for item in items:
        batch.append(item)
        size += len(item["path"] if isinstance(item, dict) else str(item))
        if len(batch) >= _BATCH or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
