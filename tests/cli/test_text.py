from datetime import UTC, datetime

import pytest

from stacyvm.cli.text import clean, since, size, span


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0s"),
        (0, "0s"),
        (0.9, "0s"),
        (42, "42s"),
        (60, "1m"),
        (185, "3m5s"),
        (3600, "1h"),
        (3605, "1h"),
        (7980, "2h13m"),
        (90000, "1d1h"),
        (86400 * 30 + 61, "30d"),
    ],
)
def test_span_has_two_units_at_most(seconds: float, text: str) -> None:
    assert span(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (2**30, "1.0 GiB"), (2**50, "1024.0 TiB")],
)
def test_size_has_a_binary_unit(count: int, text: str) -> None:
    assert size(count) == text


def test_since_knows_offsets_and_nanoseconds() -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert since("2026-01-01T11:00:00Z", noon) == 3600
    assert since("2026-01-01T14:00:00+02:00", noon) == 0
    assert since("2026-01-01T11:59:59.123456789Z", noon) == pytest.approx(0.876544, abs=1e-5)


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01T00:00:00Z"])
def test_since_of_no_timestamp_is_none(text: str) -> None:
    assert since(text) is None


def test_clean_keeps_what_can_be_printed() -> None:
    assert clean(" größe\t=\n日本 \x07\x9b1m ") == "größe = 日本 \\x07\\x9b1m"
