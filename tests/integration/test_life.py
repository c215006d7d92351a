"""A sandbox's life on the real engine, with everything that can be killed, killed."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from stacyvm_sdk import Sandbox, SandboxNotFound, StacyVMError

from tests.integration.conftest import MakeServer, existing, running, wait_until
from tests.live_server import LiveServer

pytestmark = pytest.mark.docker


def instance_of(server: LiveServer) -> str:
    return (server.data_dir / "instance").read_text().strip()


def test_the_main_job(server: LiveServer) -> None:
    with server.client() as client, client.spawn("stacyvm/node", ttl="5m") as sandbox:
        sandbox.write_file("hello.js", "console.log('hello from', process.version)")
        result = sandbox.exec("node hello.js && id -u && pwd")
        assert result.exit_code == 0
        assert result.stdout.startswith("hello from v")
        assert result.stdout.splitlines()[1:] == ["1000", "/workspace"]
        assert running(instance_of(server)) == {sandbox.id}
    wait_until(lambda: not existing(instance_of(server)), "the container to go")


def test_many_one_after_another_leave_nothing(server: LiveServer) -> None:
    """The short form; ``make soak`` does 200."""
    one_after_another(server, 10)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_two_hundred_one_after_another_leave_nothing(server: LiveServer) -> None:
    one_after_another(server, 200)


def one_after_another(server: LiveServer, count: int) -> None:
    seen = set()
    with server.client() as client:
        for number in range(count):
            sandbox = client.spawn(metadata={"number": str(number)}, ttl="10m")
            seen.add(sandbox.id)
            assert sandbox.exec(f"echo {number}").stdout == f"{number}\n"
            [record] = client.list()
            assert (record.id, record.state) == (sandbox.id, "running")
            assert record.metadata == {"number": str(number)}
            sandbox.destroy()
            assert client.list() == []
    assert len(seen) == count
    wait_until(lambda: not existing(instance_of(server)), "the containers to go")


@pytest.mark.timeout(300)
def test_twenty_at_once_are_twenty(server: LiveServer) -> None:
    with server.client() as client, ThreadPoolExecutor(20) as pool:
        sandboxes = list(pool.map(lambda n: client.spawn(metadata={"n": str(n)}), range(20)))
        ids = {sandbox.id for sandbox in sandboxes}
        assert len(ids) == 20
        assert running(instance_of(server)) == ids
        assert {record.id: record.state for record in client.list()} == dict.fromkeys(
            ids, "running"
        )
        said = list(pool.map(lambda s: s.exec("hostname").stdout.strip(), sandboxes))
        assert said == [sandbox.id for sandbox in sandboxes]
        list(pool.map(Sandbox.destroy, sandboxes))
        assert client.list() == []
    wait_until(lambda: not existing(instance_of(server)), "the containers to go")


def test_a_restart_adopts_with_everything(make_server: MakeServer) -> None:
    server = make_server()
    with server.client() as client:
        sandbox = client.spawn(ttl="20m", owner_id="ada", metadata={"why": "restart"})
        sandbox.write_file("kept.txt", "still here")
        sandbox.exec("nohup sleep 1000 >/dev/null 2>&1 & echo $! > pid")
        before = next(info for info in client.list() if info.id == sandbox.id)
    server.kill()
    server.start()
    with server.client() as client:
        [after] = client.list()
        assert after == before
        adopted = client.get(sandbox.id)
        assert adopted.read_file("kept.txt") == "still here"
        assert adopted.exec("kill -0 $(cat pid)").exit_code == 0, "a background process was lost"


def test_what_died_while_the_server_was_down_is_recorded_as_gone(make_server: MakeServer) -> None:
    server = make_server()
    with server.client() as client:
        sandbox = client.spawn(ttl="20m")
        dying = client.spawn(ttl="20m")
    server.kill()
    import docker

    engine = docker.from_env()
    engine.api.remove_container(dying.id, force=True)
    engine.close()
    server.start()
    with server.client() as client:
        assert {info.id for info in client.list()} == {sandbox.id}
        with pytest.raises(SandboxNotFound, match="its container is gone"):
            client.get(dying.id)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("delay", [0.05, 0.25, 0.6, 1.2])
def test_kill_9_in_the_middle_of_spawns_leaves_adopted_or_removed(
    make_server: MakeServer, delay: float
) -> None:
    server = make_server()
    stop = threading.Event()

    def spawn(number: int) -> None:
        with server.client() as client:
            while not stop.is_set():
                try:
                    client.spawn(metadata={"n": str(number)}, ttl="10m")
                except StacyVMError:
                    return

    threads = [threading.Thread(target=spawn, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(delay)
    server.kill()
    stop.set()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    server.start()
    with server.client() as client:
        on_record = {info.id for info in client.list()}
        assert {info.state for info in client.list()} <= {"running"}
        wait_until(
            lambda: existing(instance_of(server)) == on_record,
            f"engine and records to agree on {on_record}",
        )
        for sandbox_id in on_record:
            assert client.get(sandbox_id).exec("echo alive").stdout == "alive\n"


def test_a_ttl_holds_with_the_server_up(server: LiveServer) -> None:
    with server.client() as client:
        sandbox = client.spawn(ttl="2s")
        wait_until(lambda: not running(instance_of(server)), "it to expire", timeout=7)
        with pytest.raises(SandboxNotFound, match="expired"):
            client.get(sandbox.id)


@pytest.mark.timeout(180)
def test_a_ttl_holds_with_the_server_dead(make_server: MakeServer) -> None:
    server = make_server()
    with server.client() as client:
        sandbox = client.spawn(ttl="2s")
        client.spawn(ttl="10m")
        sandbox.exec("trap '' TERM; nohup sleep 1000 >/dev/null 2>&1 &")
    server.kill()
    assert sandbox.id in running(instance_of(server))
    wait_until(
        lambda: sandbox.id not in running(instance_of(server)), "the agent to end it", timeout=62
    )
    server.start()
    with server.client() as client:
        assert sandbox.id not in {info.id for info in client.list()}
        with pytest.raises(SandboxNotFound, match="expired"):
            client.get(sandbox.id)
    wait_until(lambda: sandbox.id not in existing(instance_of(server)), "its container to go")


def test_extending_moves_the_agents_deadline_too(server: LiveServer) -> None:
    with server.client() as client:
        sandbox = client.spawn(ttl="2s")
        sandbox.extend_ttl("10m")
        time.sleep(4)
        assert sandbox.exec("echo alive").stdout == "alive\n"


def test_a_sandbox_killed_by_the_engine_ends_with_the_reason(server: LiveServer) -> None:
    import docker

    engine = docker.from_env()
    with server.client() as client:
        sandbox = client.spawn()
        killer = threading.Timer(1, engine.api.kill, [sandbox.id])
        killer.start()
        with pytest.raises(StacyVMError) as caught:
            sandbox.exec("sleep 60")
        killer.join()
        engine.close()
        assert caught.value.code in {"SANDBOX_LOST", "NOT_FOUND"}
        wait_until(lambda: not existing(instance_of(server)), "the container to go")
        with pytest.raises(SandboxNotFound, match="exit code"):
            client.get(sandbox.id)


def test_memory_beyond_the_limit_kills_the_guest_and_not_the_sandbox(server: LiveServer) -> None:
    with server.client() as client, client.spawn(memory_mb=128) as sandbox:
        result = sandbox.exec(
            "node -e 'const a=[];for(;;)a.push(Buffer.alloc(1<<20, 1))'", timeout="60s"
        )
        assert result.exit_code == 137
        assert sandbox.exec("echo alive").stdout == "alive\n"


def test_a_container_removed_behind_our_back_ends_the_record(make_server: MakeServer) -> None:
    server = make_server(reconcile_interval="1")
    import docker

    engine = docker.from_env()
    with server.client() as client:
        sandbox = client.spawn()
        engine.api.remove_container(sandbox.id, force=True)
        wait_until(lambda: not client.list(), "the record to end", timeout=10)
    engine.close()


def test_a_strangers_container_is_left_alone_and_an_orphan_is_not(make_server: MakeServer) -> None:
    server = make_server(reconcile_interval="1")
    import docker

    engine = docker.from_env()
    ours = {
        "stacyvm": "true",
        "stacyvm.instance": instance_of(server),
        "stacyvm.sandbox": "sb-00000000",
    }
    theirs = {"stacyvm": "true", "stacyvm.instance": "ffffffff"}
    stranger = engine.containers.create("stacyvm/node", ["sleep", "60"], labels=theirs)
    try:
        orphan = engine.containers.create(
            "stacyvm/node", ["sleep", "60"], name="sb-00000000", labels=ours
        )
        orphan.start()
        wait_until(lambda: not existing(instance_of(server)), "the orphan to go", timeout=20)
        stranger.reload()
    finally:
        stranger.remove(force=True)
        engine.close()
