from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from stacyvm.domain.errors import (
    InvalidRequestError,
    LimitExceededError,
    SandboxNotFoundError,
    SandboxNotRunningError,
)
from stacyvm.domain.sandbox import (
    Sandbox,
    SandboxState,
    check_owner,
    is_sandbox_id,
    new_sandbox_id,
)

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
RUNNING = Sandbox(
    id="sb-00000001",
    state=SandboxState.RUNNING,
    provider="local",
    image="stacyvm/node",
    memory_mb=512,
    vcpus=1,
    created_at=NOON,
    expires_at=NOON + timedelta(minutes=30),
)


def test_extending_counts_from_now() -> None:
    extended = RUNNING.extended(now=NOON, ttl=3600, max_ttl=7200)
    assert extended == replace(RUNNING, expires_at=NOON + timedelta(hours=1))


def test_extending_never_shortens_a_life() -> None:
    long = replace(RUNNING, expires_at=NOON + timedelta(hours=2))
    assert long.extended(now=NOON, ttl=60, max_ttl=3600) == long


@pytest.mark.parametrize("ttl", [0, -1])
def test_a_ttl_that_is_not_positive_is_refused(ttl: float) -> None:
    with pytest.raises(InvalidRequestError, match="positive"):
        RUNNING.extended(now=NOON, ttl=ttl, max_ttl=60)


def test_a_ttl_above_the_limit_is_refused() -> None:
    with pytest.raises(LimitExceededError, match="max_ttl 60s"):
        RUNNING.extended(now=NOON, ttl=61, max_ttl=60)


def test_what_has_expired_cannot_be_extended() -> None:
    with pytest.raises(SandboxNotFoundError, match="expired"):
        RUNNING.extended(now=RUNNING.expires_at, ttl=60, max_ttl=60)


@pytest.mark.parametrize("state", [SandboxState.CREATING, SandboxState.UNHEALTHY])
def test_what_does_not_run_yet_or_any_more_is_a_conflict(state: SandboxState) -> None:
    with pytest.raises(SandboxNotRunningError, match=state.value):
        replace(RUNNING, state=state).require_running()


@pytest.mark.parametrize(
    "state", [SandboxState.DESTROYED, SandboxState.EXPIRED, SandboxState.ERROR]
)
def test_what_has_ended_is_not_found_and_says_why(state: SandboxState) -> None:
    with pytest.raises(SandboxNotFoundError, match="out of memory"):
        replace(RUNNING, state=state, reason="out of memory").require_running()


def test_ids_have_the_contracts_form() -> None:
    ids = {new_sandbox_id() for _ in range(100)}
    assert len(ids) == 100
    assert all(is_sandbox_id(sandbox_id) for sandbox_id in ids)
    assert not is_sandbox_id("sb-0000000G")
    assert not is_sandbox_id("sb-00000000\n")


@pytest.mark.parametrize("owner", ["a/b", "a\\b", "a b", "a\nb", "x" * 129, "a\x7f"])
def test_an_owner_that_could_be_a_path_is_refused(owner: str) -> None:
    with pytest.raises(InvalidRequestError, match="owner id"):
        check_owner(owner)


def test_an_owner_is_trimmed() -> None:
    assert check_owner("  ada ") == "ada"
    assert check_owner("   ") == ""
