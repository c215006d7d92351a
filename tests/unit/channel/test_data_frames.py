"""What the agent's codec writes, the channel reads: all bytes, text or not."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stacyvm.agent.frames import MAX_CHUNK, MAX_FRAME, encode_data
from stacyvm.channel.events import Data, parse_event, parse_frame
from stacyvm.channel.violation import ProtocolViolationError

PLAIN = st.text('ab\\"\n\t\r {}:,', max_size=60).map(str.encode)


@given(st.one_of(st.binary(max_size=200), PLAIN))
@example(b"\x7f")
@example(b"\x1b[31mred\x1b[0m")
@example(b'"\\n"')
def test_any_bytes_come_through(data: bytes) -> None:
    line = encode_data(7, 2, data)
    assert line.isascii()
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert parse_event(parse_frame(line[:-1])) == Data(2, data)


def test_plain_text_is_sent_as_text_and_the_rest_as_base64() -> None:
    assert (
        encode_data(1, 1, b'say "hi"\n')
        == b'{"id":1,"ev":"data","fd":1,"text":"say \\"hi\\"\\n"}\n'
    )
    assert encode_data(1, 1, b"\xff") == b'{"id":1,"ev":"data","fd":1,"data":"/w=="}\n'


def test_text_in_any_other_form_of_json_is_read_too() -> None:
    line = b'{ "fd": 2, "text": "a\\u0041\\/", "ev": "data", "id": 3 }'
    assert parse_event(parse_frame(line)) == Data(2, b"aA/")


@pytest.mark.parametrize("byte", [b"\n", b'"', b"a", b"\0"])
def test_the_largest_chunk_fits_a_frame_whatever_it_holds(byte: bytes) -> None:
    assert len(encode_data(2**40, 1, byte * MAX_CHUNK)) <= MAX_FRAME


@pytest.mark.parametrize(
    "body",
    [
        '"text":"\\u00e9"',
        '"text":7',
        '"text":null',
        '"data":"=="',
        '"data":7',
        '"fd":3',
        '"plain":"x"',
    ],
)
def test_a_false_data_event_is_a_violation(body: str) -> None:
    line = f'{{"id":1,"ev":"data",{body}}}'.encode()
    with pytest.raises(ProtocolViolationError):
        parse_event(parse_frame(line))
