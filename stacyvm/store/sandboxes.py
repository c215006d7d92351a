"""Records of sandboxes in Redis, changed together with every index and count they appear in.

All keys begin with ``stacyvm:{<instance>}:``; ``keys`` has the names,
``scripts`` how they change together.

==================  ==============================  ============================================
key                 why it is there                 when it ends
==================  ==============================  ============================================
``sandbox:<id>``    the record, JSON (``codec``)    live: with the sandbox, which leaves through
                                                    ``end``, at the latest once its expiry has
                                                    passed; ended: ``retention`` later, by TTL
``live``            list newest first; its size is  an id leaves with ``end``; Redis removes an
                    the number of live sandboxes    empty index
``expiry``          what is due, in order; holds    as ``live``
                    sandboxes still being created
``owner:<owner>``   as ``live``, of one owner       as ``live``
``ended``           list what has ended             an id leaves after ``retention`` or when
                                                    10 000 later ones have ended; the key itself
                                                    by TTL, ``retention`` after the last end
==================  ==============================  ============================================

A count is the size of an index, so it cannot drift from the records or fall below zero. An id that
an index holds without a record (somebody deleted the key) is taken out where it is met; one whose
record cannot be read is skipped with a warning, and taken out once its expiry has passed.
"""

import secrets
import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from redis.asyncio import Redis
from redis.commands.core import AsyncScript

from stacyvm.domain.errors import ConflictError, LimitExceededError, SandboxNotFoundError
from stacyvm.domain.sandbox import Sandbox, SandboxState
from stacyvm.store import codec, scripts
from stacyvm.store.keys import Keys, micros
from stacyvm.store.records import Records
from stacyvm.store.translate import redis_errors

# Most ended sandboxes the index keeps, however long ``retention`` is.
MOST_ENDED = 10_000
# A change that loses the race for a record this often has met a bug, not traffic.
MOST_RACES = 1000
# What the indexes are keyed by: changing it would leave entries behind.
_FIXED = frozenset({"id", "owner_id", "created_at"})


class SandboxStore:
    """Records of the sandboxes of one instance.

    Every method raises ``UnavailableError`` when Redis does not answer.

    Args:
        redis: A client from ``connect``; it stays the caller's to close.
        instance: Whose records these are: eight hexadecimal digits.
        retention: Seconds the record of an ended sandbox is kept.
    """

    def __init__(self, redis: Redis, *, instance: str, retention: float) -> None:
        self._redis = redis
        self._keys = Keys(instance)
        self._retention = timedelta(seconds=retention)
        self._retention_ms = max(1, round(retention * 1000))
        # Sent by hash; redis-py loads a script that Redis does not know (any more) by itself.
        self._reserve = redis.register_script(scripts.RESERVE)
        self._replace = redis.register_script(scripts.REPLACE)
        self._end = redis.register_script(scripts.END)
        self._records = Records(redis, self._keys, retention_ms=self._retention_ms)

    async def reserve(self, sandbox: Sandbox, *, max_sandboxes: int, max_per_owner: int) -> None:
        """Record a new live sandbox unless a limit is reached. Limits of 0 are none.

        A sandbox without an owner counts towards ``max_sandboxes`` only.

        Raises:
            LimitExceededError: A limit is reached; nothing is recorded.
            ConflictError: The id is taken; nothing is changed.
        """
        _require(not sandbox.state.ended, "only a live sandbox can be reserved")
        answer = await self._run(
            self._reserve,
            [
                self._keys.record(sandbox.id),
                self._keys.live,
                self._keys.expiry,
                self._keys.owned(sandbox.owner_id),
            ],
            [
                codec.encode(sandbox, _revision()),
                sandbox.id,
                micros(sandbox.created_at),
                micros(sandbox.expires_at),
                max_sandboxes,
                max_per_owner if sandbox.owner_id else 0,
            ],
        )
        if answer == "taken":
            raise ConflictError(f"a sandbox with the id {sandbox.id} exists already")
        if answer == "full":
            raise LimitExceededError(
                f"max_sandboxes is {max_sandboxes} (STACYVM_MAX_SANDBOXES)", retry_after=1
            )
        if answer == "owner":
            raise LimitExceededError(
                f"owner {sandbox.owner_id!r} has max_sandboxes_per_owner {max_per_owner} "
                "(STACYVM_MAX_SANDBOXES_PER_OWNER)",
                retry_after=1,
            )

    async def get(self, sandbox_id: str) -> Sandbox | None:
        """Return a sandbox, live or ended, as long as its record is kept.

        Raises:
            StacyError: There is a record, but it cannot be read.
        """
        found = await self._records.read(sandbox_id)
        return found and found[1]

    async def update(
        self, sandbox_id: str, *, expect: Collection[SandboxState], **changes: Any
    ) -> Sandbox | None:
        """Change fields of a live sandbox whose state is in ``expect``, atomically.

        Returns:
            The changed sandbox; None when it is unknown or its state is not in ``expect``.

        Raises:
            ValueError: The change would begin or end the sandbox's life (that is what ``reserve``
                and ``end`` are for), or touch a field the indexes are keyed by.
        """
        _require(not any(state.ended for state in expect), "what has ended cannot be changed")
        _require(not SandboxState(changes.get("state", "running")).ended, "use end()")
        _require(not _FIXED & changes.keys(), f"{', '.join(sorted(_FIXED))} cannot be changed")
        for _ in range(MOST_RACES):
            found = await self._records.read(sandbox_id)
            if found is None or found[1].state not in expect:
                return None
            changed = replace(found[1], **changes)
            if await self._replaced(found[0], changed):
                return changed
        raise _too_many_races(sandbox_id)

    async def extend(
        self, sandbox_id: str, *, now: datetime, ttl: float, max_ttl: float
    ) -> Sandbox:
        """Let a running sandbox live ``ttl`` seconds from ``now``, unless it already lives longer.

        Raises:
            SandboxNotFoundError: Unknown, ended, or past its expiry.
            SandboxNotRunningError: It is being created, or is unhealthy.
            InvalidRequestError: ``ttl`` is not above 0.
            LimitExceededError: ``ttl`` is above ``max_ttl``.
        """
        for _ in range(MOST_RACES):
            found = await self._records.read(sandbox_id)
            if found is None:
                raise SandboxNotFoundError(sandbox_id)
            extended = found[1].extended(now=now, ttl=ttl, max_ttl=max_ttl)
            if extended == found[1] or await self._replaced(found[0], extended):
                return extended
        raise _too_many_races(sandbox_id)

    async def end(
        self, sandbox_id: str, *, state: SandboxState, reason: str, now: datetime
    ) -> Sandbox | None:
        """End a live sandbox's record: out of every index and count, kept for ``retention``.

        Returns:
            The ended sandbox if this call ended it, so exactly one of many callers gets it; None
            when it is unknown or had ended before.
        """
        _require(state.ended, f"{state} is no end")
        for _ in range(MOST_RACES):
            found = await self._records.read(sandbox_id)
            if found is None or found[1].state.ended:
                return None
            ended = replace(found[1], state=state, reason=reason, ended_at=now)
            if await self._ended_now(found[0], ended, now):
                return ended
        raise _too_many_races(sandbox_id)

    async def expired(self, now: datetime, *, limit: int = 100) -> list[Sandbox]:
        """Return live sandboxes whose expiry has passed, the longest overdue first.

        Whatever state they are in: one stuck in ``creating`` is due as well. There may be more when
        fewer than ``limit`` come: records that cannot be read are cleared away on the way.
        """
        with redis_errors():
            ids: Any = await self._redis.zrangebyscore(
                self._keys.expiry, "-inf", micros(now), start=0, num=limit
            )
        due = await self._records.read_due(ids)
        return [s for s in due if not s.state.ended and s.expires_at <= now]

    async def count(self, *, owner_id: str | None = None) -> int:
        """Return the number of live sandboxes, with ``owner_id`` of that owner."""
        with redis_errors():
            return int(await self._redis.zcard(self._keys.owned(owner_id or "")))

    async def ping(self) -> float:
        """Return how long Redis takes to answer, in seconds."""
        began = time.perf_counter()
        with redis_errors():
            await self._redis.ping()
        return time.perf_counter() - began

    async def _replaced(self, before: str, sandbox: Sandbox) -> bool:
        answer = await self._run(
            self._replace,
            [self._keys.record(sandbox.id), self._keys.expiry],
            [before, codec.encode(sandbox, _revision()), sandbox.id, micros(sandbox.expires_at)],
        )
        return bool(answer == 1)

    async def _ended_now(self, before: str, sandbox: Sandbox, now: datetime) -> bool:
        answer = await self._run(
            self._end,
            [
                self._keys.record(sandbox.id),
                self._keys.live,
                self._keys.expiry,
                self._keys.owned(sandbox.owner_id),
                self._keys.ended,
            ],
            [
                before,
                codec.encode(sandbox, _revision()),
                sandbox.id,
                micros(now),
                self._retention_ms,
                micros(now - self._retention),
                MOST_ENDED,
            ],
        )
        return bool(answer == 1)

    async def _run(
        self, script: AsyncScript, keys: Sequence[str], args: Sequence[str | int]
    ) -> Any:
        with redis_errors():
            return await script(keys=keys, args=args)

    # Last, because inside the class its name hides the builtin from here on.
    async def list(self, *, owner_id: str | None = None, ended: bool = False) -> list[Sandbox]:
        """Return live sandboxes, and with ``ended`` those still kept too, newest first.

        With ``owner_id`` only that owner's. Records that cannot be read are left out.
        """
        with redis_errors():
            ids: Any = await self._redis.zrange(self._keys.owned(owner_id or ""), 0, -1)
        found = await self._records.read_many(ids, owner_id=owner_id or "")
        if ended:
            # After the live ones: what ends between the two is then in both, and not in none.
            with redis_errors():
                ids = await self._redis.zrange(self._keys.ended, 0, -1)
            found += await self._records.read_kept(ids)
        chosen = {
            s.id: s
            for s in found
            if (ended or not s.state.ended) and (not owner_id or s.owner_id == owner_id)
        }
        return sorted(chosen.values(), key=lambda s: (s.created_at, s.id), reverse=True)


def _revision() -> str:
    return secrets.token_hex(8)


def _require(true: bool, message: str) -> None:
    if not true:
        raise ValueError(message)


def _too_many_races(sandbox_id: str) -> ConflictError:
    return ConflictError(f"sandbox {sandbox_id} is being changed all the time; try again")
