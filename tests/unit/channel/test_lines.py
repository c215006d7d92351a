import pytest
from hypothesis import given
from hypothesis import strategies as st

from stacyvm.channel.lines import LineSplitter
from stacyvm.channel.violation import ProtocolViolationError


@given(
    st.lists(st.binary(max_size=20).map(lambda b: b.replace(b"\n", b"")), max_size=20), st.data()
)
def test_any_cutting_gives_the_same_lines(lines: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(line + b"\n" for line in lines)
    splitter = LineSplitter(64)
    splitter.strict()
    got: list[bytes] = []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        got += splitter.feed(stream[:size])
        stream = stream[size:]
    assert got == lines


def test_the_limit_counts_the_newline() -> None:
    splitter = LineSplitter(8)
    splitter.strict()
    assert splitter.feed(b"1234567\n") == [b"1234567"]
    with pytest.raises(ProtocolViolationError):
        splitter.feed(b"12345678\n")


@pytest.mark.parametrize("pieces", [[b"12345678"], [b"1234", b"5678"], [b"a\n12345678\nb"]])
def test_a_line_too_long_is_refused_before_its_end_is_seen(pieces: list[bytes]) -> None:
    splitter = LineSplitter(8)
    splitter.strict()
    for piece in pieces[:-1]:
        splitter.feed(piece)
    with pytest.raises(ProtocolViolationError):
        splitter.feed(pieces[-1])


def test_before_strict_long_lines_are_dropped_and_the_next_line_is_whole() -> None:
    splitter = LineSplitter(8)
    assert splitter.feed(b"x" * 100) == []
    assert splitter.feed(b"x" * 100) == []
    assert splitter.feed(b"xx\nnext\n" + b"y" * 50 + b"\nlast\n") == [b"next", b"last"]
