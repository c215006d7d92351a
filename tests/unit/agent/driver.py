"""Drives the very agent as a plain subprocess: writes lines, reads lines, with time limits."""

import base64
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.conftest import skip_or_fail

Frame = dict[str, Any]
SOURCES = Path(__file__).parents[3] / "stacyvm" / "agent" / "__main__.py"
PATIENCE = 20.0  # seconds


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def wait_until(check: Callable[[], object], *, timeout: float = PATIENCE) -> None:
    end = time.monotonic() + timeout
    while not check():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in {"Z", "X"}


def python_for_all() -> str:
    """Return an interpreter that works for every user; ours may lie in a home directory."""
    for python in (sys.executable, "/usr/bin/python3"):
        check = [
            python,
            "-I",
            "-S",
            "-c",
            "import subprocess, sys; assert sys.version_info >= (3, 11)",
        ]
        try:
            subprocess.run(check, user=65534, check=True, stderr=subprocess.DEVNULL)
        except (OSError, subprocess.CalledProcessError):
            continue
        return python
    skip_or_fail("no Python that a user other than root can run")
    raise AssertionError


class Driver:
    """One agent process and what it has said so far."""

    def __init__(
        self,
        workspace: Path,
        *options: str,
        program: Path = SOURCES,
        python: str = sys.executable,
        env: dict[str, str] | None = None,
        hello: bool = True,
        user: int | None = None,
        within: Sequence[str] = (),
    ) -> None:
        self.workspace = workspace
        self.process = subprocess.Popen(
            [*within, python, "-I", "-S", str(program), "--workspace", str(workspace), *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=env,
            bufsize=0,
            user=user,
            extra_groups=[] if user else None,
        )
        assert self.process.stdin
        assert self.process.stdout
        self.stdin, self.stdout = self.process.stdin, self.process.stdout
        self.last_id = 0
        self._buffer = b""
        if hello:
            self.hello()

    def write(self, data: bytes) -> None:
        self.stdin.write(data)

    def send(self, **frame: Any) -> None:
        self.write(json.dumps(frame).encode() + b"\n")

    def line(self, timeout: float = PATIENCE) -> bytes:
        end = time.monotonic() + timeout
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([self.stdout], [], [], max(0, end - time.monotonic()))
            assert ready, f"no line in {timeout}s; so far {self._buffer[:200]!r}"
            data = os.read(self.stdout.fileno(), 1 << 20)
            assert data, f"the agent ended: {self.stderr()}"
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def silent(self, seconds: float) -> bool:
        return not self._buffer and not select.select([self.stdout], [], [], seconds)[0]

    def frame(self, timeout: float = PATIENCE) -> Frame:
        line = self.line(timeout)
        assert len(line) < 2**20
        assert line.isascii()
        frame: Frame = json.loads(line)
        if "text" in frame:  # the agent's choice of two forms of the same
            frame["data"] = base64.b64encode(frame.pop("text").encode("ascii")).decode()
        return frame

    def hello(self, lease_ms: int = 60_000, nonce: str = "00ff") -> Frame:
        self.write(b"\n")
        self.send(id=1, op="hello", nonce=nonce, lease_ms=lease_ms)
        self.last_id = 1
        self._buffer = b""
        while True:
            line = self.line()
            if nonce.encode() in line and line.startswith(b"{"):
                frame: Frame = json.loads(line)
                return frame

    def begin(self, op: str, **fields: Any) -> int:
        self.last_id += 1
        self.send(id=self.last_id, op=op, **fields)
        return self.last_id

    def finish(self, request_id: int, *, credit: bool = True) -> list[Frame]:
        """Return all frames of a request, giving credit back for its data."""
        frames = []
        while True:
            frame = self.frame()
            if frame["id"] != request_id:
                continue
            frames.append(frame)
            if frame["ev"] in {"ok", "error"}:
                return frames
            if credit and frame["ev"] == "data":
                size = len(base64.b64decode(frame["data"]))
                self.send(op="credit", to=request_id, bytes=size)

    def frames(self, op: str, **fields: Any) -> list[Frame]:
        return self.finish(self.begin(op, **fields))

    def call(self, op: str, **fields: Any) -> Frame:
        """Return the ``ok`` frame."""
        frame = self.frames(op, **fields)[-1]
        assert frame["ev"] == "ok", frame
        return frame

    def refused(self, op: str, **fields: Any) -> str:
        """Return the code of the ``error`` frame."""
        frame = self.frames(op, **fields)[-1]
        assert frame["ev"] == "error", frame
        assert frame["message"]
        return str(frame["code"])

    def run(self, *argv: str, **fields: Any) -> tuple[Frame, bytes, bytes]:
        """Return the end of a command, its stdout and its stderr."""
        return self.outcome(self.begin("exec", argv=list(argv), **fields))

    def shell(self, script: str, **fields: Any) -> tuple[Frame, bytes, bytes]:
        return self.run("sh", "-c", script, **fields)

    def outcome(self, request_id: int) -> tuple[Frame, bytes, bytes]:
        frames = self.finish(request_id)
        return frames[-1], data_of(frames, 1), data_of(frames, 2)

    def read(self, path: str, **fields: Any) -> bytes:
        frames = self.frames("read", path=path, **fields)
        assert frames[-1]["ev"] == "ok", frames[-1]
        return data_of(frames)

    def put(self, path: str, data: bytes, **fields: Any) -> Frame:
        return self.call("write", path=path, data=encoded(data), eof=True, **fields)

    def pour(self, op: str, data: bytes, **fields: Any) -> Frame:
        """Send a body in chunks within the window; return the terminal frame."""
        request_id = self.begin(op, **fields)
        left, at = 1 << 20, 0
        while at < len(data) or not data:
            size = min(left, 1 << 18)
            chunk = data[at : at + size]
            at += len(chunk)
            left -= len(chunk)
            last = at >= len(data)
            self.send(op="input", to=request_id, data=encoded(chunk), eof=last)
            if last:
                break
            while not left:
                frame = self.frame()
                if frame["id"] == request_id and frame["ev"] in {"ok", "error"}:
                    return frame
                left += frame["bytes"] if frame["ev"] == "credit" else 0
        return self.finish(request_id)[-1]

    def stderr(self) -> str:
        assert self.process.stderr
        self.process.wait(PATIENCE)
        return self.process.stderr.read().decode()

    def close(self) -> None:
        for pipe in (self.stdin, self.stdout):
            pipe.close()
        try:
            self.process.wait(PATIENCE)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            if self.process.stderr:
                self.process.stderr.close()


def data_of(frames: Sequence[Frame], fd: int = 1) -> bytes:
    parts = [f["data"] for f in frames if f["ev"] == "data" and f["fd"] == fd]
    return b"".join(base64.b64decode(part) for part in parts)
