"""``/sandboxes/{id}/files``: small ones as JSON, any as raw streams, many as a tar."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from email.utils import format_datetime
from typing import Any

from aiohttp import web

from stacyvm.api.body import declared_size, read_json, upload
from stacyvm.api.context import REQUEST_ID, services_of
from stacyvm.api.errors import error_body
from stacyvm.api.query import owner_of, params, parse_mode, required
from stacyvm.api.schemas import ChmodBody, MoveBody, WriteBody
from stacyvm.api.streams import send_body
from stacyvm.api.wire import json_response, raw_path, timestamp_seconds
from stacyvm.domain.errors import ConflictError, InvalidRequestError, NotAFileError
from stacyvm.domain.file import FileInfo
from stacyvm.services.files import OpenFile, WrittenFile

# Up to 15 digits: no file is larger, and every such number is exact on the way to the agent.
_RANGE = re.compile(r"bytes=([0-9]{0,15})-([0-9]{0,15})")
BEYOND = 10**15  # an offset behind the end of every file


def file_item(info: FileInfo) -> dict[str, Any]:
    """Return a file as the wire shows it; ``raw_path`` is there when ``path`` is not UTF-8."""
    item = {
        "path": info.path,
        "name": info.name,
        "size": info.size,
        "mode": f"{info.mode:o}",
        "is_dir": info.is_dir,
        "mod_time": timestamp_seconds(info.mod_time),
    }
    raw = raw_path(info.path)
    return item if raw is None else item | {"raw_path": raw}


def _target(request: web.Request) -> tuple[str, str]:
    """Return the sandbox's id and the ``path`` parameter."""
    return request.match_info["id"], required(request, "path")


async def write_text(request: web.Request) -> web.Response:
    """Write a text file from a JSON body."""
    body = await read_json(request, WriteBody)
    written = await services_of(request).files.write(
        request.match_info["id"],
        body.path,
        body.content.encode(),
        mode=parse_mode(body.mode),
        owner_id=owner_of(request),
    )
    return json_response(_written(written))


async def write_raw(request: web.Request) -> web.Response:
    """Write any file from the raw body."""
    sandbox_id, path = _target(request)
    written = await services_of(request).files.write(
        sandbox_id,
        path,
        upload(request),
        mode=parse_mode(params(request).get("mode", "")),
        size=declared_size(request),
        owner_id=owner_of(request),
    )
    return json_response(_written(written))


def _written(written: WrittenFile) -> dict[str, Any]:
    return {"status": "written", "size": written.size, "sha256": written.sha256}


async def read_file(request: web.Request) -> web.StreamResponse:
    """Send a file, or the part of it that ``Range`` names."""
    if request.method == "HEAD":
        return await _head(request)
    sandbox_id, path = _target(request)
    wanted = parse_range(request)
    opened = services_of(request).files.read(
        sandbox_id, path, offset=wanted.offset, length=wanted.length, owner_id=owner_of(request)
    )
    async with opened as file:
        size = file.info.size
        if wanted.partial and size and not file.length:
            return _unsatisfiable(request, size)
        partial = wanted.partial and size > 0
        response = web.StreamResponse(status=206 if partial else 200, headers=_headers(file.info))
        if partial:
            response.headers["Content-Range"] = _content_range(file)
        response.content_length = file.length
        return await send_body(request, response, aiter(file))


def _unsatisfiable(request: web.Request, size: int) -> web.Response:
    message = f"range is outside the file's {size} bytes"
    return web.Response(
        status=416,
        body=error_body("BAD_REQUEST", message, request[REQUEST_ID], {}),
        headers={"Content-Type": "application/json", "Content-Range": f"bytes */{size}"},
    )


async def _head(request: web.Request) -> web.Response:
    sandbox_id, path = _target(request)
    info = await services_of(request).files.stat(sandbox_id, path, owner_id=owner_of(request))
    if info.is_dir:
        raise NotAFileError(f"is a directory: {path}")
    return web.Response(headers=_headers(info) | {"Content-Length": str(info.size)})


def _headers(info: FileInfo) -> dict[str, str]:
    return {
        "Content-Type": "application/octet-stream",
        "Accept-Ranges": "bytes",
        "Last-Modified": format_datetime(info.mod_time.replace(microsecond=0), usegmt=True),
        # A guest's file must never act as a page of ours.
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "sandbox",
    }


def _content_range(file: OpenFile) -> str:
    last = file.offset + file.length - 1
    return f"bytes {file.offset}-{last}/{max(file.info.size, last + 1)}"


@dataclass(frozen=True, slots=True)
class WantedRange:
    """What part of a file a request is about; a negative offset counts from the end."""

    offset: int = 0
    length: int | None = None
    partial: bool = False


def parse_range(request: web.Request) -> WantedRange:
    """Return the request's range. Several ranges, and what is no byte range, mean all of it."""
    found = _RANGE.fullmatch(request.headers.get("Range", "").strip())
    if found is None or "If-Range" in request.headers:
        return WantedRange()
    first, last = found.groups()
    if not first:
        # The last 0 bytes are none: an offset no file reaches says so.
        return WantedRange(-int(last) or BEYOND, None, partial=True) if last else WantedRange()
    if last and int(last) < int(first):
        return WantedRange()
    return WantedRange(int(first), int(last) - int(first) + 1 if last else None, partial=True)


async def delete(request: web.Request) -> web.Response:
    """Delete a file, or with ``recursive=true`` a folder; what is missing is success."""
    sandbox_id, path = _target(request)
    recursive = params(request).get("recursive") == "true"
    try:
        await services_of(request).files.delete(
            sandbox_id, path, recursive=recursive, owner_id=owner_of(request)
        )
    except ConflictError as error:  # a folder that is not empty
        raise InvalidRequestError(f"{error.message} (recursive=true deletes folders)") from error
    return json_response({"status": "deleted"})


async def list_folder(request: web.Request) -> web.Response:
    """List a folder, by name."""
    path = params(request).get("path") or "/"
    found = await services_of(request).files.list(
        request.match_info["id"], path, owner_id=owner_of(request)
    )
    return json_response([file_item(info) for info in found])


async def move(request: web.Request) -> web.Response:
    """Rename a file or folder."""
    body = await read_json(request, MoveBody)
    await services_of(request).files.move(
        request.match_info["id"], body.old_path, body.new_path, owner_id=owner_of(request)
    )
    return json_response({"status": "moved"})


async def chmod(request: web.Request) -> web.Response:
    """Set permission bits."""
    body = await read_json(request, ChmodBody)
    mode = parse_mode(body.mode)
    if mode is None:
        raise InvalidRequestError("invalid input: mode is required")
    await services_of(request).files.chmod(
        request.match_info["id"], body.path, mode, owner_id=owner_of(request)
    )
    return json_response({"status": "chmod applied"})


async def stat(request: web.Request) -> web.Response:
    """Describe one file."""
    sandbox_id, path = _target(request)
    info = await services_of(request).files.stat(sandbox_id, path, owner_id=owner_of(request))
    return json_response(file_item(info))


async def glob(request: web.Request) -> web.Response:
    """List the paths that match a pattern."""
    found = await services_of(request).files.glob(
        request.match_info["id"], required(request, "pattern"), owner_id=owner_of(request)
    )
    return json_response(found)


async def pack(request: web.Request) -> web.StreamResponse:
    """Send a folder or file as a tar."""
    sandbox_id, path = _target(request)
    packed = services_of(request).files.pack(sandbox_id, path, owner_id=owner_of(request))
    async with packed as chunks:
        # What can fail at once fails at the first chunk, while there is still a status to send.
        first = await anext(chunks, b"")
        response = web.StreamResponse(headers={"Content-Type": "application/x-tar"})
        return await send_body(request, response, _chain(first, chunks))


async def unpack(request: web.Request) -> web.Response:
    """Unpack a tar into a folder."""
    sandbox_id, path = _target(request)
    await services_of(request).files.unpack(
        sandbox_id, path, upload(request), owner_id=owner_of(request)
    )
    return json_response({"status": "unpacked"})


async def _chain(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if first:
        yield first
    async for chunk in rest:
        yield chunk
