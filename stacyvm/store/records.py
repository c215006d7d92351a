"""Reading records, one or many, and clearing away what is left of broken ones."""

import logging
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis

from stacyvm.domain.sandbox import Sandbox
from stacyvm.store import codec, scripts
from stacyvm.store.keys import Keys
from stacyvm.store.translate import redis_errors

log = logging.getLogger(__name__)

# Records read in one command: large enough to be fast, small enough not to hold Redis up.
CHUNK = 500


class Records:
    """The records of one instance, as text and as sandboxes."""

    def __init__(self, redis: Redis, keys: Keys, *, retention_ms: int) -> None:
        self._redis = redis
        self._keys = keys
        self._retention_ms = retention_ms
        self._bury_script = redis.register_script(scripts.BURY)

    async def read(self, sandbox_id: str) -> tuple[str, Sandbox] | None:
        """Return the text of a record, to compare with when it is changed, and its sandbox.

        Raises:
            MalformedRecordError: It cannot be read.
        """
        key = self._keys.record(sandbox_id)
        with redis_errors():
            text: Any = await self._redis.get(key)
        return None if text is None else (text, codec.decode(key, text))

    async def read_many(self, ids: Sequence[str], *, owner_id: str = "") -> list[Sandbox]:
        """Return the sandboxes of ``ids`` that an index of live ones holds.

        An id without a record is taken out of the indexes, that of ``owner_id`` included; one whose
        record cannot be read is left out with a warning.
        """
        return [s for _, s in await self._decoded(ids, owner_id) if isinstance(s, Sandbox)]

    async def read_due(self, ids: Sequence[str]) -> list[Sandbox]:
        """As ``read_many``, for ids past their expiry: what cannot be read is buried as well."""
        due: list[Sandbox] = []
        for sandbox_id, found in await self._decoded(ids, ""):
            if isinstance(found, Sandbox):
                due.append(found)
            else:
                await self._bury(sandbox_id, found, codec.owner_of(found))
        return due

    async def read_kept(self, ids: Sequence[str]) -> list[Sandbox]:
        """As ``read_many``, for ended sandboxes: a record may be gone, its retention being over."""
        kept = [(i, text) for i, text in await self._texts(ids) if text is not None]
        return [s for i, text in kept if isinstance(s := self._sandbox_or_text(i, text), Sandbox)]

    async def _decoded(self, ids: Sequence[str], owner_id: str) -> list[tuple[str, Sandbox | str]]:
        found: list[tuple[str, Sandbox | str]] = []
        for sandbox_id, text in await self._texts(ids):
            if text is None:
                await self._bury(sandbox_id, "", owner_id)
            else:
                found.append((sandbox_id, self._sandbox_or_text(sandbox_id, text)))
        return found

    def _sandbox_or_text(self, sandbox_id: str, text: str) -> Sandbox | str:
        try:
            return codec.decode(self._keys.record(sandbox_id), text)
        except codec.MalformedRecordError as error:
            log.warning("%s", error)
            return text

    async def _texts(self, ids: Sequence[str]) -> list[tuple[str, str | None]]:
        texts: list[Any] = []
        for first in range(0, len(ids), CHUNK):
            keys = [self._keys.record(sandbox_id) for sandbox_id in ids[first : first + CHUNK]]
            with redis_errors():
                texts += await self._redis.mget(keys)
        return list(zip(ids, texts, strict=True))

    async def _bury(self, sandbox_id: str, before: str, owner_id: str) -> None:
        record = self._keys.record(sandbox_id)
        with redis_errors():
            buried = await self._bury_script(
                keys=[record, self._keys.live, self._keys.expiry, self._keys.owned(owner_id)],
                args=[before, sandbox_id, self._retention_ms],
            )
        if buried == 1:
            log.warning("took %s out of the indexes: it has no record that can be read", record)
