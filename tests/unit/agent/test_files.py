"""File operations, hostile ones too."""

import base64
import hashlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import skip_or_fail
from tests.unit.agent.conftest import StartAgent
from tests.unit.agent.driver import Driver, Frame, data_of, encoded


def test_a_small_file_goes_there_and_back(agent: Driver) -> None:
    answer = agent.put("a/b c/ü.txt", b"hello", parents=True)
    assert answer["size"] == 5
    assert answer["sha256"] == hashlib.sha256(b"hello").hexdigest()
    frames = agent.frames("read", path="a/b c/ü.txt")
    path = agent.workspace / "a" / "b c" / "ü.txt"
    info = {"path": str(path), "size": 5, "mode": 0o644, "kind": "file"}
    assert frames[0] == {
        "id": frames[0]["id"],
        "ev": "info",
        **info,
        "mtime": path.stat().st_mtime,
        "offset": 0,
        "length": 5,
    }
    assert data_of(frames) == b"hello"
    assert frames[-1]["bytes"] == 5
    assert list(path.parent.iterdir()) == [path]


def test_a_big_file_goes_there_and_back(agent: Driver) -> None:
    body = os.urandom(7 << 20)
    answer = agent.pour("write", body, path="big", size=len(body), mode=0o600)
    assert (answer["size"], answer["sha256"]) == (len(body), hashlib.sha256(body).hexdigest())
    assert agent.read("big") == body
    assert agent.read("big", window=1000, offset=-1000) == body[-1000:]


@pytest.mark.parametrize(
    ("offset", "length", "wanted"),
    [
        (0, None, b"0123456789"),
        (3, 4, b"3456"),
        (-3, None, b"789"),
        (-99, 2, b"01"),
        (10, None, b""),
        (99, 5, b""),
        (8, 99, b"89"),
        (0, 0, b""),
    ],
)
def test_a_part_of_a_file(agent: Driver, offset: int, length: int | None, wanted: bytes) -> None:
    agent.put("f", b"0123456789")
    frames = agent.frames("read", path="f", offset=offset, length=length)
    assert data_of(frames) == wanted
    assert frames[0]["length"] == len(wanted) == frames[-1]["bytes"]


def test_an_empty_file(agent: Driver) -> None:
    assert agent.put("empty", b"")["size"] == 0
    assert agent.read("empty") == b""


def test_modes_are_exact_and_kept(agent: Driver) -> None:
    agent.put("f", b"1", mode=0o4777)
    assert agent.call("stat", path="f")["info"]["mode"] == 0o4777
    agent.put("f", b"22")
    assert agent.call("stat", path="f")["info"]["mode"] == 0o4777
    agent.call("chmod", path="f", mode=0o600)
    assert agent.call("stat", path="f")["info"]["mode"] == 0o600
    agent.call("mkdir", path="d", mode=0o777)
    assert agent.call("stat", path="d")["info"]["mode"] == 0o777
    assert agent.refused("mkdir", path="d") == "exists"
    agent.call("mkdir", path="d/e/f", parents=True)


def test_a_write_through_a_link_replaces_what_it_leads_to(agent: Driver) -> None:
    agent.put("target", b"old")
    (agent.workspace / "link").symlink_to("target")
    agent.put("link", b"new")
    assert (agent.workspace / "link").is_symlink()
    assert agent.read("target") == b"new"
    (agent.workspace / "dangling").symlink_to("fresh")
    agent.put("dangling", b"x")
    assert agent.read("fresh") == b"x"


@pytest.mark.parametrize("end", ["cancel", "too much", "too little", "hello"])
def test_a_cut_write_leaves_nothing_and_the_old_file(agent: Driver, end: str) -> None:
    agent.put("f", b"old")
    request_id = agent.begin("write", path="f", size=10)
    agent.send(op="input", to=request_id, data=encoded(b"12345"), eof=False)
    match end:
        case "cancel":
            agent.send(op="cancel", to=request_id)
            assert agent.finish(request_id)[-1]["code"] == "cancelled"
        case "too much":
            agent.send(op="input", to=request_id, data=encoded(b"x" * 6), eof=True)
            assert agent.finish(request_id)[-1]["code"] == "invalid"
        case "too little":
            agent.send(op="input", to=request_id, data="", eof=True)
            assert agent.finish(request_id)[-1]["code"] == "invalid"
        case _:
            agent.hello()
    assert [p.name for p in agent.workspace.iterdir()] == ["f"]
    assert agent.read("f") == b"old"


def test_wrong_kinds_are_named(agent: Driver) -> None:
    agent.put("file", b"x")
    (agent.workspace / "dir" / "below").mkdir(parents=True)
    os.mkfifo(agent.workspace / "fifo")
    (agent.workspace / "loop").symlink_to("loop")
    assert agent.refused("read", path="dir") == "is_a_directory"
    assert agent.refused("read", path="fifo") == "not_a_file"
    assert agent.refused("read", path="/dev/null") == "not_a_file"
    assert agent.refused("read", path="missing") == "not_found"
    assert agent.refused("read", path="file/below") == "not_a_directory"
    assert agent.refused("read", path="loop") == "invalid_path"
    assert agent.refused("write", path="loop", eof=True) == "invalid_path"
    assert agent.refused("write", path="dir", eof=True) == "is_a_directory"
    assert agent.refused("write", path="x/", eof=True) == "is_a_directory"
    assert agent.refused("write", path="fifo", eof=True) == "not_a_file"
    assert agent.refused("write", path="no/such", eof=True) == "not_found"
    assert agent.refused("list", path="file") == "not_a_directory"
    assert agent.refused("list", path="missing") == "not_found"
    assert agent.refused("remove", path="dir") == "not_empty"
    assert agent.refused("remove", path="missing") == "not_found"
    assert agent.refused("remove", path=str(agent.workspace), recursive=True) == "permission"
    assert agent.refused("move", src="missing", dst="x") == "not_found"
    assert agent.refused("move", src="file", dst="dir") == "is_a_directory"
    assert agent.refused("pack", path="missing") == "not_found"
    agent.call("remove", path="missing", missing_ok=True)


def test_infos_follow_links_and_name_dangling_ones(agent: Driver) -> None:
    agent.put("file", b"123")
    (agent.workspace / "link").symlink_to("file")
    (agent.workspace / "dangling").symlink_to("nothing")
    (agent.workspace / "loop").symlink_to("loop")
    (agent.workspace / ".hidden").mkdir()
    frames = agent.frames("list", path=".")
    infos = [(Path(i["path"]).name, i["kind"]) for f in frames[:-1] for i in f["items"]]
    assert infos == [
        (".hidden", "dir"),
        ("dangling", "symlink"),
        ("file", "file"),
        ("link", "file"),
        ("loop", "symlink"),
    ]
    assert frames[-1]["count"] == 5
    assert agent.call("stat", path="link")["info"]["size"] == 3
    assert agent.call("stat", path="/dev/null")["info"]["kind"] == "other"


def test_names_that_are_not_utf8_come_and_go_as_surrogates(agent: Driver) -> None:
    name = "bad\udcff\udc80"
    agent.put(name, b"x")
    assert [os.fsencode(p.name) for p in agent.workspace.iterdir()] == [b"bad\xff\x80"]
    frames = agent.frames("list", path=".")
    assert frames[0]["items"][0]["path"] == f"{agent.workspace}/{name}"
    assert agent.frames("glob", pattern="bad*")[0]["items"] == [f"{agent.workspace}/{name}"]
    assert agent.read(name) == b"x"
    agent.call("remove", path=name)


def test_a_long_listing_comes_in_bounded_frames(agent: Driver) -> None:
    (agent.workspace / "many").mkdir()
    for number in range(3000):
        (agent.workspace / "many" / f"{number:04}-{'ü' * 100}").touch()
    frames = agent.frames("list", path="many")
    names = [i["path"] for f in frames[:-1] for i in f["items"]]
    assert len(names) == 3000 == frames[-1]["count"]
    assert names == sorted(names)
    assert len(frames) > 10
    agent.call("remove", path="many", recursive=True)
    assert not (agent.workspace / "many").exists()


def test_glob(agent: Driver) -> None:
    for path in ("a.py", ".h.py", "s p/b.py", "s p/deep/er/c.py", "s p/x.txt", "[1].py"):
        agent.put(path, b"", parents=True)
    (agent.workspace / "s p" / "back").symlink_to("..")

    def found(pattern: str) -> list[str]:
        frames = agent.frames("glob", pattern=pattern)
        assert frames[-1]["ev"] == "ok"
        paths = [p for f in frames[:-1] for p in f["items"]]
        assert frames[-1]["count"] == len(paths)
        return [os.path.relpath(p, agent.workspace) for p in paths]

    assert found("*.py") == [".h.py", "[1].py", "a.py"]
    assert found("**/*.py") == [
        ".h.py", "[1].py", "a.py", "s p/b.py", "s p/deep/er/c.py",
    ]  # fmt: skip
    assert found("s p/*.txt") == ["s p/x.txt"]
    assert found("s p/**") == [
        "s p/b.py", "s p/back", "s p/deep", "s p/deep/er", "s p/deep/er/c.py", "s p/x.txt",
    ]  # fmt: skip
    assert found("**/er/?.py") == ["s p/deep/er/c.py"]
    assert found("[[]1].py") == ["[1].py"]
    assert found("a.py") == ["a.py"]
    assert found("nothing*") == []
    assert found(f"{agent.workspace}/a.*") == ["a.py"]
    assert found("**/**/**/c.py") == ["s p/deep/er/c.py"]


def test_moves(agent: Driver, tmp_path: Path) -> None:
    agent.put("a", b"1")
    agent.call("move", src="a", dst="x/y/b", parents=True)
    assert agent.read("x/y/b") == b"1"
    agent.put("c", b"2")
    agent.call("move", src="c", dst="x/y/b")
    assert agent.read("x/y/b") == b"2"
    agent.call("move", src="x", dst="z")
    assert agent.read("z/y/b") == b"2"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 4 MB."""
    target = tmp_path / "small"
    target.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(target)], capture_output=True
    )
    if mounted.returncode:
        skip_or_fail(f"cannot mount a tmpfs: {mounted.stderr.decode()}")
    yield target
    subprocess.run(["umount", "--lazy", str(target)], check=True)


def test_a_full_disk_is_said_and_nothing_left(start: StartAgent, small_disk: Path) -> None:
    agent = start(workspace=small_disk)
    answer = agent.pour("write", b"x" * (6 << 20), path="big")
    assert answer["code"] == "no_space"
    assert list(small_disk.iterdir()) == []
    agent.put("fits", b"x" * 1000)


def test_a_move_to_another_file_system(start: StartAgent, small_disk: Path) -> None:
    agent = start()
    agent.put("d/e/f", b"1", parents=True, mode=0o751)
    (agent.workspace / "d" / "link").symlink_to("e")
    agent.call("move", src="d", dst=str(small_disk / "new"))
    assert not (agent.workspace / "d").exists()
    assert agent.read(f"{small_disk}/new/link/f") == b"1"
    assert agent.call("stat", path=f"{small_disk}/new/e/f")["info"]["mode"] == 0o751
    agent.put("one", b"2")
    agent.call("move", src="one", dst=f"{small_disk}/new/e/f")
    assert agent.read(f"{small_disk}/new/e/f") == b"2"
    agent.pour("write", b"x" * (6 << 20), path="big")
    assert agent.refused("move", src="big", dst=f"{small_disk}/big") == "no_space"
    assert (agent.workspace / "big").stat().st_size == 6 << 20
    assert [p.name for p in small_disk.iterdir()] == ["new"]


def test_a_write_beyond_the_disk_limit_is_refused_at_once(start: StartAgent) -> None:
    agent = start("--disk-mb", "2")
    assert agent.refused("write", path="big", size=1 << 30) == "no_space"
    assert agent.pour("write", b"x" * (3 << 20), path="big")["code"] == "no_space"
    assert list(agent.workspace.iterdir()) == []
    body = b"x" * (1500 << 10)
    for _ in range(4):  # what is replaced or removed is given back
        assert agent.pour("write", body, path="f", size=len(body))["ev"] == "ok"
        agent.call("remove", path="f")
    assert agent.pour("write", body, path="f")["ev"] == "ok"
    assert agent.pour("write", body, path="g")["code"] == "no_space"


def test_commands_that_fill_the_disk_are_killed_and_told_why(start: StartAgent) -> None:
    agent = start("--disk-mb", "2")
    end, _, _ = agent.shell("trap '' TERM; head -c 4000000 /dev/zero > f; sleep 60")
    assert (end["signal"], end["reason"]) == ("SIGKILL", "disk limit of 2 MB exceeded")
    assert agent.refused("write", path="g", data=encoded(b"x"), eof=True) == "no_space"
    agent.call("remove", path="f")
    agent.put("g", b"x")
    assert "reason" not in agent.run("true")[0]


def test_a_mapped_folder_stands_for_the_workspace(start: StartAgent, tmp_path: Path) -> None:
    inner = tmp_path / "host"
    agent = start("--path-map", f"/workspace={inner}", workspace=Path("/workspace"), hello=False)
    assert agent.hello()["workspace"] == "/workspace"
    agent.put("/workspace/a/f", b"1", parents=True)
    assert (inner / "a" / "f").read_bytes() == b"1"
    assert agent.call("stat", path="a/f")["info"]["path"] == "/workspace/a/f"
    assert agent.frames("list", path="/workspace/a")[0]["items"][0]["path"] == "/workspace/a/f"
    assert agent.frames("glob", pattern="/workspace/**/f")[0]["items"] == ["/workspace/a/f"]
    assert agent.shell("pwd", cwd="/workspace/a")[1].decode().strip() == str(inner / "a")
    assert agent.run("pwd")[1].decode().strip() == str(inner)
    assert agent.refused("stat", path="/workspaces") == "not_found"


def test_a_long_glob_can_be_cancelled_and_delays_nobody(agent: Driver) -> None:
    request_id = agent.begin("glob", pattern="/**/**/no-such-*")
    agent.begin("ping")
    agent.send(op="cancel", to=request_id)
    ends: dict[int, Frame] = {}
    while len(ends) < 2:
        frame = agent.frame()
        ends[frame["id"]] = frame
    assert ends[request_id].get("code", "ok") in {"cancelled", "ok"}
    assert ends[request_id + 1]["ev"] == "ok"


def test_stats_of_an_agent_without_a_container_are_not_supported(agent: Driver) -> None:
    answer = agent.call("stats")
    assert answer["supported"] is False


def test_a_read_can_be_left(agent: Driver) -> None:
    agent.pour("write", b"x" * (4 << 20), path="big")
    request_id = agent.begin("read", path="big")
    time.sleep(0.1)
    agent.send(op="cancel", to=request_id)
    frames = agent.finish(request_id, credit=False)
    assert frames[-1]["code"] == "cancelled"
    assert sum(len(base64.b64decode(f["data"])) for f in frames if f["ev"] == "data") == 1 << 20
