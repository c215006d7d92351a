import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stacyvm.api.wire import dumps, raw_path, timestamp, timestamp_seconds


def test_json_is_compact_escaped_as_go_does_and_ends_with_a_newline() -> None:
    assert dumps({"status": "alive", "n": [1, None]}) == b'{"status":"alive","n":[1,null]}\n'
    assert dumps("<a&b>\u2028\u2029é") == '"\\u003ca\\u0026b\\u003e\\u2028\\u2029é"\n'.encode()


def test_what_is_not_text_becomes_a_replacement_character() -> None:
    assert dumps("a\udcff\ud800b") == '"a\ufffd\ufffdb"\n'.encode()


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_every_text_survives(text: str) -> None:
    assert json.loads(dumps(text)) == text


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2026, 5, 4, 10, 32, 14, tzinfo=UTC), "2026-05-04T10:32:14Z"),
        (datetime(2026, 5, 4, 10, 32, 14, 120300, tzinfo=UTC), "2026-05-04T10:32:14.1203Z"),
        (datetime(2026, 5, 4, 10, 32, 10, tzinfo=UTC), "2026-05-04T10:32:10Z"),
        (
            datetime(2026, 5, 4, 10, 0, tzinfo=timezone(timedelta(hours=2))),
            "2026-05-04T08:00:00Z",
        ),
    ],
)
def test_timestamps_are_utc_without_trailing_zeros(moment: datetime, text: str) -> None:
    assert timestamp(moment) == text


def test_file_times_are_whole_seconds() -> None:
    moment = datetime(2026, 5, 4, 10, 32, 14, 999999, tzinfo=UTC)
    assert timestamp_seconds(moment) == "2026-05-04T10:32:14Z"


def test_raw_path_is_there_only_for_names_that_are_not_text() -> None:
    assert raw_path("/workspace/é") is None
    assert raw_path("/workspace/a\udcff b") == "/workspace/a%FF%20b"
