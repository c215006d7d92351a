"""The lines of streamed output: JSON of the same text, however the bytes are cut."""

import codecs
import json

from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st
from typing_extensions import override

from stacyvm.api.streams import LineWriter

PIECES = st.lists(
    st.one_of(
        st.binary(max_size=12),
        st.text('ab\\"\n\t\r<&\u00e9\u2028\U0001f600', max_size=12).map(str.encode),
    ),
    max_size=8,
)


class Collecting(web.StreamResponse):
    """A response that keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()

    @override
    async def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data


@settings(deadline=None)
@given(PIECES)
async def test_output_lines_hold_the_text_that_was_printed(pieces: list[bytes]) -> None:
    response = Collecting()
    writer = LineWriter(response)
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for piece in pieces:
        await writer.send_output("stdout", piece, decoder)
    rest = decoder.decode(b"", final=True)
    assert response.written.isascii()
    lines = bytes(response.written).split(b"\n")
    assert lines.pop() == b""
    sent = [json.loads(line) for line in lines]
    assert all(record["stream"] == "stdout" and record["data"] for record in sent)
    whole = b"".join(pieces).decode("utf-8", "replace")
    assert "".join(record["data"] for record in sent) + rest == whole
