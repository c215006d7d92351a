"""Bytes to send, whatever they come from."""

import asyncio
import io
import os
import stat
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator

from stacyvm_sdk._wire.call import Body
from stacyvm_sdk.models import AsyncContent, Content

CHUNK = 256 * 1024


def whole(content: AsyncContent) -> bytes | None:
    """Return content that is in memory as bytes, and None for content that must be read."""
    if isinstance(content, str):
        return content.encode("utf-8", "surrogateescape")
    if isinstance(content, bytes | bytearray | memoryview):
        return bytes(content)
    return None


def size_of(content: AsyncContent) -> int | None:
    """Return how many bytes there are to send, or None where only reading them tells."""
    held = whole(content)
    if held is not None:
        return len(held)
    # Only these: the descriptor of a GzipFile, for example, tells the compressed size.
    if isinstance(content, io.BufferedReader | io.FileIO):
        state = os.fstat(content.fileno())
        return max(0, state.st_size - content.tell()) if stat.S_ISREG(state.st_mode) else None
    return None


def body(content: Content, *, head: bytes = b"") -> Body:
    """Return ``head`` and then the content, as the synchronous client can send it."""
    held = whole(content)
    if held is not None:
        return head + held
    return _after(head, content)


def async_body(content: AsyncContent, *, head: bytes = b"") -> Body:
    """Return ``head`` and then the content, as the asynchronous client can send it."""
    held = whole(content)
    if held is not None:
        return head + held
    return _async_after(head, content)


async def in_thread(items: Iterable[bytes]) -> AsyncIterator[bytes]:
    """Iterate over something whose next item may take a while, off the event loop."""
    iterator = iter(items)
    while (item := await asyncio.to_thread(next, iterator, None)) is not None:
        yield item


def _after(head: bytes, content: Content) -> Iterator[bytes]:
    if head:
        yield head
    yield from _chunks(content)


async def _async_after(head: bytes, content: AsyncContent) -> AsyncIterator[bytes]:
    if head:
        yield head
    items = content if isinstance(content, AsyncIterable) else in_thread(_chunks(content))
    async for item in items:
        yield item


def _chunks(content: Content) -> Iterator[bytes]:
    # A file is an iterable of lines too, but lines may be tiny, or huge.
    read = getattr(content, "read", None)
    if read is None:
        yield from content  # type: ignore[misc]  # in memory was handled by whole()
        return
    while block := read(CHUNK):
        yield block
