"""Directories as tar streams, and back, trusting nothing that comes out of a sandbox."""

import logging
import os
import shutil
import stat
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from stacyvm_sdk.exceptions import InvalidResponse

log = logging.getLogger("stacyvm_sdk")

CHUNK = 256 * 1024
# Deeper than any real tree, shallow enough for what walks it afterwards.
MAX_DEPTH = 200


def pack(root: Path) -> Iterator[bytes]:
    """Yield a tar of what is in ``root``. Owners are left out, links stay links.

    Raises:
        OSError: A file cannot be read, or shrank while it was read.
    """
    for path in _walk(root):
        info = _describe(path, path.relative_to(root).as_posix())
        if info is None:
            log.warning("%s is neither a file, a directory nor a link, and is left out", path)
            continue
        yield info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
        if info.isreg():
            yield from _contents(path, info.size)
    yield bytes(2 * tarfile.BLOCKSIZE)


def unpack(archive: BinaryIO, target: Path) -> None:
    """Unpack a tar into ``target``, which is made where it is missing.

    Everything is first unpacked beside the target and then moved, so a damaged archive changes
    nothing, each file appears whole, and no link in the target is followed.

    Raises:
        InvalidResponse: The archive is damaged, or holds a path or link that leads outside.
        OSError: The local side fails.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".stacyvm-", dir=target.parent))
    try:
        try:
            _extract(archive, staging)
        except tarfile.TarError as error:
            raise InvalidResponse(f"the archive cannot be unpacked: {error}") from error
        target.mkdir(exist_ok=True)
        _merge(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def replacing(target: Path, mode: int) -> Iterator[BinaryIO]:
    """Give a new file that takes the place of ``target`` when the block ends well."""
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=".stacyvm-", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
        Path(name).chmod(mode & 0o777)
        Path(name).replace(target)
    except BaseException:
        with suppress(FileNotFoundError):
            Path(name).unlink()
        raise


def _walk(root: Path) -> Iterator[Path]:
    pending = [root]
    while pending:
        for path in sorted(pending.pop().iterdir()):
            yield path
            if path.is_dir() and not path.is_symlink():
                pending.append(path)


def _describe(path: Path, name: str) -> tarfile.TarInfo | None:
    state = path.lstat()
    info = tarfile.TarInfo(name)
    info.mode = stat.S_IMODE(state.st_mode) & 0o777
    info.mtime = int(state.st_mtime)
    if stat.S_ISREG(state.st_mode):
        info.size = state.st_size
    elif stat.S_ISDIR(state.st_mode):
        info.type = tarfile.DIRTYPE
    elif stat.S_ISLNK(state.st_mode):
        info.type, info.linkname = tarfile.SYMTYPE, str(path.readlink())
    else:
        return None
    return info


def _contents(path: Path, size: int) -> Iterator[bytes]:
    left = size
    with path.open("rb") as file:
        while left:
            block = file.read(min(CHUNK, left))
            if not block:
                raise OSError(f"{path} shrank while it was read")
            left -= len(block)
            yield block
    yield bytes(-size % tarfile.BLOCKSIZE)


def _extract(archive: BinaryIO, staging: Path) -> None:
    links: list[tarfile.TarInfo] = []
    with tarfile.open(fileobj=archive, mode="r:", errorlevel=2) as tar:
        for member in tar:
            if len(PurePosixPath(member.name).parts) > MAX_DEPTH:
                raise InvalidResponse(f"the archive holds a path deeper than {MAX_DEPTH}")
            if member.issym() or member.islnk():
                links.append(member)
            elif member.isreg() or member.isdir():
                tar.extract(member, staging, filter="data")
            else:
                log.warning("%s is a special file, and is left out", member.name)
        # Links come last, hard ones first: until then no path in the staging directory can lead
        # anywhere else, so no file is ever written through a link.
        for member in sorted(links, key=tarfile.TarInfo.issym):
            _link(tarfile.data_filter(member, str(staging)), staging)


def _link(member: tarfile.TarInfo, staging: Path) -> None:
    """Make a link that the data filter let pass."""
    place = staging / member.name
    if any((staging / parent).is_symlink() for parent in PurePosixPath(member.name).parents):
        raise InvalidResponse(f"the archive holds a path through a link: {member.name}")
    if place.is_symlink() or place.exists():
        raise InvalidResponse(f"the archive holds {member.name} twice")
    place.parent.mkdir(parents=True, exist_ok=True)
    if member.issym():
        place.symlink_to(member.linkname)
    elif (staging / member.linkname).is_file():
        place.hardlink_to(staging / member.linkname)
    else:
        raise InvalidResponse(f"the archive holds a link to nothing: {member.name}")


def _merge(source: Path, target: Path) -> None:
    pending = [(source, target)]
    while pending:
        above, below = pending.pop()
        for path in above.iterdir():
            place = below / path.name
            is_dir, was_dir = _is_directory(path), _is_directory(place)
            if is_dir and was_dir:
                pending.append((path, place))
                continue
            if is_dir:
                place.unlink(missing_ok=True)
            path.replace(place)


def _is_directory(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()
