import asyncio
import logging
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from redis.asyncio import Redis

from stacyvm.domain.errors import (
    ConflictError,
    InvalidRequestError,
    LimitExceededError,
    SandboxNotFoundError,
    SandboxNotRunningError,
    StacyError,
)
from stacyvm.domain.sandbox import Sandbox, SandboxState
from stacyvm.store import sandboxes as module
from stacyvm.store.sandboxes import SandboxStore
from tests.unit.store.samples import INSTANCE, NOON, PREFIX, RETENTION, RUNNING, sandbox

LIVE = {SandboxState.CREATING, SandboxState.RUNNING, SandboxState.UNHEALTHY}
LATER = NOON + timedelta(minutes=5)


async def reserve(store: SandboxStore, *sandboxes: Sandbox) -> None:
    for each in sandboxes:
        await store.reserve(each, max_sandboxes=0, max_per_owner=0)


async def end(store: SandboxStore, sandbox_id: str, now: datetime = LATER) -> Sandbox | None:
    return await store.end(sandbox_id, state=SandboxState.DESTROYED, reason="by request", now=now)


# --- reserve, get


async def test_a_reserved_sandbox_comes_back_whole(store: SandboxStore) -> None:
    given = sandbox(
        1,
        metadata={"naïve": "日本語 🦕 \x00 \n", "": "", "half": "\ud800"},
        owner_id="müller:{x}%\udcff",
        network="open",
        workspace="memory",
        runtime="runsc",
        reason='why "so"',
    )
    await reserve(store, given)
    assert await store.get(given.id) == given
    assert await store.list(owner_id=given.owner_id) == [given]
    assert await store.count(owner_id=given.owner_id) == 1


async def test_times_come_back_in_utc_to_the_microsecond(store: SandboxStore) -> None:
    local = NOON.astimezone(timezone(timedelta(hours=5, minutes=30)))
    await reserve(store, sandbox(1, created_at=local))
    found = await store.get("sb-00000001")
    assert found is not None
    assert found.created_at == NOON
    assert found.created_at.utcoffset() == timedelta(0)


async def test_an_unknown_sandbox_is_none(store: SandboxStore) -> None:
    assert await store.get("sb-ffffffff") is None
    assert await store.get("sb-\ud800") is None


async def test_an_id_can_be_taken_once(store: SandboxStore) -> None:
    await reserve(store, sandbox(1))
    with pytest.raises(ConflictError, match="sb-00000001"):
        await reserve(store, sandbox(1))
    await end(store, "sb-00000001")
    with pytest.raises(ConflictError, match="sb-00000001"):
        await reserve(store, sandbox(1))
    assert await store.count() == 0


async def test_only_a_live_sandbox_can_be_reserved(store: SandboxStore) -> None:
    with pytest.raises(ValueError, match="live"):
        await reserve(store, sandbox(1, state=SandboxState.ERROR))


async def test_fifty_at_once_fill_ten_places_exactly(store: SandboxStore) -> None:
    answers = await asyncio.gather(
        *(store.reserve(sandbox(n), max_sandboxes=10, max_per_owner=0) for n in range(50)),
        return_exceptions=True,
    )
    refused = [a for a in answers if a is not None]
    assert len(refused) == 40
    assert all(isinstance(a, LimitExceededError) and a.retry_after == 1 for a in refused)
    assert await store.count() == len(await store.list()) == 10
    await end(store, (await store.list())[0].id)
    await store.reserve(sandbox(99), max_sandboxes=10, max_per_owner=0)


async def test_an_owners_limit_is_that_owners_alone(store: SandboxStore) -> None:
    async def take(number: int, owner: str) -> None:
        await store.reserve(sandbox(number, owner_id=owner), max_sandboxes=0, max_per_owner=2)

    await take(1, "ada")
    await take(2, "ada")
    with pytest.raises(LimitExceededError, match="'ada'"):
        await take(3, "ada")
    await take(4, "bob")
    for number in range(5, 9):  # nobody's sandboxes are not one owner's
        await take(number, "")
    assert await store.get("sb-00000003") is None
    assert [await store.count(owner_id=o) for o in ("ada", "bob", "eve")] == [2, 1, 0]
    assert await store.count() == 7


async def test_instances_do_not_see_each_other(store: SandboxStore, redis: Redis) -> None:
    other = SandboxStore(redis, instance="ffffffff", retention=RETENTION)
    await reserve(store, sandbox(1))
    assert await other.get("sb-00000001") is None
    assert await other.list() == []
    with pytest.raises(ValueError, match="braces"):
        SandboxStore(redis, instance="a}b", retention=1)


# --- list


async def test_a_list_is_newest_first_and_live_only(store: SandboxStore) -> None:
    await reserve(store, sandbox(2), sandbox(1), sandbox(3, owner_id="bob"), sandbox(4))
    await end(store, "sb-00000004")
    assert [s.id[-1] for s in await store.list()] == ["3", "2", "1"]
    assert [s.id[-1] for s in await store.list(owner_id="ada")] == ["2", "1"]
    assert [s.id[-1] for s in await store.list(ended=True)] == ["4", "3", "2", "1"]
    assert [s.id[-1] for s in await store.list(ended=True, owner_id="bob")] == ["3"]
    assert await store.list(owner_id="eve", ended=True) == []


async def test_a_list_longer_than_a_chunk_is_whole(store: SandboxStore) -> None:
    given = [sandbox(n) for n in range(1234)]
    await asyncio.gather(*(reserve(store, each) for each in given))
    assert await store.list() == given[::-1]


@pytest.mark.parametrize(
    "garbage", [b"", b"null", b"[]", b"{", b'{"id":"x"}', b"\xff\xfe", b"[" * 100_000]
)
async def test_a_record_that_cannot_be_read_spoils_itself_alone(
    store: SandboxStore, redis: Redis, garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    await reserve(store, sandbox(1), sandbox(2))
    await redis.set(f"{PREFIX}sandbox:sb-00000001", garbage)
    with caplog.at_level(logging.WARNING):
        assert [s.id for s in await store.list()] == ["sb-00000002"]
    assert f"{PREFIX}sandbox:sb-00000001" in caplog.text
    with pytest.raises(StacyError, match=r"sandbox:sb-00000001 in Redis cannot be read"):
        await store.get("sb-00000001")
    # Once its time has passed it does not stay in the way of others, nor for ever.
    assert await store.expired(NOON + timedelta(days=1), limit=1) == []
    due = await store.expired(NOON + timedelta(days=1), limit=1)
    assert [s.id for s in due] == ["sb-00000002"]
    assert await store.count() == 1
    assert await redis.ttl(f"{PREFIX}sandbox:sb-00000001") > 0


async def test_a_record_of_a_newer_version_frees_its_owners_place_once_due(
    store: SandboxStore, redis: Redis
) -> None:
    await reserve(store, sandbox(1))
    key = f"{PREFIX}sandbox:sb-00000001"
    text: Any = await redis.get(key)
    await redis.set(key, text.replace('"running"', '"paused"'))
    assert await store.list() == []
    assert await store.expired(NOON + timedelta(days=1)) == []
    assert await store.count(owner_id="ada") == await store.count() == 0


@pytest.mark.parametrize("wrong_type", [False, True])
async def test_an_index_without_a_record_heals(
    store: SandboxStore, redis: Redis, *, wrong_type: bool
) -> None:
    await reserve(store, sandbox(1))
    await redis.delete(f"{PREFIX}sandbox:sb-00000001")
    if wrong_type:
        await redis.hset(f"{PREFIX}sandbox:sb-00000001", "a", "b")
        with pytest.raises(StacyError, match="WRONGTYPE"):
            await store.get("sb-00000001")
    assert await store.list(owner_id="ada") == []
    assert await store.count() == await store.count(owner_id="ada") == 0
    assert await store.expired(NOON + timedelta(days=1)) == []
    assert all([await redis.ttl(key) > 0 for key in await redis.keys()])


# --- update


async def test_an_update_changes_fields_in_an_expected_state(store: SandboxStore) -> None:
    await reserve(store, sandbox(1, state=SandboxState.CREATING))
    expiry = NOON + timedelta(seconds=7, microseconds=1)
    changes: dict[str, Any] = {"state": SandboxState.RUNNING, "expires_at": expiry}
    updated = await store.update("sb-00000001", expect={SandboxState.CREATING}, **changes)
    assert updated == sandbox(1, expires_at=expiry)
    assert await store.get("sb-00000001") == updated
    assert await store.update("sb-00000001", expect={SandboxState.CREATING}, **changes) is None
    assert await store.expired(expiry - timedelta(microseconds=1)) == []
    assert await store.expired(expiry) == [updated]


async def test_an_update_of_what_is_not_live_is_none(store: SandboxStore) -> None:
    assert await store.update("sb-00000001", expect=LIVE, reason="x") is None
    await reserve(store, sandbox(1))
    ended = await end(store, "sb-00000001")
    assert await store.update("sb-00000001", expect=LIVE, reason="x") is None
    assert await store.get("sb-00000001") == ended


@pytest.mark.parametrize(
    "changes",
    [{"id": "sb-1"}, {"owner_id": "eve"}, {"created_at": LATER}, {"state": SandboxState.ERROR}],
)
async def test_an_update_cannot_break_the_indexes(
    store: SandboxStore, changes: dict[str, Any]
) -> None:
    await reserve(store, sandbox(1))
    with pytest.raises(ValueError, match=r"cannot be changed|use end"):
        await store.update("sb-00000001", expect=LIVE, **changes)
    with pytest.raises(ValueError, match="has ended"):
        await store.update("sb-00000001", expect={SandboxState.ERROR}, reason="x")
    assert await store.get("sb-00000001") == sandbox(1)


async def test_of_many_updates_of_one_state_one_wins(store: SandboxStore) -> None:
    await reserve(store, sandbox(1, state=SandboxState.CREATING))
    answers = await asyncio.gather(
        *(
            store.update(
                "sb-00000001",
                expect={SandboxState.CREATING},
                state=SandboxState.RUNNING,
                reason=f"{n}",
            )
            for n in range(20)
        )
    )
    winners = [a for a in answers if a is not None]
    assert len(winners) == 1
    assert await store.get("sb-00000001") == winners[0]


# --- extend


async def test_extending_moves_the_expiry(store: SandboxStore) -> None:
    await reserve(store, sandbox(1))
    extended = await store.extend("sb-00000001", now=LATER, ttl=7200, max_ttl=7200)
    assert extended == sandbox(1, expires_at=LATER + timedelta(hours=2))
    assert await store.get("sb-00000001") == extended
    assert await store.expired(LATER + timedelta(hours=1)) == []
    same = await store.extend("sb-00000001", now=LATER, ttl=1, max_ttl=7200)
    assert same == extended


async def test_what_cannot_be_extended_says_why(store: SandboxStore) -> None:
    async def extend(sandbox_id: str, ttl: float = 60, now: datetime = LATER) -> None:
        await store.extend(sandbox_id, now=now, ttl=ttl, max_ttl=3600)

    await reserve(
        store, sandbox(1), sandbox(2, state=SandboxState.CREATING, reason="pulling"), sandbox(3)
    )
    await end(store, "sb-00000003")
    with pytest.raises(SandboxNotFoundError, match="not found"):
        await extend("sb-ffffffff")
    with pytest.raises(SandboxNotRunningError, match="pulling"):
        await extend("sb-00000002")
    with pytest.raises(SandboxNotFoundError, match="by request"):
        await extend("sb-00000003")
    with pytest.raises(SandboxNotFoundError, match="expired"):
        await extend("sb-00000001", now=NOON + timedelta(hours=2))
    with pytest.raises(InvalidRequestError):
        await extend("sb-00000001", ttl=0)
    with pytest.raises(LimitExceededError):
        await extend("sb-00000001", ttl=3601)
    assert await store.get("sb-00000001") == sandbox(1)


async def test_of_many_extensions_at_once_the_longest_stays(store: SandboxStore) -> None:
    await reserve(store, sandbox(1))
    ttls = [3600.0 + n for n in range(50)]
    await asyncio.gather(
        *(store.extend("sb-00000001", now=LATER, ttl=ttl, max_ttl=9999) for ttl in ttls)
    )
    assert await store.get("sb-00000001") == sandbox(
        1, expires_at=LATER + timedelta(seconds=max(ttls))
    )


async def test_extending_never_brings_back_what_has_ended(store: SandboxStore) -> None:
    for number in range(25):
        one = sandbox(number)
        await reserve(store, one)
        extensions = [store.extend(one.id, now=LATER, ttl=4000 + n, max_ttl=9999) for n in range(4)]
        ended, *extended = await asyncio.gather(
            end(store, one.id), *extensions, return_exceptions=True
        )
        assert isinstance(ended, Sandbox)
        assert all(isinstance(e, Sandbox | SandboxNotFoundError) for e in extended)
        assert await store.get(one.id) == ended
    assert await store.list() == await store.expired(NOON + timedelta(days=9)) == []


async def test_a_record_that_never_stands_still_is_an_error_not_a_hang(
    store: SandboxStore, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    await reserve(store, sandbox(1))
    monkeypatch.setattr(module, "MOST_RACES", 0)
    for call in (
        end(store, "sb-00000001"),
        store.extend("sb-00000001", now=LATER, ttl=9, max_ttl=9),
        store.update("sb-00000001", expect=LIVE, reason="x"),
    ):
        with pytest.raises(ConflictError, match="try again"):
            await call


# --- end


async def test_of_twenty_ends_one_gets_the_record(store: SandboxStore) -> None:
    await reserve(store, sandbox(1))
    answers = await asyncio.gather(*(end(store, "sb-00000001") for _ in range(20)))
    expected = sandbox(1, state=SandboxState.DESTROYED, reason="by request", ended_at=LATER)
    assert [a for a in answers if a is not None] == [expected]
    assert await store.get("sb-00000001") == expected
    assert await store.count() == await store.count(owner_id="ada") == 0
    assert await end(store, "sb-ffffffff") is None
    with pytest.raises(ValueError, match="no end"):
        await store.end("sb-00000001", state=SandboxState.RUNNING, reason="", now=LATER)


@pytest.mark.parametrize("owner", ["ada", ""])
async def test_every_key_has_an_end(store: SandboxStore, redis: Redis, owner: str) -> None:
    for number in range(20):
        await reserve(store, sandbox(number, owner_id=owner))
    for number in range(20):
        await end(store, f"sb-{number:08x}")
    keys: Any = await redis.keys()
    records = {f"{PREFIX}sandbox:sb-{number:08x}" for number in range(20)}
    assert set(keys) == records | {f"{PREFIX}ended"}
    for key in keys:
        assert 0 < await redis.ttl(key) <= RETENTION


async def test_the_keys_of_live_sandboxes_are_all_in_the_expiry_index(
    store: SandboxStore, redis: Redis
) -> None:
    await reserve(store, sandbox(1, state=SandboxState.CREATING), sandbox(2, owner_id=""))
    keys: Any = await redis.keys()
    names = {key.removeprefix(PREFIX) for key in keys}
    ids = {"sb-00000001", "sb-00000002"}
    assert names == {"live", "expiry", "owner:ada"} | {f"sandbox:{i}" for i in ids}
    assert set(await redis.zrange(f"{PREFIX}expiry", 0, -1)) == ids


async def test_records_go_after_their_retention(redis: Redis) -> None:
    store = SandboxStore(redis, instance=INSTANCE, retention=0.05)
    await reserve(store, sandbox(1))
    assert await end(store, "sb-00000001") is not None
    deadline = asyncio.get_running_loop().time() + 5
    while await redis.keys():
        assert asyncio.get_running_loop().time() < deadline, await redis.keys()
        await asyncio.sleep(0.02)
    assert await store.get("sb-00000001") is None
    assert await store.list(ended=True) == []


async def test_the_index_of_the_ended_is_trimmed(
    store: SandboxStore, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_ENDED", 3)
    for number in range(5):
        await reserve(store, sandbox(number))
        await end(store, f"sb-{number:08x}")
    assert [s.id[-1] for s in await store.list(ended=True)] == ["4", "3", "2"]
    await reserve(store, sandbox(6))
    await end(store, "sb-00000006", now=LATER + timedelta(seconds=RETENTION, microseconds=1))
    assert await redis.zrange(f"{PREFIX}ended", 0, -1) == ["sb-00000006"]


async def test_counts_stay_right_under_mixed_traffic(store: SandboxStore) -> None:
    async def life(number: int) -> None:
        one = sandbox(number, owner_id=f"owner{number % 3}")
        await reserve(store, one)
        await asyncio.gather(end(store, one.id), end(store, one.id), store.list())
        assert await store.count(owner_id=one.owner_id) >= 0

    await asyncio.gather(*(life(n) for n in range(60)))
    assert [await store.count(owner_id=f"owner{n}") for n in range(3)] == [0, 0, 0]
    assert await store.count() == 0


# --- expired, ping


async def test_what_is_due_comes_longest_overdue_first(store: SandboxStore) -> None:
    for number in range(5):
        expires = NOON + timedelta(seconds=10 - number)
        await reserve(store, sandbox(number, state=SandboxState.CREATING, expires_at=expires))
    now = NOON + timedelta(seconds=9)
    assert [s.id[-1] for s in await store.expired(now)] == ["4", "3", "2", "1"]
    assert [s.id[-1] for s in await store.expired(now, limit=2)] == ["4", "3"]
    await end(store, "sb-00000004")
    assert [s.id[-1] for s in await store.expired(now, limit=2)] == ["3", "2"]


async def test_ping_tells_the_latency(store: SandboxStore) -> None:
    assert 0 < await store.ping() < 1


# --- a command sent twice


async def test_scripts_sent_twice_answer_as_the_first_time(
    store: SandboxStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As redis-py does when a connection drops between a command and its answer."""
    once = store._run

    async def twice(*args: Any) -> Any:
        await once(*args)
        return await once(*args)

    monkeypatch.setattr(store, "_run", twice)
    await store.reserve(RUNNING, max_sandboxes=1, max_per_owner=1)
    updated = await store.update(RUNNING.id, expect=LIVE, reason="tired")
    assert updated == replace(RUNNING, reason="tired")
    extended = await store.extend(RUNNING.id, now=LATER, ttl=3600, max_ttl=3600)
    assert extended.expires_at == LATER + timedelta(hours=1)
    assert await end(store, RUNNING.id) is not None
    assert await end(store, RUNNING.id) is None


async def test_scripts_work_after_redis_forgot_them(store: SandboxStore, redis: Redis) -> None:
    await reserve(store, sandbox(1))
    await redis.script_flush()
    await reserve(store, sandbox(2))
    assert await store.count() == 2
