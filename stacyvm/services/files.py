"""Read and write files inside sandboxes, streamed both ways."""

import binascii
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from stacyvm.channel.events import Data, Info, Items
from stacyvm.channel.stream import Stream
from stacyvm.domain.errors import AgentError, ChannelClosedError, SandboxLostError
from stacyvm.domain.file import FileInfo, check_path
from stacyvm.services.sandboxes import Sandboxes

SMALL = 128 * 1024  # bytes a write may have to travel in a single frame
WALK_TIMEOUT = 60.0  # seconds a listing, glob or recursive removal may take
MAX_ITEMS = 200_000  # the agent's own limit is lower; this one guards against a false agent


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """What arrived: the size in bytes and the SHA-256 in hexadecimal, as the agent counted them."""

    size: int
    sha256: str


class OpenFile:
    """A file being read: ``info`` first, then its bytes by iteration."""

    def __init__(self, stream: Stream, info: FileInfo, offset: int, length: int) -> None:
        self.info = info
        self.offset = offset  # first byte that is sent
        self.length = length  # how many bytes are sent
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the bytes; raises rather than end short."""
        left = self.length
        async for event in self._stream:
            if isinstance(event, Data):
                left -= len(event.data)
                yield event.data
        if left:
            raise AgentError(f"file {self.info.path!r} changed while it was read")


@dataclass(frozen=True, kw_only=True)
class Files:
    """The use cases around files. Paths are absolute, or relative to the workspace.

    Every method raises SandboxNotFoundError, InvalidPathError, and what the agent answers:
    FileMissingError, NotAFileError, ForbiddenError, StorageFullError, LimitExceededError.
    """

    sandboxes: Sandboxes

    async def write(
        self,
        sandbox_id: str,
        path: str,
        content: bytes | AsyncIterable[bytes],
        *,
        mode: int | None = None,
        size: int | None = None,
        owner_id: str = "",
    ) -> WrittenFile:
        """Write a whole file: there is either all of it in the end, or what was there before.

        Args:
            sandbox_id: The sandbox.
            path: Target; folders above it are made.
            content: The bytes, or a stream of them.
            mode: Permission bits; None keeps those of an existing file, else 0644.
            size: Bytes ``content`` will have, where known: refused at once when it cannot fit.
            owner_id: Caller's owner id, empty for none.
        """
        fields: dict[str, Any] = {"path": check_path(path), "mode": mode, "parents": True}
        if not isinstance(content, bytes) and size is not None and size <= SMALL:
            content = b"".join([chunk async for chunk in content])
        if isinstance(content, bytes) and len(content) <= SMALL:
            data = binascii.b2a_base64(content, newline=False).decode("ascii")
            answer = await self._call(
                sandbox_id, "write", owner_id, **fields, size=len(content), data=data, eof=True
            )
            return _written(answer)
        if isinstance(content, bytes):
            size = len(content)
            content = _once(content)
        async with self._stream(sandbox_id, "write", owner_id, **fields, size=size) as stream:
            await _pour(content, stream)
            return _written(stream.result)

    @asynccontextmanager
    async def read(
        self,
        sandbox_id: str,
        path: str,
        *,
        offset: int = 0,
        length: int | None = None,
        owner_id: str = "",
    ) -> AsyncIterator[OpenFile]:
        """Open a file for reading; a negative ``offset`` counts from its end."""
        fields = {"path": check_path(path), "offset": offset, "length": length}
        async with self._stream(sandbox_id, "read", owner_id, **fields) as stream:
            first = await anext(aiter(stream), None)
            if not isinstance(first, Info):
                raise AgentError("the agent sent a file's bytes before its description")
            yield OpenFile(
                stream,
                file_info(first.fields),
                _count(first.fields, "offset"),
                _count(first.fields, "length"),
            )

    async def delete(
        self, sandbox_id: str, path: str, *, recursive: bool = False, owner_id: str = ""
    ) -> None:
        """Delete a file, or with ``recursive`` a folder too. What is missing is success."""
        await self._call(
            sandbox_id,
            "remove",
            owner_id,
            timeout=WALK_TIMEOUT,
            path=check_path(path),
            recursive=recursive,
            missing_ok=True,
        )

    async def move(self, sandbox_id: str, old: str, new: str, *, owner_id: str = "") -> None:
        """Rename a file or folder; folders above the new name are made."""
        fields = {"src": check_path(old), "dst": check_path(new), "parents": True}
        await self._call(sandbox_id, "move", owner_id, timeout=WALK_TIMEOUT, **fields)

    async def chmod(self, sandbox_id: str, path: str, mode: int, *, owner_id: str = "") -> None:
        """Set permission bits."""
        await self._call(sandbox_id, "chmod", owner_id, path=check_path(path), mode=mode)

    async def stat(self, sandbox_id: str, path: str, *, owner_id: str = "") -> FileInfo:
        """Return one file's description."""
        answer = await self._call(sandbox_id, "stat", owner_id, path=check_path(path))
        return file_info(answer.get("info"))

    async def glob(self, sandbox_id: str, pattern: str, *, owner_id: str = "") -> list[str]:
        """Return the matching absolute paths, sorted; ``**`` spans folders, hidden files count."""
        items = await self._items(sandbox_id, "glob", owner_id, pattern=check_path(pattern))
        if not all(isinstance(item, str) for item in items):
            raise AgentError("the agent sent a path that is not text")
        return sorted(items)

    @asynccontextmanager
    async def pack(
        self, sandbox_id: str, path: str, *, owner_id: str = ""
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Give a folder or file as a tar stream."""
        async with self._stream(sandbox_id, "pack", owner_id, path=check_path(path)) as stream:
            yield _bytes(stream)

    async def unpack(
        self, sandbox_id: str, path: str, content: AsyncIterable[bytes], *, owner_id: str = ""
    ) -> None:
        """Unpack a tar stream into a folder, which is made; nothing lands outside it."""
        async with self._stream(sandbox_id, "unpack", owner_id, path=check_path(path)) as stream:
            await _pour(content, stream)

    async def _call(self, sandbox_id: str, op: str, owner_id: str, **fields: Any) -> dict[str, Any]:
        channel = await self.sandboxes.channel(sandbox_id, owner_id=owner_id)
        try:
            return await channel.call(op, **fields)
        except ChannelClosedError as error:
            raise SandboxLostError(sandbox_id, await self.sandboxes.why_lost(sandbox_id)) from error

    @asynccontextmanager
    async def _stream(
        self, sandbox_id: str, op: str, owner_id: str, **fields: Any
    ) -> AsyncIterator[Stream]:
        channel = await self.sandboxes.channel(sandbox_id, owner_id=owner_id)
        try:
            async with channel.stream(op, **fields) as stream:
                yield stream
        except ChannelClosedError as error:
            raise SandboxLostError(sandbox_id, await self.sandboxes.why_lost(sandbox_id)) from error

    async def _items(self, sandbox_id: str, op: str, owner_id: str, **fields: Any) -> list[Any]:
        items: list[Any] = []
        async with self._stream(sandbox_id, op, owner_id, **fields) as stream:
            async for event in stream:
                if isinstance(event, Items):
                    items.extend(event.items)
                    if len(items) > MAX_ITEMS:
                        raise AgentError(f"the agent sent more than {MAX_ITEMS} entries")
        return items

    async def list(self, sandbox_id: str, path: str, *, owner_id: str = "") -> list[FileInfo]:
        """Return what is in a folder, by name."""
        items = await self._items(sandbox_id, "list", owner_id, path=check_path(path))
        return sorted((file_info(item) for item in items), key=lambda info: info.path)


def file_info(fields: Any) -> FileInfo:
    """Read a file info as the agent sends it.

    Raises:
        AgentError: It is malformed.
    """
    try:
        kind = str(fields["kind"])[:10]
        return FileInfo(
            path=str(fields["path"]),
            size=int(fields["size"]),
            mode=int(fields["mode"]) & 0o7777,
            is_dir=kind == "dir",
            mod_time=datetime.fromtimestamp(float(fields["mtime"]), UTC),
            kind=kind,
        )
    except (KeyError, TypeError, ValueError, OverflowError, OSError) as error:
        raise AgentError(f"the agent's description of a file is malformed: {error!r}") from error


async def _pour(content: AsyncIterable[bytes], stream: Stream) -> None:
    async for chunk in content:
        await stream.send(chunk)
    await stream.send(b"", eof=True)
    async for _ in stream:
        pass


async def _bytes(stream: Stream) -> AsyncIterator[bytes]:
    async for event in stream:
        if isinstance(event, Data):
            yield event.data


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content


def _count(fields: dict[str, Any], name: str) -> int:
    value = fields.get(name)
    if not isinstance(value, int) or value < 0:
        raise AgentError(f"the agent sent a bad {name}: {value!r:.100}")
    return value


def _written(fields: dict[str, Any]) -> WrittenFile:
    return WrittenFile(_count(fields, "size"), str(fields.get("sha256", ""))[:64])
