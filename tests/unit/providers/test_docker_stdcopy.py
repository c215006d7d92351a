import pytest
from hypothesis import given
from hypothesis import strategies as st

from stacyvm.domain.errors import ChannelClosedError
from stacyvm.providers.docker_stdcopy import Demultiplexer

FRAMES = st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=20)), max_size=15)


def frame(kind: int, data: bytes) -> bytes:
    return bytes([kind, 0, 0, 0]) + len(data).to_bytes(4, "big") + data


@given(FRAMES, st.data())
def test_any_cutting_gives_the_same_two_streams(
    frames: list[tuple[int, bytes]], data: st.DataObject
) -> None:
    stream = b"".join(frame(kind, body) for kind, body in frames)
    err: list[bytes] = []
    demultiplexer = Demultiplexer(err.append)
    out = b""
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        out += demultiplexer.feed(stream[:size])
        stream = stream[size:]
    assert out == b"".join(body for kind, body in frames if kind == 1)
    assert b"".join(err) == b"".join(body for kind, body in frames if kind == 2)


@pytest.mark.parametrize("raw", [b"HTTP/1.1", b"\x01\x01\0\0\0\0\0\1", b"\x03\0\0\0\0\0\0\1x"])
def test_anything_else_is_refused(raw: bytes) -> None:
    with pytest.raises(ChannelClosedError):
        Demultiplexer(lambda _: None).feed(raw)
