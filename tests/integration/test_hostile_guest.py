"""Hostile code in a sandbox on the real engine: what it may break is itself, and no more."""

import io
import tarfile
import threading
import time

import httpx
import pytest
from stacyvm_sdk import (
    ExecTimeout,
    InvalidRequest,
    LimitExceeded,
    Sandbox,
    SandboxNotFound,
    StacyVMError,
)

from tests.integration.conftest import MakeServer, existing, running, wait_until
from tests.live_server import LiveServer

pytestmark = pytest.mark.docker

# The agent's own interpreter is there for every guest, whatever the image.
PYTHON = "$(echo /.stacyvm/lib/ld-linux*) --library-path /.stacyvm/lib /.stacyvm/bin/python3 -I -S"
# Of the two processes of ours; the first is the child of the container's init.
GUARDIAN = "grep -l '^PPid:.1$' /proc/[0-9]*/status | head -1 | cut -d/ -f3"

TOUCH_THEM = """
import ctypes, os, resource, signal, sys
guardian, agent = int(sys.argv[1]), int(sys.argv[2])
libc = ctypes.CDLL(None, use_errno=True)
def trace(pid):
    if libc.ptrace(16, pid, 0, 0):
        raise OSError(ctypes.get_errno(), "ptrace")
tries = {
    "stop": lambda: os.kill(guardian, signal.SIGSTOP),
    "kill": lambda: os.kill(guardian, signal.SIGKILL),
    "limit": lambda: resource.prlimit(guardian, resource.RLIMIT_NOFILE, (1, 1)),
    "trace the guardian": lambda: trace(guardian),
    "trace": lambda: trace(agent),
    "lease": lambda: open(f"/proc/{guardian}/fd/3", "rb"),
    "answer": lambda: open(f"/proc/{agent}/fd/1", "wb").write(b'{"id":1,"ev":"ok"}'),
    "ask": lambda: open(f"/proc/{agent}/fd/0", "rb").read(1),
    "memory": lambda: open(f"/proc/{agent}/mem", "rb"),
    "init": lambda: os.kill(1, signal.SIGKILL),
    "clock": lambda: __import__("time").clock_settime(0, 2e9),
}
for name, attempt in tries.items():
    try:
        attempt()
    except OSError:
        continue
    print(name)
"""

# Each generation lives for a moment, in a session of its own, with nothing in its environment.
RUNNING_BOMB = """
import os, sys, time
if len(sys.argv) == 1:
    for _ in range(5):
        if os.fork() == 0:
            os.setsid()
            os.environ.clear()
            line = open("/proc/self/cmdline").read().split("\\0")[:-1]
            os.execve(line[0], [*line, "go"], {})
    time.sleep(1000)
while True:
    try:
        if os.fork():
            time.sleep(0.005)
            os._exit(0)
        os.setsid()
    except OSError:
        time.sleep(0.01)
"""

FILL = """
import os, time
while True:
    try:
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
    except OSError:
        time.sleep(0.01)
"""


def instance_of(server: LiveServer) -> str:
    return (server.data_dir / "instance").read_text().strip()


def python(sandbox: Sandbox, code: str, *args: str, timeout: str = "30s") -> str:
    sandbox.write_file("attack.py", code)
    return sandbox.exec(f"{PYTHON} attack.py {' '.join(args)}", timeout=timeout).stdout


def test_guardian_and_agents_memory_are_out_of_the_guests_reach(server: LiveServer) -> None:
    with server.client() as client, client.spawn() as sandbox:
        guardian = sandbox.exec(GUARDIAN).stdout.strip()
        agent = sandbox.exec("echo $PPID").stdout.strip()
        assert guardian.isdigit()
        assert agent.isdigit()
        assert guardian != agent
        assert python(sandbox, TOUCH_THEM, guardian, agent) == ""
        assert sandbox.exec("id -ru; id -u").stdout == "1000\n1000\n"


def test_a_guest_that_kills_its_agent_ends_its_own_sandbox(server: LiveServer) -> None:
    with server.client() as client:
        sandbox, other = client.spawn(), client.spawn()
        with pytest.raises(StacyVMError) as caught:
            sandbox.exec("kill -KILL -1; sleep 60")
        assert caught.value.code in {"SANDBOX_LOST", "NOT_FOUND"}
        wait_until(lambda: existing(instance_of(server)) == {other.id}, "the container to go")
        with pytest.raises(SandboxNotFound, match="137"):
            client.get(sandbox.id)
        assert other.exec("echo alive").stdout == "alive\n"


@pytest.mark.timeout(180)
def test_a_guest_that_stops_its_agent_gains_no_time(make_server: MakeServer) -> None:
    server = make_server()
    with server.client() as client:
        sandbox = client.spawn(ttl="4s")
        sandbox.exec('nohup sh -c "sleep 1; kill -STOP $PPID" >/dev/null 2>&1 &')
    server.kill()  # so that nobody but the guardian is left to end it
    time.sleep(2)
    assert sandbox.id in running(instance_of(server))
    wait_until(
        lambda: sandbox.id not in running(instance_of(server)), "the guardian to end it", timeout=62
    )
    server.start()
    with server.client() as client, pytest.raises(SandboxNotFound, match="expired"):
        client.get(sandbox.id)


def test_a_kill_catches_what_runs_away(server: LiveServer) -> None:
    with server.client() as client, client.spawn() as sandbox:
        with pytest.raises(ExecTimeout):
            python(sandbox, RUNNING_BOMB, timeout="1s")
        left = "grep -lz '^attack.py$' /proc/[0-9]*/cmdline 2>/dev/null | wc -l"
        assert [sandbox.exec(left).stdout for _ in range(5)] == ["0\n"] * 5


def test_a_full_process_table_is_a_clear_error_and_ends(server: LiveServer) -> None:
    with server.client() as client, client.spawn() as sandbox:

        def fill() -> None:
            with pytest.raises(ExecTimeout):
                python(sandbox, FILL, timeout="4s")

        filler = threading.Thread(target=fill)
        filler.start()

        def refused() -> bool:
            try:
                sandbox.exec("true")
            except LimitExceeded as error:
                return "no room for another process" in str(error)
            return False

        wait_until(refused, "the process table to be full")
        sandbox.write_file("while-full.txt", "x")
        assert sandbox.read_file("while-full.txt") == "x"
        filler.join(30)
        assert sandbox.exec("echo free").stdout == "free\n"


def test_memory_runs_out_again_and_again(server: LiveServer) -> None:
    with server.client() as client, client.spawn(memory_mb=96) as sandbox:
        for _ in range(3):
            result = sandbox.exec(f"{PYTHON} -c 'a=[bytearray(1<<20) for _ in range(999)]'")
            assert result.exit_code == 137
        assert sandbox.exec("echo alive").stdout == "alive\n"


def test_a_short_command_took_the_time_it_took(server: LiveServer) -> None:
    with server.client() as client, client.spawn() as sandbox:
        times = [sandbox.exec("true", mode="argv").duration for _ in range(10)]
        assert not [said for said in times if said.endswith("µs") and float(said[:-2]) < 100]


def test_a_file_on_the_way_is_no_folder(server: LiveServer) -> None:
    with server.client() as client, client.spawn() as sandbox:
        sandbox.write_file("file", "x")
        for target in ("file/below", "file/far/below"):
            with pytest.raises(InvalidRequest, match="Not a directory"):
                sandbox.write_file(target, "y")
        with pytest.raises(InvalidRequest, match="Not a directory"):
            sandbox.move_file("file", "file/below")
        for path in ("/workspace/file", "/workspace/file/below", "/workspace/file/far/below"):
            assert unpack(server, sandbox, path, name="a").status_code == 400
        assert sandbox.read_file("file") == "x"


def test_trees_deeper_than_any_path(server: LiveServer) -> None:
    deep = "import os\nfor _ in range(3000):\n    os.mkdir('deep'); os.chdir('deep')\n"
    with server.client() as client, client.spawn() as sandbox:
        python(sandbox, deep)
        sandbox.delete_file("deep", recursive=True)
        assert unpack(server, sandbox, "/workspace/" + "d/" * 1900, name="a").status_code == 200
        assert unpack(server, sandbox, "/workspace/t", name="d/" * 2500 + "a").status_code == 200
        sandbox.delete_file("d", recursive=True)
        sandbox.delete_file("t", recursive=True)
        assert sandbox.exec("ls -A").stdout == "attack.py\n"


def test_files_that_the_kernel_makes_up_are_read_whole(server: LiveServer) -> None:
    with server.client() as client, client.spawn() as sandbox:
        # One says that it has no bytes, the other that it has a page.
        for path in ("/proc/version", "/sys/kernel/mm/transparent_hugepage/enabled"):
            said = sandbox.exec(f"cat {path}").stdout
            assert said != ""
            assert sandbox.read_file(path) == said


def test_a_removal_follows_no_link_swapped_in_meanwhile(server: LiveServer) -> None:
    race = (
        "import os, time\nend = time.time() + 3\n"
        "while time.time() < end:\n"
        "    try:\n"
        "        os.makedirs('box/in', exist_ok=True); open('box/in/x', 'w').close()\n"
        "        os.rename('box/in', 'box/out'); os.symlink('/workspace/kept', 'box/in')\n"
        "    except OSError:\n"
        "        pass\n"
    )
    with server.client() as client, client.spawn() as sandbox:
        for number in range(50):
            sandbox.write_file(f"kept/{number}", "x")
        racer = threading.Thread(target=lambda: python(sandbox, race))
        racer.start()
        codes: set[str] = set()
        end = time.monotonic() + 3
        while time.monotonic() < end:
            try:
                sandbox.delete_file("box", recursive=True)
            except StacyVMError as error:
                codes.add(str(error.code))
        racer.join(30)
        assert codes <= {"BAD_REQUEST", "CONFLICT", "NOT_FOUND", "PROVIDER_ERROR"}
        # One more is the racer's own, written through its link.
        assert sandbox.exec("ls kept | grep -cv x").stdout == "50\n"


def unpack(server: LiveServer, sandbox: Sandbox, path: str, *, name: str) -> httpx.Response:
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w") as tar:
        tar.addfile(tarfile.TarInfo(name))
    return httpx.post(
        f"{server.url}/api/v1/sandboxes/{sandbox.id}/files/archive",
        params={"path": path},
        content=body.getvalue(),
        timeout=60,
    )
