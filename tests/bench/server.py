"""A real server in a process of its own, and the barest HTTP client for it."""

import json
import re
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

START_TIMEOUT = 60.0


class Http:
    """One kept-alive connection; a request leaves in one piece, as curl's does.

    The client's own work counts in every sample, so this one does next to none.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host = f"{host}:{port}"
        self._socket = socket.create_connection((host, port), timeout=120)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def call(self, method: str, path: str, body: object = None) -> Any:
        self._send(method, path, body)
        status, headers, rest = self._head()
        size = _content_length(headers)
        parts = [rest]
        missing = size - len(rest)
        while missing > 0:
            parts.append(self._receive())
            missing -= len(parts[-1])
        answer = b"".join(parts)
        if status >= 300:
            raise RuntimeError(f"{method} {path}: {status} {answer[:300]!r}")
        return json.loads(answer) if answer.startswith((b"{", b"[")) else answer

    def drain(self, path: str, body: object) -> int:
        """POST and read the whole chunked answer in pieces; return its bytes, framing included."""
        self._send("POST", path, body)
        _, _, tail = self._head()
        total = len(tail)
        while not tail.endswith(b"\r\n0\r\n\r\n"):
            piece = self._receive()
            total += len(piece)
            tail = (tail + piece)[-7:]
        return total

    def close(self) -> None:
        self._socket.close()

    def _send(self, method: str, path: str, body: object) -> None:
        data = b"" if body is None else body if isinstance(body, bytes) else _json(body)
        head = (
            f"{method} /api/v1{path} HTTP/1.1\r\nHost: {self._host}\r\n"
            f"Content-Length: {len(data)}\r\n\r\n"
        )
        self._socket.sendall(head.encode() + data)

    def _head(self) -> tuple[int, bytes, bytes]:
        """Return the answer's status, its headers in lower case, and what of the body came too."""
        received = self._receive()
        while b"\r\n\r\n" not in received:
            received += self._receive()
        head, _, rest = received.partition(b"\r\n\r\n")
        return int(head.split(b" ", 2)[1]), head.lower() + b"\r\n", rest

    def _receive(self) -> bytes:
        data = self._socket.recv(1 << 18)
        if not data:
            raise RuntimeError("the server closed the connection")
        return data


def _json(body: object) -> bytes:
    return json.dumps(body).encode()


def _content_length(headers: bytes) -> int:
    found = re.search(rb"\r\ncontent-length: (\d+)\r\n", headers)
    return int(found[1]) if found else 0


@dataclass(frozen=True, slots=True)
class Server:
    """Where the server listens, its process id, and the label of its containers."""

    host: str
    port: int
    pid: int
    instance: str


@contextmanager
def running_server(**settings: str) -> Iterator[Server]:
    """Start ``stacyvm serve`` on a free port, and stop it at the end."""
    instance = secrets.token_hex(4)
    with tempfile.TemporaryDirectory(prefix="stacyvm-bench-") as data_dir:
        identity = Path(data_dir) / "data" / "instance"
        identity.parent.mkdir(mode=0o700)
        identity.write_text(instance)
        log = Path(data_dir) / "serve.log"
        environment = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "STACYVM_DATA_DIR": f"{data_dir}/data",
            "STACYVM_PORT": "0",
            **{f"STACYVM_{name.upper()}": value for name, value in settings.items()},
        }
        with log.open("wb") as output:
            server = subprocess.Popen(
                [Path(sys.executable).with_name("stacyvm"), "serve"],
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            host, port = _address(log, server)
            yield Server(host, port, server.pid, instance)
        finally:
            server.terminate()
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _address(log: Path, server: "subprocess.Popen[bytes]") -> tuple[str, int]:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        found = re.search(r"http://([\d.]+):(\d+)", log.read_text())
        if found:
            return found[1], int(found[2])
        if server.poll() is not None:
            break
        time.sleep(0.05)
    raise RuntimeError(f"the server did not start:\n{log.read_text()[-3000:]}")
