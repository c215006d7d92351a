"""Packing and unpacking, with archives that mean harm."""

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.agent.conftest import StartAgent
from tests.unit.agent.driver import Driver, data_of, encoded

# A name in a folder that anybody may write to.
OUTSIDE = f"tmp/stacyvm-outside-{os.getpid()}"
Build = Callable[[tarfile.TarFile], None]


def _tar(build: Build, **how: object) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", **how) as tar:  # type: ignore[call-overload]
        build(tar)
    return target.getvalue()


def _member(tar: tarfile.TarFile, name: str, data: bytes = b"", **facts: object) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for fact, value in facts.items():
        setattr(info, fact, value)
    tar.addfile(info, io.BytesIO(data))


def test_a_folder_goes_there_and_back(agent: Driver) -> None:
    body = os.urandom(3 << 20)
    agent.pour("write", body, path="from/big", parents=True)
    agent.put("from/run me", b"#!/bin/sh", mode=0o755, parents=True)
    agent.put("from/" + "deep/" * 60 + "bad\udcff", b"1", parents=True)
    (agent.workspace / "from" / "link").symlink_to("run me")
    os.mkfifo(agent.workspace / "from" / "fifo")
    frames = agent.frames("pack", path="from")
    archive = data_of(frames)
    assert frames[-1]["bytes"] == len(archive)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        names = set(tar.getnames())
    assert {"run me", "link", "deep"} <= names
    assert "fifo" not in names
    answer = agent.pour("unpack", archive, path="to/there")
    assert (answer["ev"], answer["files"], answer["bytes"]) == ("ok", len(names), len(archive))
    target = agent.workspace / "to" / "there"
    assert (target / "run me").stat().st_mode & 0o777 == 0o755
    assert (target / "link").readlink() == Path("run me")
    assert agent.read("to/there/" + "deep/" * 60 + "bad\udcff") == b"1"


def test_one_file_is_packed_by_its_name(agent: Driver) -> None:
    agent.put("d/f", b"123", parents=True)
    with tarfile.open(fileobj=io.BytesIO(data_of(agent.frames("pack", path="d/f")))) as tar:
        assert tar.getnames() == ["f"]


def test_a_pack_waits_for_its_reader_and_can_be_left(agent: Driver) -> None:
    agent.pour("write", b"x" * (4 << 20), path="d/big", parents=True)
    request_id = agent.begin("pack", path="d", window=100_000)
    first = agent.frame()
    assert first["ev"] == "data"
    assert agent.silent(0.3)
    agent.call("stat", path="d")
    agent.send(op="cancel", to=request_id)
    assert agent.finish(request_id, credit=False)[-1]["code"] == "cancelled"


@pytest.mark.parametrize(
    "build",
    [
        lambda tar: _member(tar, "../out", b"x"),
        lambda tar: _member(tar, "a/../../out", b"x"),
        lambda tar: _member(tar, f"/{OUTSIDE}", b"x"),
        lambda tar: _member(tar, "l", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        lambda tar: _member(tar, "l", type=tarfile.SYMTYPE, linkname="../out"),
        lambda tar: _member(tar, "a/l", type=tarfile.SYMTYPE, linkname="../../out"),
        lambda tar: _member(tar, "l", type=tarfile.LNKTYPE, linkname="../secret"),
        lambda tar: _member(tar, "l", type=tarfile.LNKTYPE, linkname="/etc/passwd"),
        lambda tar: _member(tar, "dev", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
        lambda tar: _member(tar, "fifo", type=tarfile.FIFOTYPE),
        lambda tar: _member(tar, "", b"x"),
        lambda tar: _member(tar, "outside/x", b"x"),
    ],
)
def test_an_archive_that_leads_out_is_refused(agent: Driver, build: Build) -> None:
    agent.put("secret", b"secret")
    (agent.workspace / "in").mkdir()
    (agent.workspace / "in" / "outside").symlink_to("..")
    before = {p.name for p in agent.workspace.iterdir()}
    assert agent.pour("unpack", _tar(build), path="in")["code"] == "invalid"
    assert {p.name for p in agent.workspace.iterdir()} == before
    assert not Path(f"/{OUTSIDE}").exists()
    agent.call("ping")


def test_a_link_in_the_archive_is_not_followed_by_what_comes_later(agent: Driver) -> None:
    def build(tar: tarfile.TarFile) -> None:
        _member(tar, "real", type=tarfile.DIRTYPE, mode=0o755)
        _member(tar, "l", type=tarfile.SYMTYPE, linkname="real")
        _member(tar, "l/x", b"x")

    assert agent.pour("unpack", _tar(build), path="in")["code"] == "invalid"
    assert list((agent.workspace / "in" / "real").iterdir()) == []


def test_a_member_replaces_a_link_and_not_its_target(agent: Driver) -> None:
    agent.put("precious", b"kept")
    (agent.workspace / "in").mkdir()
    (agent.workspace / "in" / "f").symlink_to("../precious")
    answer = agent.pour("unpack", _tar(lambda tar: _member(tar, "f", b"new")), path="in")
    assert answer["ev"] == "ok"
    assert agent.read("precious") == b"kept"
    assert agent.read("in/f") == b"new"


def _header(**facts: object) -> bytes:
    info = tarfile.TarInfo("x")
    for fact, value in facts.items():
        setattr(info, fact, value)
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize(
    "archive",
    [
        b"junk" * 1000,
        b"\x1f\x8b" + b"\0" * 600,
        _header(size=-512) + b"\0" * 1024,
        _header(size=1 << 40, type=tarfile.XHDTYPE) + b"\0" * 4096,
        _header(size=1 << 40, type=tarfile.GNUTYPE_LONGNAME) + b"\0" * 4096,
        _header(size=512, type=tarfile.GNUTYPE_SPARSE) + b"\0" * 1024,
        _header(size=5000) + b"\0" * 600,
    ],
    ids=["junk", "gzip", "negative", "pax", "long name", "sparse", "cut"],
)
def test_a_broken_archive_is_refused_and_ends(agent: Driver, archive: bytes) -> None:
    frame = agent.pour("unpack", archive, path="in")
    assert frame["code"] == "invalid"
    agent.call("ping")


def test_an_archive_beyond_the_disk_limit_is_refused(start: StartAgent) -> None:
    agent = start("--disk-mb", "2")
    archive = _tar(lambda tar: _member(tar, "big", b"x" * (3 << 20)))
    assert agent.pour("unpack", archive, path="in")["code"] == "no_space"


def test_an_unpack_can_be_left(agent: Driver) -> None:
    archive = _tar(lambda tar: _member(tar, "big", b"x" * (1 << 20)))
    request_id = agent.begin("unpack", path="in")
    agent.send(op="input", to=request_id, data=encoded(archive[:5000]), eof=False)
    agent.send(op="cancel", to=request_id)
    assert agent.finish(request_id)[-1]["code"] == "cancelled"


def test_long_streams_have_a_limit_and_short_work_goes_on(agent: Driver) -> None:
    held = [agent.begin("unpack", path="in") for _ in range(4)]
    assert agent.refused("unpack", path="in") == "busy"
    assert agent.call("glob", pattern="*")["count"] == 1
    for request_id in held:
        agent.send(op="cancel", to=request_id)
        assert agent.finish(request_id)[-1]["code"] == "cancelled"
