import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stacyvm.domain.sandbox import Network, Sandbox, SandboxState, Workspace
from stacyvm.store.codec import MalformedRecordError, decode, encode, owner_of
from tests.unit.store.samples import NOON, RUNNING

# Any code point, lone surrogates too: a header may bring them.
TEXT = st.text(st.characters(exclude_categories=[]))
TIMES = st.datetimes(timezones=st.just(UTC))
SANDBOXES = st.builds(
    Sandbox,
    id=TEXT,
    state=st.sampled_from(SandboxState),
    provider=TEXT,
    image=TEXT,
    memory_mb=st.integers(),
    vcpus=st.integers(),
    created_at=TIMES,
    expires_at=TIMES,
    owner_id=TEXT,
    metadata=st.dictionaries(TEXT, TEXT),
    preview_domain=TEXT,
    network=st.sampled_from(get_args(Network)),
    runtime=TEXT,
    workspace=st.sampled_from(get_args(Workspace)),
    ended_at=st.none() | TIMES,
    reason=TEXT,
)


@given(SANDBOXES)
def test_what_comes_out_is_what_went_in(sandbox: Sandbox) -> None:
    text = encode(sandbox, "r")
    assert text.isascii()
    assert decode("key", text) == sandbox
    assert owner_of(text) == sandbox.owner_id


@given(
    st.dictionaries(
        st.sampled_from(sorted(json.loads(encode(RUNNING, "r")))),
        st.none()
        | st.integers()
        | TEXT
        | st.lists(st.integers())
        | st.dictionaries(TEXT, st.integers()),
    )
)
def test_any_wrong_field_is_one_clear_error_or_a_sandbox(changes: dict[str, Any]) -> None:
    text = json.dumps(json.loads(encode(RUNNING, "r")) | changes)
    try:
        found: Sandbox | MalformedRecordError = decode("key", text)
    except MalformedRecordError as error:
        found = error
    if isinstance(found, MalformedRecordError):
        assert str(found).startswith("the record key in Redis cannot be read: ")
    else:
        assert decode("key", encode(found, "r")) == found


@pytest.mark.parametrize("text", ["", "null", "1", "[]", "{}", "{", "NaN", '{"id":', "[" * 99999])
def test_what_is_not_a_record_is_malformed(text: str) -> None:
    with pytest.raises(MalformedRecordError):
        decode("key", text)
    assert owner_of(text) == ""


def test_fields_of_a_newer_version_are_ignored_and_missing_ones_default() -> None:
    found = json.loads(encode(RUNNING, "r"))
    del found["runtime"], found["ended_at"]
    assert decode("key", json.dumps(found | {"colour": "blue"})) == RUNNING


def test_any_zone_is_the_same_moment() -> None:
    there = NOON.astimezone(timezone(timedelta(hours=-9)))
    assert decode("key", encode(replace(RUNNING, created_at=there), "r")).created_at == NOON


def test_a_time_without_a_zone_is_refused_both_ways() -> None:
    naive: datetime = NOON.replace(tzinfo=None)
    with pytest.raises(ValueError, match="time zone"):
        encode(replace(RUNNING, created_at=naive), "r")
    found = json.loads(encode(RUNNING, "r")) | {"created_at": naive.isoformat()}
    with pytest.raises(MalformedRecordError, match="without a zone"):
        decode("key", json.dumps(found))
