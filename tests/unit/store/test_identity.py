import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stacyvm.domain.errors import ConflictError, InvalidRequestError, UnavailableError
from stacyvm.store.identity import DataDir


def test_a_new_directory_is_private_and_keeps_its_id(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    with DataDir(path) as first:
        assert re.fullmatch("[0-9a-f]{8}", first.instance)
        assert path.stat().st_mode & 0o777 == 0o700
        assert (path / "instance").read_text() == f"{first.instance}\n"
    with DataDir(path) as again:
        assert again.instance == first.instance
    with DataDir(tmp_path / "other") as other:
        assert other.instance != first.instance


def test_a_second_server_is_told_who_holds_it(tmp_path: Path) -> None:
    with DataDir(tmp_path):
        with pytest.raises(ConflictError) as caught:
            DataDir(tmp_path).open()
        assert f"pid {os.getpid()}" in str(caught.value)
        assert str(tmp_path) in str(caught.value)
    with DataDir(tmp_path):
        pass


def test_closing_twice_is_harmless(tmp_path: Path) -> None:
    held = DataDir(tmp_path).open()
    held.close()
    held.close()
    DataDir(tmp_path).open().close()


def test_a_killed_server_holds_nothing(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from stacyvm.store.identity import DataDir\n"
        "print(DataDir(Path(sys.argv[1])).open().instance, flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, tmp_path], stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        instance = holder.stdout.readline().strip()
        with pytest.raises(ConflictError, match=f"pid {holder.pid}"):
            DataDir(tmp_path).open()
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with DataDir(tmp_path) as free:
        assert free.instance == instance


@pytest.mark.parametrize("found", [b"", b"0A1B2C3D", b"123", b"\xff\xff\xff\xff"])
def test_a_broken_id_is_not_replaced_in_silence(tmp_path: Path, found: bytes) -> None:
    (tmp_path / "instance").write_bytes(found)
    for _ in range(2):  # and the directory is let go each time
        with pytest.raises(InvalidRequestError, match="instance"):
            DataDir(tmp_path).open()
    assert (tmp_path / "instance").read_bytes() == found


def test_a_directory_that_cannot_be_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UnavailableError, match="STACYVM_DATA_DIR"):
            DataDir(path).open()
