"""Hostile code in a sandbox on the real engine: what it may break is itself, and no more."""

import io
import tarfile
import threading
import time

import httpx
import pytest
from stacyvm_sdk import ExecTimeout, InvalidRequest, LimitExceeded, Sandbox, StacyVMError

from tests.integration.conftest import wait_until
from tests.live_server import LiveServer

pytestmark = pytest.mark.docker

# The agent's own interpreter is there for every guest, whatever the image.
PYTHON = "$(echo /.stacyvm/lib/ld-linux*) --library-path /.stacyvm/lib /.stacyvm/bin/python3 -I -S"
AGENT = "grep -l '^PPid:.1$' /proc/[0-9]*/status | head -1 | cut -d/ -f3"

TOUCH_THE_AGENT = """
import ctypes, os, resource, signal, sys
agent = int(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
def trace():
    if libc.ptrace(16, agent, 0, 0):
        raise OSError(ctypes.get_errno(), "ptrace")
tries = {
    "stop": lambda: os.kill(agent, signal.SIGSTOP),
    "kill": lambda: os.kill(agent, signal.SIGKILL),
    "limit": lambda: resource.prlimit(agent, resource.RLIMIT_NOFILE, (1, 1)),
    "trace": trace,
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


def python(sandbox: Sandbox, code: str, *args: str, timeout: str = "30s") -> str:
    sandbox.write_file("attack.py", code)
    return sandbox.exec(f"{PYTHON} attack.py {' '.join(args)}", timeout=timeout).stdout


def test_the_agent_is_out_of_the_guests_reach(server: LiveServer) -> None:
    with server.client() as client, client.spawn() as sandbox:
        agent = sandbox.exec(AGENT).stdout.strip()
        assert agent.isdigit()
        assert python(sandbox, TOUCH_THE_AGENT, agent) == ""
        sandbox.exec("kill -STOP -1; kill -KILL -1")
        assert sandbox.exec("id -ru; id -u").stdout == "1000\n1000\n"


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
