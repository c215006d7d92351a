"""Request bodies: JSON whole and bounded, everything else as a stream."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NoReturn, TypeVar

from aiohttp import web

from stacyvm.api.context import services_of
from stacyvm.api.errors import BodyTooLargeError
from stacyvm.api.schemas import Body, InvalidBodyError, validate
from stacyvm.domain.errors import DeadlineExceededError, InvalidRequestError

JSON_TIMEOUT = 30.0  # seconds a whole JSON body may take to arrive
IDLE_TIMEOUT = 60.0  # seconds an upload may stand still

B = TypeVar("B", bound=Body)

_SPACE = re.compile(r"[ \t\r\n]*")
_STRUCTURE = re.compile(rb'["{}\[\]]')
_STRING_END = re.compile(rb'["\\]')


async def read_json(request: web.Request, schema: type[B]) -> B:
    """Read the body's first JSON value; what follows it is ignored, as is the content type.

    Raises:
        InvalidBodyError: Empty, malformed, or not what ``schema`` takes.
        BodyTooLargeError: Over ``max_body``.
        DeadlineExceededError: It did not arrive in time.
    """
    reader = JsonReader(request)
    return validate(schema, decode(await reader.rest()))


class JsonReader:
    """Reads a JSON value and, where a route wants it, the raw bytes behind it."""

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self._limit = services_of(request).settings.max_body
        self._end = ValueEnd()
        self._buffer = bytearray()

    async def value(self) -> bytes:
        """Return the body up to the end of its first JSON object, or all of it if it has none."""
        async with _in_time():
            while await self._more():
                end = self._end.look(self._buffer)
                self._check(end or len(self._buffer))
                if end:
                    break
        return bytes(self._buffer[: self._end.position])

    async def rest(self) -> bytes:
        """Return the whole body."""
        if self._buffer and self._request.content.at_eof():
            return bytes(self._buffer)  # mostly it came with the headers
        async with _in_time():
            while await self._more():
                self._check(len(self._buffer))
        return bytes(self._buffer)

    async def raw(self) -> AsyncIterator[bytes]:
        """Yield what follows the first newline behind the value, as it comes.

        Raises:
            ConnectionError: The caller broke off.
        """
        chunk = bytes(self._buffer[self._end.position :])
        while (newline := chunk.find(b"\n")) < 0:
            if not (chunk := await self._stdin_chunk()):
                return
        chunk = chunk[newline + 1 :]
        if chunk:
            yield chunk
        while chunk := await self._stdin_chunk():
            yield chunk

    async def _stdin_chunk(self) -> bytes:
        try:
            return await next_chunk(self._request)
        except InvalidRequestError as error:
            raise ConnectionError(error.message) from error

    async def _more(self) -> bool:
        chunk = await next_chunk(self._request)
        self._buffer += chunk
        return bool(chunk)

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise BodyTooLargeError(self._limit, "STACYVM_MAX_BODY")


class ValueEnd:
    """Finds where the first JSON object of a growing buffer ends, looking at each byte once."""

    def __init__(self) -> None:
        self.position: int | None = None
        self._seen = 0
        self._depth = 0
        self._in_string = False

    def look(self, buffer: bytearray) -> int | None:
        """Go on with what has been added to ``buffer``; return the position once it is known."""
        while self.position is None:
            pattern = _STRING_END if self._in_string else _STRUCTURE
            found = pattern.search(buffer, self._seen)
            if found is None:
                self._seen = len(buffer)
                break
            if not self._step(found.group(), found.start(), len(buffer)):
                break
        return self.position

    def _step(self, token: bytes, at: int, size: int) -> bool:
        """Take one token; False when more bytes are needed to do so."""
        if token == b"\\":
            if at + 2 > size:
                self._seen = at
                return False
            self._seen = at + 2
            return True
        self._seen = at + 1
        if token == b'"':
            self._in_string = not self._in_string
        else:
            self._depth += 1 if token in b"{[" else -1
            if self._depth <= 0:
                self.position = self._seen
        return True


def decode(body: bytes) -> object:
    """Return the first JSON value of ``body``.

    Raises:
        InvalidBodyError: There is none.
    """
    try:
        text = body.decode()
        start = _SPACE.match(text)
        value, _ = _DECODER.raw_decode(text, start.end() if start else 0)
    except RecursionError as error:
        raise InvalidBodyError([{"field": "", "problem": "nested too deeply"}]) from error
    except ValueError as error:  # not UTF-8, not JSON, NaN, or an integer of thousands of digits
        raise InvalidBodyError([{"field": "", "problem": str(error)[:200]}]) from error
    else:
        return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def declared_size(request: web.Request) -> int | None:
    """Return how many bytes the body will have, None when that is not known beforehand."""
    return None if request.headers.get("Content-Encoding") else request.content_length


async def upload(request: web.Request) -> AsyncIterator[bytes]:
    """Yield a raw body as it comes, up to ``max_upload`` bytes.

    Raises:
        BodyTooLargeError: It is longer.
        DeadlineExceededError: It stood still for too long.
        InvalidRequestError: Its framing is broken.
    """
    limit = services_of(request).settings.max_upload
    if limit and (declared_size(request) or 0) > limit:
        raise BodyTooLargeError(limit, "STACYVM_MAX_UPLOAD")
    received = 0
    while True:
        try:
            async with asyncio.timeout(IDLE_TIMEOUT):
                chunk = await next_chunk(request)
        except TimeoutError as error:
            raise DeadlineExceededError(
                f"the upload stood still for {IDLE_TIMEOUT:g} seconds"
            ) from error
        if not chunk:
            return
        received += len(chunk)
        if limit and received > limit:
            raise BodyTooLargeError(limit, "STACYVM_MAX_UPLOAD")
        yield chunk


async def next_chunk(request: web.Request) -> bytes:
    """Return the next bytes of the body, empty at its end.

    Raises:
        InvalidRequestError: Its framing or compression is broken.
        ConnectionError: The caller broke off.
    """
    await _say_continue(request)
    try:
        return await request.content.readany()
    except web.RequestPayloadError as error:
        raise InvalidRequestError(f"invalid request body: {error}") from error


async def expect_later(request: web.Request) -> None:
    """Leave ``Expect: 100-continue`` unanswered until somebody reads the body.

    So a caller who is going to be refused never starts to send.
    """


_CONTINUED = web.RequestKey("continued", bool)


async def _say_continue(request: web.Request) -> None:
    if "Expect" not in request.headers or request.get(_CONTINUED):
        return
    request[_CONTINUED] = True
    if request.headers["Expect"].lower() == "100-continue" and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


@asynccontextmanager
async def _in_time() -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(JSON_TIMEOUT):
            yield
    except TimeoutError as error:
        raise DeadlineExceededError(
            f"the request body did not arrive within {JSON_TIMEOUT:g} seconds"
        ) from error
