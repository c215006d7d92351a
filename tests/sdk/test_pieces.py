"""The parts that need no server."""

import asyncio
import gzip
import io
import os
import tarfile
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

import pytest
from stacyvm_sdk import InvalidResponse, _archive, _content
from stacyvm_sdk._cancel import shielded
from stacyvm_sdk._duration import seconds_of, write_duration
from stacyvm_sdk._wire import executions, files
from stacyvm_sdk.exceptions import (
    ExecTimeout,
    FileNotFound,
    ImageNotFound,
    ProviderNotFound,
    SandboxNotFound,
    StacyVMError,
    TemplateNotFound,
    make_error,
)
from stacyvm_sdk.models import AsyncContent, Duration
from stacyvm_sdk.streaming import MAX_LINE, LineSplitter

from stacyvm.api.errors import STATUSES
from stacyvm.domain import errors
from stacyvm.domain.duration import parse_duration
from tests.sdk.conftest import contents


@pytest.mark.parametrize(
    ("value", "text", "seconds"),
    [
        (30, "30s", 30),
        (1.5, "1.5s", 1.5),
        (0, "0s", 0),
        (1e-9, "0.000000001s", 1e-9),
        (1e6, "1000000s", 1e6),
        (timedelta(minutes=2, milliseconds=1), "120.001s", 120.001),
        ("1h30m", "1h30m", 5400),
        ("1.5s", "1.5s", 1.5),
        ("250ms", "250ms", 0.25),
        ("0", "0", 0),
    ],
)
def test_durations_are_written_as_the_server_reads_them(
    value: Duration, text: str, seconds: float
) -> None:
    assert write_duration(value) == text
    assert seconds_of(value) == pytest.approx(seconds)
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "abc", "30", "1d", "s"])
def test_text_that_is_no_duration_is_left_to_the_server(text: str) -> None:
    assert write_duration(text) == text
    assert seconds_of(text) is None


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_duration_is_finite(value: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        write_duration(value)


def test_a_command_without_a_known_limit_is_waited_for_as_long_as_any() -> None:
    patience = {
        limit: executions.run("sb-1", b"", limit).patience for limit in (None, "0s", "x", 5, "2m")
    }
    assert patience == {None: 630, "0s": 630, "x": 630, 5: 35, "2m": 150}


@pytest.mark.parametrize(
    ("details", "kind"),
    [
        ({}, SandboxNotFound),
        ({"sandbox_id": "sb-1"}, SandboxNotFound),
        ({"path": "/a"}, FileNotFound),
        ({"image": "x"}, ImageNotFound),
        ({"provider": "x"}, ProviderNotFound),
        ({"template": "x"}, TemplateNotFound),
    ],
)
def test_what_was_not_found_decides_the_class(
    details: dict[str, str], kind: type[StacyVMError]
) -> None:
    body = {"code": "NOT_FOUND", "message": "m", "details": details}
    assert type(make_error(body, status=404)) is kind


def test_what_is_wrong_with_a_request_is_told() -> None:
    problems = [
        {"field": "env.A", "problem": "Input should be a valid string"},
        {"field": "", "problem": "odd"},
        "no problem",
    ]
    body = {"code": "BAD_REQUEST", "message": "bad body", "details": {"problems": problems}}
    error = make_error(body, status=400)
    assert str(error) == "bad body: env.A: Input should be a valid string; odd"
    assert error.details == {"problems": problems}
    body["details"] = {"problems": 5}
    assert str(make_error(body, status=400)) == "bad body"


def every_server_error() -> Iterator[errors.StacyError]:
    special: dict[type[errors.StacyError], errors.StacyError] = {
        errors.SandboxNotFoundError: errors.SandboxNotFoundError("sb-1"),
        errors.ProviderNotFoundError: errors.ProviderNotFoundError("x", ["docker"]),
        errors.TemplateNotFoundError: errors.TemplateNotFoundError("x"),
        errors.ImageNotFoundError: errors.ImageNotFoundError("x", "why"),
        errors.FileMissingError: errors.FileMissingError("/x"),
        errors.SandboxNotRunningError: errors.SandboxNotRunningError("sb-1", "creating"),
        errors.ExecTimeoutError: errors.ExecTimeoutError(
            "sb-1", timeout=1, stdout="o", stderr="e", truncated=True
        ),
        errors.SandboxLostError: errors.SandboxLostError("sb-1", "why"),
    }
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, errors.StacyError):
            yield special.get(kind) or kind("why")


@pytest.mark.parametrize(
    "error", list(every_server_error()), ids=lambda error: type(error).__name__
)
def test_every_error_of_the_server_has_a_class_of_its_own_kind_here(
    error: errors.StacyError,
) -> None:
    status = next(status for kind, status in STATUSES if isinstance(error, kind))
    body = {"code": error.code, "message": error.message, "details": error.details()}
    made = make_error(body, status=status)
    assert type(made) is not StacyVMError
    assert (made.message, made.code, made.details) == (error.message, error.code, error.details())
    if isinstance(error, errors.FileMissingError):
        assert isinstance(made, FileNotFound)
        assert made.path == "/x"
    if isinstance(error, errors.ExecTimeoutError):
        assert isinstance(made, ExecTimeout)
        assert (made.stdout, made.stderr, made.truncated) == ("o", "e", True)
    if isinstance(error, errors.SandboxNotFoundError):
        assert isinstance(made, SandboxNotFound)
        assert made.sandbox_id == "sb-1"


def test_lines_survive_any_cut() -> None:
    data = b"one\n\ntwo\r\nthree\n" + b"x" * 1000 + b"\nrest"
    for size in (1, 2, 3, 100, 10_000):
        lines = LineSplitter()
        found = [line for i in range(0, len(data), size) for line in lines.feed(data[i : i + size])]
        assert found == [b"one", b"", b"two\r", b"three", b"x" * 1000]
        assert lines.rest() == b"rest"


def test_a_line_without_end_is_not_collected_for_ever() -> None:
    lines = LineSplitter()
    for _ in range(MAX_LINE // 2**20):
        lines.feed(bytes(2**20))
    with pytest.raises(InvalidResponse, match="longer"):
        lines.feed(b"x")


def test_a_name_that_is_not_utf8_comes_back_as_it_went() -> None:
    name = os.fsdecode(b"caf\xe9")
    made = files.stat("sb-1", name)
    assert made.url.endswith("?path=caf%E9")
    item = {"path": "caf\ufffd", "name": "caf\ufffd", "mode": "644", "raw_path": "/w/caf%E9"}
    info = files._to_file(dict(item))
    assert (info["path"], info["name"]) == ("/w/" + name, name)
    assert b"caf\\udce9" in (files.move("sb-1", name, "b").content or b"")  # type: ignore[operator]


def sources(tmp_path: Path) -> Iterator[tuple[AsyncContent, int | None]]:
    file = tmp_path / "file"
    file.write_bytes(b"h\xc3\xa9llo")
    packed = tmp_path / "file.gz"
    packed.write_bytes(gzip.compress(b"h\xc3\xa9llo"))
    yield "héllo", 6
    yield b"h\xc3\xa9llo", 6
    yield bytearray(b"h\xc3\xa9llo"), 6
    yield memoryview(b"h\xc3\xa9llo"), 6
    yield [b"h\xc3", b"", b"\xa9llo"], None
    yield io.BytesIO(b"h\xc3\xa9llo"), None
    yield file.open("rb"), 6
    yield gzip.GzipFile(packed), None


def test_content_is_sent_the_same_whatever_it_comes_from(tmp_path: Path) -> None:
    for content, size in sources(tmp_path):
        assert not isinstance(content, AsyncIterator)
        assert _content.size_of(content) == size
        body = _content.body(content, head=b"> ")  # type: ignore[arg-type]
        whole = body if isinstance(body, bytes) else b"".join(body)  # type: ignore[arg-type]
        assert whole == b"> h\xc3\xa9llo"
        if hasattr(content, "close"):
            content.close()


async def test_the_asynchronous_client_sends_the_same(tmp_path: Path) -> None:
    async def generated() -> AsyncIterator[bytes]:
        yield b"h\xc3\xa9"
        await asyncio.sleep(0)
        yield b"llo"

    for content in (*(content for content, _ in sources(tmp_path)), generated()):
        body = _content.async_body(content, head=b"> ")
        whole = body if isinstance(body, bytes) else b"".join([part async for part in body])  # type: ignore[union-attr]
        assert whole == b"> h\xc3\xa9llo"
        if hasattr(content, "close"):
            content.close()


def test_the_size_of_a_file_is_what_is_left_of_it(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"123456")
    with (tmp_path / "f").open("rb") as file:
        file.read(2)
        assert _content.size_of(file) == 4
    reader, writer = os.pipe()
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        assert _content.size_of(pipe) is None


async def test_a_cancellation_waits_for_what_must_be_finished() -> None:
    done: list[str] = []

    async def work() -> None:
        await asyncio.sleep(0.05)
        done.append("work")

    task = asyncio.create_task(shielded(work()))
    for _ in range(3):
        await asyncio.sleep(0.01)
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == ["work"]


def packed(root: Path) -> io.BytesIO:
    return io.BytesIO(b"".join(_archive.pack(root)))


def test_a_directory_survives_packing(local: Path, tmp_path: Path) -> None:
    target = tmp_path / "new" / "target"
    _archive.unpack(packed(local), target)
    assert contents(target) == contents(local)
    assert [path.name for path in target.parent.iterdir()] == ["target"]


def test_special_files_are_left_out(
    local: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = contents(local)
    os.mkfifo(local / "src" / "pipe")
    _archive.unpack(packed(local), tmp_path / "target")
    assert contents(tmp_path / "target") == before
    assert "left out" in caplog.text


def test_a_file_that_shrinks_while_it_is_packed_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(bytes(2 * _archive.CHUNK))
    chunks = _archive.pack(tmp_path)
    next(chunks)
    next(chunks)
    os.truncate(tmp_path / "f", _archive.CHUNK)
    with pytest.raises(OSError, match="shrank"):
        list(chunks)


def test_unpacking_goes_over_what_is_there_and_follows_no_link(local: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    target = tmp_path / "target"
    (target / "empty").mkdir(parents=True)
    (target / "empty" / "kept").write_text("kept")
    (target / "nothing").symlink_to(outside / "never")
    (target / "src").symlink_to(outside)
    _archive.unpack(packed(local), target)
    merged = contents(target)
    assert merged.pop("empty/kept") == (b"kept", "0o644")
    assert merged == contents(local)
    assert list(outside.iterdir()) == []


def test_a_file_never_takes_the_place_of_a_directory(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a").write_text("file")
    (tmp_path / "target" / "a").mkdir(parents=True)
    (tmp_path / "target" / "a" / "kept").write_text("kept")
    with pytest.raises(IsADirectoryError):
        _archive.unpack(packed(tmp_path / "source"), tmp_path / "target")
    assert (tmp_path / "target" / "a" / "kept").read_text() == "kept"


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


SYM, HARD = tarfile.SYMTYPE, tarfile.LNKTYPE


@pytest.mark.parametrize(
    "entries",
    [
        [entry("../evil")],
        [entry("a/../../evil")],
        [entry("link", SYM, "/etc")],
        [entry("link", SYM, "../outside")],
        [entry("d/link", SYM, "../../outside")],
        [entry("hard", HARD, "../outside/secret")],
        [entry("hard", HARD, "/etc/passwd")],
        [entry("link", SYM, "."), entry("link/again", SYM, "..")],
        [entry("a", SYM, "b"), entry("a/x", SYM, "y")],
        [entry("hard", HARD, "nothing")],
        [entry("twice"), entry("twice", SYM, "elsewhere")],
        [entry("/".join("d" * 300))],
    ],
)
def test_nothing_an_archive_says_lands_outside(
    entries: list[tarfile.TarInfo], tmp_path: Path
) -> None:
    target = tmp_path / "x" / "target"
    (tmp_path / "x" / "outside").mkdir(parents=True)
    (tmp_path / "x" / "outside" / "secret").write_text("secret")
    (target).mkdir()
    (target / "old").write_text("old")
    archive = b"".join(info.tobuf(tarfile.PAX_FORMAT) for info in entries)
    with pytest.raises(InvalidResponse):
        _archive.unpack(io.BytesIO(archive + bytes(1024)), target)
    assert contents(tmp_path) == {
        "x": "directory",
        "x/outside": "directory",
        "x/outside/secret": (b"secret", "0o644"),
        "x/target": "directory",
        "x/target/old": (b"old", "0o644"),
    }


def test_hard_links_in_an_archive_are_kept(tmp_path: Path) -> None:
    data = entry("a")
    data.size = 3
    archive = data.tobuf() + b"abc".ljust(512, b"\0") + entry("d/b", HARD, "a").tobuf()
    _archive.unpack(io.BytesIO(archive + bytes(1024)), tmp_path / "target")
    assert (tmp_path / "target" / "d" / "b").read_bytes() == b"abc"


def test_an_absolute_name_lands_inside(tmp_path: Path) -> None:
    archive = io.BytesIO(entry("/etc/evil").tobuf() + bytes(1024))
    _archive.unpack(archive, tmp_path / "target")
    assert contents(tmp_path / "target") == {"etc": "directory", "etc/evil": (b"", "0o644")}


def test_files_are_never_written_through_a_link(tmp_path: Path) -> None:
    """The link comes first in the archive and would lead the file astray."""
    data = entry("link/file")
    archive = entry("link", SYM, "elsewhere").tobuf() + data.tobuf() + bytes(1024)
    with pytest.raises(InvalidResponse, match="twice"):
        _archive.unpack(io.BytesIO(archive), tmp_path / "target")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("cut", [100, 700, 5000])
def test_a_damaged_archive_changes_nothing(cut: int, local: Path, tmp_path: Path) -> None:
    whole = packed(local).getvalue()
    damaged: BinaryIO = io.BytesIO(whole[: len(whole) - 1024 - cut])
    target = tmp_path / "target"
    with pytest.raises(InvalidResponse):
        _archive.unpack(damaged, target)
    assert not target.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["local"]


def test_a_replaced_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "file"
    with _archive.replacing(target, 0o755) as file:
        file.write(b"first")

    def fail_halfway() -> None:
        with _archive.replacing(target, 0o600) as file:
            file.write(b"half of the sec")
            raise KeyError("cut")

    with pytest.raises(KeyError):
        fail_halfway()
    assert contents(target.parent) == {"file": (b"first", "0o755")}
