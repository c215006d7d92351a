"""cp both ways, on real trees."""

import os
import stat
from pathlib import Path

import pytest
from stacyvm_sdk import Client

from stacyvm.cli.cp import Remote
from stacyvm.cli.errors import ExitCode
from tests.cli.conftest import PATIENCE, Shell

UNKNOWN = "sb-00000000"


@pytest.mark.parametrize(
    ("text", "remote"),
    [
        ("sb-0123abcd:a/b", Remote("sb-0123abcd", "a/b")),
        ("sb-0123abcd:/srv/x:y", Remote("sb-0123abcd", "/srv/x:y")),
        ("sb-0123abcd:", Remote("sb-0123abcd", ".")),
        ("sb-0123abcd", None),
        ("./sb-0123abcd:x", None),
        ("notes:old", None),
        ("-", None),
    ],
)
def test_only_an_id_and_a_colon_make_a_remote_path(text: str, remote: Remote | None) -> None:
    assert Remote.parse(text) == remote


def _tree(root: Path) -> dict[str, bytes | str | None]:
    """Return what is below ``root``: contents, targets of links, None for directories."""
    found: dict[str, bytes | str | None] = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            found[name] = str(path.readlink())
        else:
            found[name] = None if path.is_dir() else path.read_bytes()
    return found


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A small tree with what trees have: binary files, odd names, links, empty directories."""
    root = tmp_path / "project"
    (root / "lib" / "deep").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "main.js").write_text("console.log('größe')\n")
    (root / "lib" / "deep" / "data.bin").write_bytes(os.urandom(300_000))
    (root / "lib" / "with space \u2028 日本").write_bytes(b"\xff\xfe")
    (root / "lib" / "nothing").touch()
    (root / "link").symlink_to("lib/nothing")
    return root


def test_a_binary_file_there_and_back(shell: Shell, sandbox_id: str, tmp_path: Path) -> None:
    data = os.urandom(3_000_001)
    (tmp_path / "a.bin").write_bytes(data)
    done = shell.run("cp", "a.bin", f"{sandbox_id}:new/folder/b.bin")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert shell.run("cp", f"{sandbox_id}:new/folder/b.bin", "c.bin").returncode == 0
    assert (tmp_path / "c.bin").read_bytes() == data


def test_the_mode_of_a_file_is_kept(shell: Shell, sandbox_id: str, tmp_path: Path) -> None:
    (tmp_path / "run.sh").write_text("#!/bin/sh\necho ran\n")
    (tmp_path / "run.sh").chmod(0o755)
    assert shell.run("cp", "run.sh", f"{sandbox_id}:run.sh").returncode == 0
    assert shell.run("exec", sandbox_id, "./run.sh").stdout == b"ran\n"
    assert shell.run("cp", f"{sandbox_id}:run.sh", "back.sh").returncode == 0
    assert stat.S_IMODE((tmp_path / "back.sh").stat().st_mode) & 0o700 == 0o700


def test_a_directory_there_and_back(
    shell: Shell, sandbox_id: str, project: Path, tmp_path: Path
) -> None:
    done = shell.run("cp", "project", f"{sandbox_id}:copy")
    assert done.returncode == 0, done.stderr
    done = shell.run("cp", f"{sandbox_id}:copy", "back")
    assert done.returncode == 0, done.stderr
    assert _tree(tmp_path / "back") == _tree(project)


def test_into_a_directory_that_is_there_goes_inside(
    shell: Shell, client: Client, sandbox_id: str, project: Path, tmp_path: Path
) -> None:
    sandbox = client.get(sandbox_id)
    sandbox.exec("mkdir there")
    assert shell.run("cp", "project", f"{sandbox_id}:there").returncode == 0
    assert shell.run("cp", "project/main.js", f"{sandbox_id}:there").returncode == 0
    assert shell.run("cp", "project/main.js", f"{sandbox_id}:other/").returncode == 0
    listed = sandbox.exec("ls -m there there/project other").stdout.split("\n")
    assert [line for line in listed if line] == [
        "other:",
        "main.js",
        "there:",
        "main.js, project",
        "there/project:",
        "empty, lib, link, main.js",
    ]
    (tmp_path / "here").mkdir()
    assert shell.run("cp", f"{sandbox_id}:there/project", "here").returncode == 0
    assert shell.run("cp", f"{sandbox_id}:there/main.js", "here").returncode == 0
    assert sorted(path.name for path in (tmp_path / "here").iterdir()) == ["main.js", "project"]


def test_dot_copies_the_contents(
    shell: Shell, client: Client, sandbox_id: str, project: Path, tmp_path: Path
) -> None:
    sandbox = client.get(sandbox_id)
    sandbox.exec("mkdir there")
    assert shell.run("cp", "project/.", f"{sandbox_id}:there").returncode == 0
    (tmp_path / "here").mkdir()
    assert shell.run("cp", f"{sandbox_id}:there/.", "here").returncode == 0
    assert _tree(tmp_path / "here") == _tree(project)


def test_dash_is_stdin_and_stdout(shell: Shell, sandbox_id: str) -> None:
    data = os.urandom(5_000_000)
    assert shell.run("cp", "-", f"{sandbox_id}:x", stdin=data).returncode == 0
    done = shell.run("cp", f"{sandbox_id}:x", "-")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == data
    assert shell.run("cp", "-", f"{sandbox_id}:empty").returncode == 0
    assert shell.run("cp", f"{sandbox_id}:empty", "-").stdout == b""


def test_a_reader_that_has_enough_ends_it_quietly(
    shell: Shell, client: Client, sandbox_id: str
) -> None:
    client.get(sandbox_id).write_file("big", bytes(20_000_000))
    process = shell.start("cp", f"{sandbox_id}:big", "-")
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.read(10) == bytes(10)
    process.stdout.close()
    assert process.wait(PATIENCE) == ExitCode.BROKEN_PIPE
    assert process.stderr.read() == b""
    process.stderr.close()


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["a", "b"], ExitCode.USAGE, "one of SRC and DST must be ID:PATH"),
        ([f"{UNKNOWN}:a", f"{UNKNOWN}:b"], ExitCode.USAGE, "one of SRC and DST"),
        (["missing", "{id}:x"], ExitCode.NOT_FOUND, "missing: No such file or directory"),
        (["{id}:missing", "x"], ExitCode.NOT_FOUND, "file not found"),
        ([f"{UNKNOWN}:a", "b"], ExitCode.NOT_FOUND, "sandbox not found"),
        (["{id}:.", "-"], ExitCode.USAGE, "is a directory"),
        (["{id}:../../etc/passwd", "x"], ExitCode.USAGE, ".."),
    ],
)
def test_errors_have_their_categories(
    shell: Shell, sandbox_id: str, args: list[str], code: int, said: str, tmp_path: Path
) -> None:
    done = shell.run("cp", *(arg.format(id=sandbox_id) for arg in args))
    assert (done.returncode, done.stdout) == (code, b""), done.stderr
    assert said in done.stderr.decode()
    assert b"Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_target_that_cannot_be_written_says_so(
    shell: Shell, client: Client, sandbox_id: str, tmp_path: Path
) -> None:
    client.get(sandbox_id).write_file("x", "new")
    (tmp_path / "file").write_text("old")
    done = shell.run("cp", f"{sandbox_id}:x", "file/below")
    assert done.returncode == ExitCode.FAILED
    assert done.stderr.startswith(b"stacyvm: ")
    assert b"Traceback" not in done.stderr
    assert (tmp_path / "file").read_text() == "old"
