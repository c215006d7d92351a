"""Files on the wire."""

from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import unquote

from stacyvm_sdk._wire.call import (
    Body,
    Call,
    Reply,
    call,
    nothing,
    obj,
    objs,
    sandbox_path,
    strings,
    text,
    url,
)
from stacyvm_sdk.exceptions import InvalidRequest
from stacyvm_sdk.models import FileInfo

# Text up to this many characters goes in the JSON body, as StacyVM's own client sends it; longer
# text goes raw, because a JSON body has a limit (2 MiB by default).
SHORT_TEXT = 128 * 1024
# After the last byte of an upload the server still has to unpack or sync it.
UPLOAD_PATIENCE = 120.0
# The answer to a range that begins behind the end of the file.
NOT_SATISFIABLE = 416

Mode = str | int


def write_text(sandbox_id: str, path: str, content: str, mode: Mode | None) -> Call[None]:
    """Write short text."""
    body: dict[str, Any] = {"path": path, "content": content}
    if mode is not None:
        body["mode"] = octal(mode)
    return call("POST", _path(sandbox_id), nothing, body=body)


def write_bytes(
    sandbox_id: str, path: str, content: Body, size: int | None, mode: Mode | None
) -> Call[None]:
    """Write bytes of any length; ``size`` may be None where it is not known."""
    query = {"path": path}
    if mode is not None:
        query["mode"] = octal(mode)
    return _send("PUT", url(_path(sandbox_id), query), content, size)


def read(sandbox_id: str, path: str, offset: int, length: int | None) -> Call[bytes]:
    """Read bytes; fewer where the file ends earlier."""
    if offset < 0 or (length is not None and length < 1):
        raise InvalidRequest(f"offset must be 0 or more, length 1 or more: {offset}, {length}")
    partly = offset > 0 or length is not None
    end = "" if length is None else str(offset + length - 1)

    def body(reply: Reply) -> bytes:
        if reply.status == NOT_SATISFIABLE:
            return b""
        # A server that does not know ranges answers 200 with all of it.
        if partly and reply.status == 200:
            return reply.body[offset:][:length]
        return reply.body

    return Call(
        method="GET",
        url=url(_path(sandbox_id), {"path": path}),
        read=body,
        headers={"Range": f"bytes={offset}-{end}"} if partly else {},
        also_good=frozenset({NOT_SATISFIABLE} if partly else ()),
    )


def delete(sandbox_id: str, path: str, *, recursive: bool) -> Call[None]:
    """Delete a file or a directory; one that is not there is a success too."""
    query = {"path": path} | ({"recursive": "true"} if recursive else {})
    return call("DELETE", _path(sandbox_id), nothing, query=query)


def listing(sandbox_id: str, path: str) -> Call[list[FileInfo]]:
    """List a directory."""
    return call(
        "GET",
        _path(sandbox_id, "/list"),
        lambda reply: [_to_file(item) for item in objs(reply)],
        query={"path": path},
    )


def move(sandbox_id: str, old_path: str, new_path: str) -> Call[None]:
    """Move or rename."""
    body = {"old_path": old_path, "new_path": new_path}
    return call("POST", _path(sandbox_id, "/move"), nothing, body=body)


def chmod(sandbox_id: str, path: str, mode: Mode) -> Call[None]:
    """Set permission bits."""
    body = {"path": path, "mode": octal(mode)}
    return call("POST", _path(sandbox_id, "/chmod"), nothing, body=body)


def stat(sandbox_id: str, path: str) -> Call[FileInfo]:
    """Describe one file."""
    return call(
        "GET",
        _path(sandbox_id, "/stat"),
        lambda reply: _to_file(obj(reply)),
        query={"path": path},
    )


def glob(sandbox_id: str, pattern: str) -> Call[list[str]]:
    """List the paths that match a pattern."""
    return call("GET", _path(sandbox_id, "/glob"), strings, query={"pattern": pattern})


def download(sandbox_id: str, path: str) -> Call[None]:
    """Read a file as a stream."""
    return call("GET", _path(sandbox_id), nothing, query={"path": path})


def pack(sandbox_id: str, path: str) -> Call[None]:
    """Read a directory as a stream that is a tar."""
    return call("GET", _path(sandbox_id, "/archive"), nothing, query={"path": path})


def unpack(sandbox_id: str, path: str, content: Body) -> Call[None]:
    """Unpack a tar into a directory."""
    return _send("POST", url(_path(sandbox_id, "/archive"), {"path": path}), content, None)


def octal(mode: Mode) -> str:
    """Return permission bits as octal digits; text is passed on for the server to judge."""
    return mode if isinstance(mode, str) else f"{mode:o}"


def _to_file(item: dict[str, Any]) -> FileInfo:
    # A name that is not UTF-8 cannot be shown in JSON; here it gets its surrogate escapes, as
    # Python's own file functions give it, and can be passed back as it is.
    if isinstance(raw := item.pop("raw_path", None), str):
        item["path"] = unquote(raw, errors="surrogateescape")
        item["name"] = item["path"].rstrip("/").rpartition("/")[2]
    for key in ("path", "mode"):
        text(item, key)
    return cast("FileInfo", item)


def _send(method: str, target: str, content: Body, size: int | None) -> Call[None]:
    headers: Mapping[str, str] = {"Content-Type": "application/octet-stream"}
    if size is not None:
        headers = {**headers, "Content-Length": str(size)}
    return Call(
        method=method,
        url=target,
        read=nothing,
        content=content,
        headers=headers,
        patience=UPLOAD_PATIENCE,
    )


def _path(sandbox_id: str, tail: str = "") -> str:
    return sandbox_path(sandbox_id, f"/files{tail}")
