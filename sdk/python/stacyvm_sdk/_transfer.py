"""Files and directories between this machine and a sandbox."""

import asyncio
import tempfile
from pathlib import Path
from typing import BinaryIO

import httpx

from stacyvm_sdk import _archive, _content
from stacyvm_sdk._http import open_stream, open_stream_async, run, run_async, translated
from stacyvm_sdk._wire import files
from stacyvm_sdk._wire.call import Call


def upload(http: httpx.Client, sandbox_id: str, local: Path, remote: str) -> None:
    """Copy a local file or directory into the sandbox."""
    if local.is_dir():
        run(http, files.unpack(sandbox_id, remote, _archive.pack(local)))
        return
    with local.open("rb") as file:
        body, size = _content.body(file), _content.size_of(file)
        run(http, files.write_bytes(sandbox_id, _into(remote, local), body, size, _mode(local)))


async def upload_async(http: httpx.AsyncClient, sandbox_id: str, local: Path, remote: str) -> None:
    """Copy a local file or directory into the sandbox."""
    if await asyncio.to_thread(local.is_dir):
        body = _content.async_body(_archive.pack(local))
        await run_async(http, files.unpack(sandbox_id, remote, body))
        return
    file = await asyncio.to_thread(local.open, "rb")
    try:
        body, size = _content.async_body(file), _content.size_of(file)
        made = files.write_bytes(sandbox_id, _into(remote, local), body, size, _mode(local))
        await run_async(http, made)
    finally:
        file.close()


def download(http: httpx.Client, sandbox_id: str, remote: str, local: Path) -> None:
    """Copy a file or directory out of the sandbox."""
    info = run(http, files.stat(sandbox_id, remote))
    if info["is_dir"]:
        with tempfile.TemporaryFile() as archive:
            _save(http, files.pack(sandbox_id, remote), archive)
            archive.seek(0)
            _archive.unpack(archive, local)
        return
    with _archive.replacing(_onto(local, remote), int(info["mode"], 8)) as file:
        _save(http, files.download(sandbox_id, remote), file)


async def download_async(
    http: httpx.AsyncClient, sandbox_id: str, remote: str, local: Path
) -> None:
    """Copy a file or directory out of the sandbox."""
    info = await run_async(http, files.stat(sandbox_id, remote))
    if info["is_dir"]:
        with tempfile.TemporaryFile() as archive:
            await _save_async(http, files.pack(sandbox_id, remote), archive)
            archive.seek(0)
            await asyncio.to_thread(_archive.unpack, archive, local)
        return
    target = await asyncio.to_thread(_onto, local, remote)
    with _archive.replacing(target, int(info["mode"], 8)) as file:
        await _save_async(http, files.download(sandbox_id, remote), file)


def _save(http: httpx.Client, call: Call[None], file: BinaryIO) -> None:
    response = open_stream(http, call)
    try:
        with translated(http):
            for block in response.iter_bytes():
                file.write(block)
    finally:
        response.close()


async def _save_async(http: httpx.AsyncClient, call: Call[None], file: BinaryIO) -> None:
    response = await open_stream_async(http, call)
    try:
        with translated(http):
            async for block in response.aiter_bytes():
                await asyncio.to_thread(file.write, block)
    finally:
        await response.aclose()


def _into(remote: str, local: Path) -> str:
    return remote + local.name if remote.endswith("/") else remote


def _onto(local: Path, remote: str) -> Path:
    return local / Path(remote.rstrip("/")).name if local.is_dir() else local


def _mode(local: Path) -> int:
    return local.stat().st_mode & 0o777
