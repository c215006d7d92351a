"""A real server in a process of its own, and the barest HTTP client for it."""

import http.client
import json
import re
import secrets
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
    """One kept-alive connection, as any HTTP client would hold it."""

    def __init__(self, host: str, port: int) -> None:
        self._connection = http.client.HTTPConnection(host, port, timeout=120)

    def call(self, method: str, path: str, body: object = None) -> Any:
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        self._connection.request(method, f"/api/v1{path}", data)
        response = self._connection.getresponse()
        answer = response.read()
        if response.status >= 300:
            raise RuntimeError(f"{method} {path}: {response.status} {answer[:300]!r}")
        return json.loads(answer) if answer.startswith((b"{", b"[")) else answer

    def drain(self, path: str, body: object) -> int:
        """POST and read the whole streamed answer in pieces; return its bytes."""
        self._connection.request("POST", f"/api/v1{path}", json.dumps(body).encode())
        response = self._connection.getresponse()
        total = 0
        while piece := response.read1(1 << 18):
            total += len(piece)
        return total

    def close(self) -> None:
        self._connection.close()


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
