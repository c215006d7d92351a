"""Everything a server stands on taken away from under it, at bad moments."""

import os
import random
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import httpx
import pytest
from stacyvm_sdk import Client, SandboxNotFound, StacyVMError

from tests.conftest import new_instance
from tests.integration.conftest import MakeServer, existing, running, wait_until
from tests.live_server import LiveServer

pytestmark = [pytest.mark.docker, pytest.mark.timeout(180)]


def instance_of(server: LiveServer) -> str:
    return (server.data_dir / "instance").read_text().strip()


def children_of(server: LiveServer) -> list[int]:
    """Return the processes that use the server's data directory, itself left out."""
    own = server.process.pid if server.process else 0
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == own:
            continue
        with suppress(OSError):
            if (entry / "cwd").readlink().is_relative_to(server.data_dir):
                found.append(int(entry.name))
    return found


def redis_of(server: LiveServer) -> int:
    [pid] = children_of(server)
    return pid


def stopped(server: LiveServer, number: signal.Signals, *, within: float) -> int:
    """Send a signal and return the exit status."""
    assert server.process is not None
    server.process.send_signal(number)
    began = time.monotonic()
    status = server.process.wait(60)
    took = time.monotonic() - began
    server.process = None
    assert took < within, f"took {took:.1f}s:\n{server.text()[-3000:]}"
    return status


# An engine that is not there, or is and says nothing.


@contextmanager
def silent_engine(path: Path) -> Iterator[str]:
    """Listen and accept, and never say a word."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(64)
        yield f"unix://{path}"


@contextmanager
def absent_engine(path: Path) -> Iterator[str]:
    """Leave a socket behind that nobody listens on."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
    yield f"unix://{path}"


@pytest.mark.parametrize("engine", [silent_engine, absent_engine])
def test_an_engine_that_does_not_answer_is_said_everywhere_in_bounded_time(
    engine: Callable[[Path], AbstractContextManager[str]], tmp_path: Path
) -> None:
    with engine(tmp_path / "engine") as address:
        server = LiveServer(tmp_path / "s", new_instance(), docker_host=address)
        began = time.monotonic()
        server.start()
        try:
            assert time.monotonic() - began < 20
            with httpx.Client(base_url=server.url + "/api/v1", timeout=60) as client:
                ready = client.get("/ready")
                assert ready.status_code == 503
                assert address in ready.json()["providers"][0]["error"]
                assert client.get("/health").status_code == 200

                def spawn(_: int) -> tuple[int, str, float]:
                    began = time.monotonic()
                    answer = client.post("/sandboxes", json={})
                    return answer.status_code, answer.json()["code"], time.monotonic() - began

                with ThreadPoolExecutor(12) as pool:
                    answers = list(pool.map(spawn, range(12)))
                assert {answer[:2] for answer in answers} == {(503, "UNAVAILABLE")}
                assert max(answer[2] for answer in answers) < 45
                assert client.get("/sandboxes").json() == []
        finally:
            status = stopped(server, signal.SIGTERM, within=28)
        assert status == 0
        assert "docker" in server.text().lower()
        assert children_of(server) == []


def test_what_ran_is_adopted_once_the_engine_answers(make_server: MakeServer) -> None:
    """Started while the engine is away, the server keeps every record and catches up later."""
    server = make_server(reconcile_interval="1")
    with server.client() as client:
        sandbox = client.spawn(ttl="10m")
    server.kill()
    path = server.data_dir / "engine"
    server.settings["docker_host"] = f"unix://{path}"
    server.start()
    with server.client() as client:
        [record] = client.list()
        assert (record.id, record.state) == (sandbox.id, "running")
        with pytest.raises(StacyVMError):
            client.get(sandbox.id).exec("true")
        path.symlink_to("/var/run/docker.sock")
        wait_until(lambda: _works(client, sandbox.id), "the sandbox to be adopted")


def _works(client: Client, sandbox_id: str) -> bool:
    with suppress(StacyVMError):
        return client.get(sandbox_id).exec("echo alive").stdout == "alive\n"
    return False


# Signals.


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("delay", [0.3, 1.2])
def test_a_signal_in_the_middle_of_the_start_stops_it(
    tmp_path: Path, number: signal.Signals, delay: float
) -> None:
    with silent_engine(tmp_path / "engine") as address:
        server = LiveServer(tmp_path / "s", new_instance(), docker_host=address)
        starter = threading.Thread(target=_start_unwaited, args=(server,))
        starter.start()
        wait_until(lambda: server.process, "the process")
        time.sleep(delay)
        status = stopped(server, number, within=8)
        starter.join()
        # Before there was a handler the signal ends the process as any other.
        assert status == 0 or (delay < 1 and status in {-number, 128 + number})
        assert "Traceback" not in server.text() or status != 0
        wait_until(lambda: not children_of(server), "Redis to go", timeout=10)


def _start_unwaited(server: LiveServer) -> None:
    with suppress(AssertionError, AttributeError):
        server.start()


def test_a_second_ctrl_c_leaves_at_once(make_server: MakeServer) -> None:
    server = make_server()
    with server.client() as client:
        sandbox = client.spawn(ttl="10m")
        with ThreadPoolExecutor(1) as pool:
            hanging = pool.submit(lambda: list(sandbox.exec_stream("sleep 60")))
            wait_until(lambda: "sleep" in _processes(sandbox.id), "the command")
            assert server.process is not None
            server.process.send_signal(signal.SIGINT)
            time.sleep(0.7)
            status = stopped(server, signal.SIGINT, within=3)
            assert status in {0, 128 + signal.SIGINT}
            with suppress(Exception):
                hanging.result(10)
    wait_until(lambda: not children_of(server), "Redis to go", timeout=15)
    assert sandbox.id in running(instance_of(server))


def test_sigterm_under_load_is_quick_and_leaves_what_is_on_record(make_server: MakeServer) -> None:
    server = make_server()
    with server.client() as client:
        kept = client.spawn(ttl="10m")
    stop = threading.Event()
    with ThreadPoolExecutor(8) as pool:
        spawns = [pool.submit(_until, stop, server, _spawn_one) for _ in range(3)]
        streams = [pool.submit(_until, stop, server, _stream_of(kept.id)) for _ in range(3)]
        work = [*spawns, *streams]
        time.sleep(1.5)
        assert stopped(server, signal.SIGTERM, within=20) == 0
        stop.set()
        for one in work:
            one.result(40)
    assert children_of(server) == []
    assert "Traceback" not in server.text()
    assert "was never retrieved" not in server.text()
    server.start()
    agree(server)
    assert kept.id in running(instance_of(server))


def _until(stop: threading.Event, server: LiveServer, work: Callable[[Client], object]) -> None:
    with server.client() as client:
        while not stop.is_set():
            try:
                work(client)
            except (StacyVMError, httpx.HTTPError):
                time.sleep(0.05)


def _spawn_one(client: Client) -> None:
    client.spawn(ttl="10m")


def _stream_of(sandbox_id: str) -> Callable[[Client], None]:
    def stream(client: Client) -> None:
        for _ in client.get(sandbox_id).exec_stream("sleep 30"):
            pass

    return stream


def agree(server: LiveServer) -> None:
    """Wait until the engine holds what is on record and nothing else, and use each of it."""
    with server.client() as client:

        def same() -> bool:
            records = client.list()
            return existing(instance_of(server)) == {info.id for info in records} and all(
                info.state == "running" for info in records
            )

        wait_until(same, "engine and records to agree")
        for info in client.list():
            assert client.get(info.id).exec("echo alive").stdout == "alive\n"


def _processes(sandbox_id: str) -> str:
    return subprocess.run(
        ["docker", "top", sandbox_id, "-o", "pid,args"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout


# kill -9.


def mixed_load(server: LiveServer, stop: threading.Event, number: int) -> None:
    """Spawn, run, upload and destroy until told to stop, or the server is gone."""
    with server.client() as client:
        while not stop.is_set():
            try:
                sandbox = client.spawn(ttl="10m", metadata={"n": str(number)})
                sandbox.exec("head -c 100000 /dev/zero | wc -c")
                sandbox.write_file("f", "x" * 500_000)
                list(sandbox.exec_stream("seq 1000"))
                if number % 2:
                    sandbox.destroy()
            except (StacyVMError, httpx.HTTPError):
                return


def kill_under_load(server: LiveServer, delay: float) -> None:
    stop = threading.Event()
    with ThreadPoolExecutor(4) as pool:
        work = [pool.submit(mixed_load, server, stop, number) for number in range(4)]
        time.sleep(delay)
        server.kill()
        stop.set()
        for one in work:
            one.result(60)
    # The kernel ends the private Redis with its server.
    wait_until(lambda: not children_of(server), "Redis to go", timeout=15)
    server.start()
    agree(server)


def test_kill_9_under_mixed_load_leaves_adopted_or_removed(make_server: MakeServer) -> None:
    server = make_server()
    for _ in range(3):
        kill_under_load(server, random.uniform(0.2, 2.0))  # noqa: S311 - a moment, not a secret


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_kill_9_under_mixed_load_many_times(make_server: MakeServer) -> None:
    server = make_server()
    for _ in range(30):
        kill_under_load(server, random.uniform(0.05, 3.0))  # noqa: S311 - a moment, not a secret
        server.destroy_all()


def test_commands_of_a_dead_servers_clients_end_when_it_is_back(make_server: MakeServer) -> None:
    server = make_server()
    with server.client() as client, ThreadPoolExecutor(1) as pool:
        sandbox = client.spawn(ttl="10m")
        lost = pool.submit(sandbox.exec, "trap '' TERM; sleep 4321", timeout="5m")
        wait_until(lambda: "sleep 4321" in _processes(sandbox.id), "the command")
        server.kill()
        with pytest.raises((StacyVMError, httpx.HTTPError)):
            lost.result(30)
    server.start()
    wait_until(lambda: "sleep 4321" not in _processes(sandbox.id), "it to be killed", timeout=10)


def test_redis_killed_under_load_comes_back_with_everything(make_server: MakeServer) -> None:
    server = make_server()
    with server.client() as client:
        kept = client.spawn(ttl="10m", metadata={"kept": "yes"})
    before = redis_of(server)
    statuses: set[tuple[int, str]] = set()
    stop = threading.Event()

    def look() -> None:
        with httpx.Client(base_url=server.url + "/api/v1", timeout=60) as client:
            while not stop.is_set():
                answer = client.post("/sandboxes", json={"ttl": "10m"})
                if answer.status_code == 201:
                    statuses.add((201, ""))
                    answer = client.delete(f"/sandboxes/{answer.json()['id']}")
                if answer.status_code != 200:
                    statuses.add((answer.status_code, answer.json()["code"]))

    with ThreadPoolExecutor(4) as pool:
        work = [pool.submit(look) for _ in range(4)]
        time.sleep(0.5)
        for _ in range(3):
            os.kill(redis_of(server), signal.SIGKILL)
            time.sleep(1.0)
            wait_until(lambda: len(children_of(server)) == 1, "Redis to be started again")
        time.sleep(1.0)
        stop.set()
        for one in work:
            one.result(60)
    assert redis_of(server) != before
    assert statuses <= {(201, ""), (503, "UNAVAILABLE")}
    with server.client() as client:
        assert client.get(kept.id).exec("echo alive").stdout == "alive\n"
        assert {info.id: info.metadata for info in client.list()}[kept.id] == {"kept": "yes"}
    server.kill()
    wait_until(lambda: not children_of(server), "Redis to go", timeout=15)
    server.start()  # what could not be undone without Redis is undone now
    agree(server)


# Races.


def test_destroys_race_creations(server: LiveServer) -> None:
    """DELETE while it is being created: the spawn fails, and nothing is left of it."""
    with server.client() as client, ThreadPoolExecutor(20) as pool:
        spawns = [pool.submit(_spawned, server) for _ in range(20)]
        deadline = time.monotonic() + 60
        while not all(spawn.done() for spawn in spawns) and time.monotonic() < deadline:
            for info in client.list():
                client.get(info.id).destroy()
            time.sleep(0.02)
        for spawn in spawns:
            spawn.result(60)
        for info in client.list():
            client.get(info.id).destroy()
        assert client.list() == []
    wait_until(lambda: not existing(instance_of(server)), "all containers to go", timeout=60)


def _spawned(server: LiveServer) -> str:
    with server.client() as client, suppress(SandboxNotFound):
        return client.spawn(ttl="10m").id
    return ""


def test_extending_races_expiry(server: LiveServer) -> None:
    """A granted extension holds; one that is refused finds the sandbox ended, never half of it."""
    with server.client() as client, ThreadPoolExecutor(6) as pool:
        sandboxes = list(pool.map(lambda n: client.spawn(ttl="3s"), range(6)))

        def extend(number: int) -> bool:
            time.sleep(1.7 + number * 0.25)
            with suppress(SandboxNotFound):
                sandboxes[number].extend_ttl("10m")
                return True
            return False

        granted = list(pool.map(extend, range(6)))
        time.sleep(3)
        alive = {sandboxes[number].id for number in range(6) if granted[number]}
        wait_until(lambda: running(instance_of(server)) == alive, f"{alive} alone to live")
        assert {info.id for info in client.list()} == alive


def test_a_destroy_ends_running_commands_with_the_reason(server: LiveServer) -> None:
    with server.client() as client, ThreadPoolExecutor(5) as pool:
        sandbox = client.spawn()
        work = [pool.submit(sandbox.exec, "sleep 60") for _ in range(5)]
        wait_until(lambda: _processes(sandbox.id).count("sleep 60") >= 5, "the commands")
        sandbox.destroy()
        for one in work:
            with pytest.raises(StacyVMError, match="destroyed by request"):
                one.result(15)


def test_fifty_commands_at_once_and_a_hundred_idle_streams(server: LiveServer) -> None:
    with server.client() as client, client.spawn(memory_mb=2048) as sandbox:
        with ThreadPoolExecutor(50) as pool:
            said = list(pool.map(lambda n: sandbox.exec(f"echo {n}").stdout, range(50)))
        assert said == [f"{number}\n" for number in range(50)]
        body = {"command": "sleep 60", "stream": True}
        with httpx.Client(timeout=30, limits=httpx.Limits(max_connections=200)) as raw:
            url = f"{server.url}/api/v1/sandboxes/{sandbox.id}/exec"
            streams = []
            for _ in range(100):
                request = raw.build_request("POST", url, json=body)
                streams.append(raw.send(request, stream=True))
            statuses = {stream.status_code for stream in streams}
            began = time.monotonic()
            assert sandbox.exec("echo alive").stdout == "alive\n"
            assert time.monotonic() - began < 2
            for stream in streams:
                stream.close()
        assert statuses <= {200, 429}
        wait_until(lambda: "sleep 60" not in _processes(sandbox.id), "every command to be killed")


# What an operator gets wrong.


def refused(server: LiveServer) -> str:
    """Return what a server that must not start says; it ends by itself, with status 1."""
    with pytest.raises(AssertionError, match="did not start"):
        server.start()
    assert server.process is not None
    status = server.process.wait(20)
    server.process = None
    assert status in {4, 7}  # in conflict, unavailable
    assert "Traceback" not in server.text()
    assert children_of(server) == []
    return server.text()


def test_a_port_in_use_is_said(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        server = LiveServer(tmp_path / "s", new_instance(), port=port)
        assert f"cannot listen on 127.0.0.1:{port}" in refused(server)


def test_two_servers_on_one_data_directory_are_refused(make_server: MakeServer) -> None:
    first = make_server()
    second = LiveServer.__new__(LiveServer)
    second.__dict__ = {**first.__dict__, "log": first.log.with_name("second.log"), "process": None}
    with pytest.raises(AssertionError, match="did not start"):
        second.start()
    assert second.process is not None
    assert second.process.wait(20) == 4  # in conflict
    assert f"another server (pid {first.process and first.process.pid})" in second.text()
    with first.client() as client:
        assert client.list() == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a folder on a file system of 4 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "tmpfs", folder],
        check=False,
    )
    if mounted.returncode:
        pytest.skip("no right to mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_is_said_and_everything_goes_on_once_there_is_room(small_disk: Path) -> None:
    server = LiveServer(small_disk / "s", new_instance())
    server.log = small_disk.with_name("serve.log")  # not on the small disk
    server.start()
    try:
        with server.client() as client:
            kept = client.spawn(ttl="10m")
            filler = small_disk / "filler"
            with suppress(OSError), filler.open("wb", buffering=0) as output:
                while output.write(b"x" * 65536):
                    pass
            with suppress(OSError), filler.open("ab", buffering=0) as output:
                while output.write(b"x" * 64):
                    pass
            codes: set[str] = set()
            began = time.monotonic()
            while codes != {"UNAVAILABLE"} and time.monotonic() - began < 30:
                try:
                    client.spawn(ttl="10m", metadata={"fill": "x" * 1000}).destroy()
                except StacyVMError as error:
                    codes.add(str(error.code))
            assert codes == {"UNAVAILABLE"}
            assert kept.exec("echo alive").stdout == "alive\n", "what runs is not touched"
            filler.unlink()
            wait_until(lambda: _spawns(client), "spawns to work again", timeout=30)
            agree(server)
    finally:
        (small_disk / "filler").unlink(missing_ok=True)
        server.destroy_all()
        wait_until(lambda: not existing(instance_of(server)), "the containers to go")
        assert server.stop() == 0


def _spawns(client: Client) -> bool:
    with suppress(StacyVMError):
        client.spawn(ttl="10m").destroy()
        return True
    return False
