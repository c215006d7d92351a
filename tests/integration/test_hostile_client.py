"""Callers who break off, lie about sizes and drip, on the real engine."""

import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from stacyvm_sdk import Sandbox

from tests.integration.conftest import existing, wait_until
from tests.live_server import LiveServer

pytestmark = [pytest.mark.docker, pytest.mark.timeout(120)]

MB = 2**20


def instance_of(server: LiveServer) -> str:
    return (server.data_dir / "instance").read_text().strip()


def send(server: LiveServer, data: bytes) -> socket.socket:
    """Open a plain connection and send bytes; the test breaks it off."""
    connection = socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])))
    connection.sendall(data)
    return connection


def request(method: str, path: str, *, length: int, body: bytes = b"") -> bytes:
    head = f"{method} /api/v1{path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n"
    return head.encode() + body


def zeros(megabytes: int) -> Iterator[bytes]:
    piece = bytes(MB)
    for _ in range(megabytes):
        yield piece


def top(sandbox: Sandbox) -> str:
    return subprocess.run(
        ["docker", "top", sandbox.id, "-o", "pid,args"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout


def memory_of(server: LiveServer) -> int:
    """Return the most memory the server has ever held, in bytes."""
    assert server.process is not None
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


@pytest.mark.parametrize("workspace", ["memory", "disk"])
@pytest.mark.parametrize("sized", [True, False], ids=["sized", "chunked"])
def test_2_gb_into_64_mb_are_refused_and_nothing_stays(
    server: LiveServer, workspace: str, sized: bool
) -> None:
    with httpx.Client(base_url=f"{server.url}/api/v1", timeout=60) as http:
        spawned = http.post("/sandboxes", json={"workspace": workspace, "disk_mb": 64})
        files = f"/sandboxes/{spawned.json()['id']}/files"
        headers = {"Content-Length": str(2048 * MB)} if sized else {}
        before = memory_of(server)
        answer = http.put(f"{files}?path=big", content=zeros(2048), headers=headers)
        assert answer.status_code == 507
        assert answer.json()["code"] == "RESOURCE_LIMIT"
        assert memory_of(server) - before < 64 * MB
        assert http.get(f"{files}/list?path=/workspace").json() == []
        assert http.put(f"{files}?path=small", content=b"fits").status_code == 200


EXEC = b'{"command": "cat; sleep 4321", "stdin": true, "stream": true}\n'
STREAM = b'{"command": "yes; sleep 4321", "stream": true}'
SYNC = b'{"command": "sleep 4321"}'


def broken_off(box: str) -> dict[str, bytes]:
    """Return requests of which the rest, or the reading of the answer, never comes."""
    return {
        "upload": request("PUT", f"{box}/files?path=a", length=9 * MB, body=bytes(MB)),
        "tar": request("POST", f"{box}/files/archive?path=b", length=9 * MB, body=bytes(99)),
        "json": request("POST", f"{box}/files", length=1000, body=b'{"path": "c", "co'),
        "stdin": request("POST", f"{box}/exec", length=9 * MB, body=EXEC + bytes(MB)),
        "stream": request("POST", f"{box}/exec", length=len(STREAM), body=STREAM),
        "sync": request("POST", f"{box}/exec", length=len(SYNC), body=SYNC),
        "download": request("GET", f"{box}/files?path=big", length=0),
    }


@pytest.mark.parametrize("abrupt", [True, False], ids=["reset", "closed"])
def test_callers_who_break_off_leave_nothing(server: LiveServer, abrupt: bool) -> None:
    with server.client() as client, client.spawn(ttl="10m") as sandbox:
        sandbox.exec("head -c 50000000 /dev/zero > big; mkdir b")
        idle = top(sandbox)
        before = sorted(sandbox.glob_files("**"))
        for _ in range(3):
            for message in broken_off(f"/sandboxes/{sandbox.id}").values():
                connection = send(server, message)
                time.sleep(0.2)
                if abrupt:
                    connection.setsockopt(
                        socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0"
                    )
                connection.close()
        wait_until(lambda: len(top(sandbox).splitlines()) <= len(idle.splitlines()), top(sandbox))
        wait_until(lambda: sorted(sandbox.glob_files("**")) == before, "half files to go")
        assert sandbox.exec("echo alive").stdout == "alive\n"
    assert "Traceback" not in server.text()


def test_callers_who_leave_in_the_middle_of_a_spawn_leave_no_sandbox(server: LiveServer) -> None:
    for delay in (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3):
        connection = send(server, request("POST", "/sandboxes", length=2, body=b"{}"))
        time.sleep(delay)
        connection.close()
    with server.client() as client:
        # One who leaves after the answer is in its buffer has its sandbox: it was answered.
        time.sleep(2)
        answered = {info.id for info in client.list()}
        wait_until(lambda: existing(instance_of(server)) == answered, "the containers to go")
        assert server.text().count(" 201 ") == len(answered)


def test_slow_readers_hold_up_nobody(server: LiveServer) -> None:
    body = b'{"command": "yes", "stream": true, "timeout": "1m"}'
    with server.client() as client, client.spawn() as sandbox:
        message = request("POST", f"/sandboxes/{sandbox.id}/exec", length=len(body), body=body)
        slow = [send(server, message) for _ in range(20)]
        time.sleep(2)
        before = memory_of(server)
        time.sleep(2)
        assert memory_of(server) - before < 16 * MB, "what nobody reads piles up"
        began = time.monotonic()
        with ThreadPoolExecutor(4) as pool:
            said = list(pool.map(lambda n: sandbox.exec(f"echo {n}").stdout, range(20)))
        assert said == [f"{number}\n" for number in range(20)]
        assert time.monotonic() - began < 10
        for connection in slow:
            connection.close()
        wait_until(lambda: "yes" not in top(sandbox), "the commands to be killed")


def test_300_dripping_connections_hold_up_nobody(server: LiveServer) -> None:
    dripping = [send(server, b"GET /api/v1/live HTTP/1.1\r\nHost:") for _ in range(300)]
    with server.client() as client, client.spawn() as sandbox:
        assert sandbox.exec("echo alive").stdout == "alive\n"
    for connection in dripping:
        connection.close()
