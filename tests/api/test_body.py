import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stacyvm.api.body import ValueEnd, decode
from stacyvm.api.schemas import InvalidBodyError

JSON_OBJECTS = st.dictionaries(
    st.text(),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=10,
    ),
)


@given(JSON_OBJECTS, st.integers(1, 7), st.booleans(), st.text())
def test_the_end_of_an_object_is_found_however_it_arrives(
    value: dict[str, object], step: int, indented: bool, junk: str
) -> None:
    body = json.dumps(value, indent=2 if indented else None).encode()
    end, buffer, found = ValueEnd(), bytearray(), None
    stream = b" \n" + body + b"\n" + junk.encode("utf-8", "replace")
    for start in range(0, len(stream), step):
        buffer += stream[start : start + step]
        found = end.look(buffer)
        if found:
            break
    assert found == 2 + len(body)


def test_no_end_is_found_while_the_object_is_open() -> None:
    assert ValueEnd().look(bytearray(b'{"a":"}\\"}')) is None


def test_only_the_first_value_counts() -> None:
    assert decode(b' {"a":1} {"a":2} junk') == {"a": 1}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"   ",
        b"{",
        b"{'a':1}",
        b"\xff\xfe{}",
        b"\xef\xbb\xbf{}",
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"a":"\x00"}',
    ],
)
def test_what_is_not_json_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidBodyError, match="invalid request body"):
        decode(body)
