import pytest
from hypothesis import given
from hypothesis import strategies as st

from stacyvm.domain.duration import format_duration, parse_duration
from stacyvm.domain.errors import InvalidRequestError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("0s", 0.0),
        ("1.5s", 1.5),
        ("1h30m", 5400.0),
        ("-1.5h", -5400.0),
        ("+3us", 3e-6),
        ("3µs", 3e-6),
        ("3\u03bcs", 3e-6),
        ("100ms", 0.1),
        (".5s", 0.5),
        ("1.s", 1.0),
        ("850ns", 8.5e-7),
    ],
)
def test_a_duration_is_read_as_go_reads_it(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", 'time: invalid duration ""'),
        ("-", 'time: invalid duration "-"'),
        ("abc", 'time: invalid duration "abc"'),
        ("30", 'time: missing unit in duration "30"'),
        ("1d", 'time: unknown unit "d" in duration "1d"'),
        ("1h 30m", 'time: unknown unit "h " in duration "1h 30m"'),
        (".s", 'time: invalid duration ".s"'),
        ("9999999h", 'time: invalid duration "9999999h"'),
        ("9" * 200 + "h", "time: invalid duration: too long"),
    ],
)
def test_what_is_no_duration_is_refused_in_gos_words(text: str, message: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse_duration(text)
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (8.5e-7, "850ns"),
        (1.25e-5, "12.5µs"),
        (0.127123456, "127.123456ms"),
        (1.5, "1.5s"),
        (60, "1m0s"),
        (86400, "24h0m0s"),
        (7993.25, "2h13m13.25s"),
        (-90, "-1m30s"),
    ],
)
def test_a_duration_is_written_as_go_writes_it(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.integers(min_value=-(10**15), max_value=10**15))
def test_what_is_written_is_read_back(nanos: int) -> None:
    seconds = nanos / 1e9
    assert round(parse_duration(format_duration(seconds)) * 1e9) == round(seconds * 1e9)
