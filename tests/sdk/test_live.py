"""The synchronous client against a real server."""

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stacyvm_sdk import (
    Client,
    Content,
    ExecError,
    ExecOutcome,
    ExecResult,
    ExecTimeout,
    FileNotFound,
    ImageNotFound,
    InvalidRequest,
    LimitExceeded,
    ProviderManager,
    ProviderNotFound,
    Sandbox,
    SandboxNotFound,
    StacyVMError,
    StreamChunk,
    TemplateManager,
    with_sandbox,
)

from tests.live_server import LiveServer
from tests.sdk.conftest import contents


def text_of(chunks: list[StreamChunk], stream: str) -> str:
    return "".join(chunk.data for chunk in chunks if chunk.stream == stream)


def test_a_sandbox_lives_from_spawn_to_destroy(client: Client) -> None:
    sandbox = client.spawn(
        memory_mb=64, ttl=600, owner_id="me", metadata={"a": "b"}, env={"GREETING": "hi"}
    )
    try:
        assert sandbox.id.startswith("sb-")
        assert (sandbox.state, sandbox.provider) == ("running", "local")
        assert sandbox.info.owner_id == "me"
        assert sandbox.info.metadata == {"a": "b"}
        assert sandbox.info.memory_mb == 64
        assert sandbox.exec("echo $GREETING").stdout == "hi\n"
        assert [info.id for info in client.list()] == [sandbox.id]
        assert client.list()[0] == client.get(sandbox.id).info
        before = sandbox.info.expires_at
        sandbox.extend_ttl("20m")
        assert sandbox.info.expires_at > before
        assert sandbox.get_preview_url(3000) == f"http://3000-{sandbox.id}.localhost"
        assert isinstance(sandbox.logs(), list)
        assert "supported" in sandbox.stats()
        assert client.prune() == 0
    finally:
        sandbox.destroy()
    assert sandbox.state == "destroyed"
    sandbox.destroy()  # once more is no error
    with pytest.raises(SandboxNotFound) as caught:
        sandbox.refresh()
    assert caught.value.sandbox_id == sandbox.id
    assert (caught.value.status, caught.value.code) == (404, "NOT_FOUND")
    assert caught.value.request_id


def test_the_server_tells_about_itself(client: Client) -> None:
    assert client.health()["status"] == "ok"
    assert client.pool_status() == {"enabled": False}
    assert client.providers()[0]["name"] == "local"
    providers = ProviderManager(client._http)
    assert providers.list() == client.providers()
    assert providers.test() == {"local": True}


def test_what_the_server_does_not_serve_yet_is_a_clean_error(client: Client) -> None:
    for call in (client.quota_summary, client.templates.list):
        with pytest.raises(StacyVMError):
            call()
    with pytest.raises(SandboxNotFound):
        TemplateManager(client._http).get("x")


def test_a_command_gives_its_whole_result(sandbox: Sandbox) -> None:
    result = sandbox.exec("echo out; echo err >&2; exit 3")
    assert result == ExecResult(3, "out\n", "err\n", result.duration)
    assert result.duration.endswith("s")
    assert not result.ok
    assert sandbox.exec("printf '%s|'", ["a b", "c'd"]).stdout == "a b|c'd|"
    assert sandbox.exec("echo", ["$HOME"], mode="argv").stdout == "$HOME\n"
    assert sandbox.exec("echo $A", env={"A": "é\u2028"}).stdout == "é\u2028\n"
    sandbox.exec("mkdir sub")
    assert sandbox.exec("pwd", workdir="sub").stdout.endswith("/sub\n")
    assert sandbox.exec("kill -9 $$").signal == "SIGKILL"


def test_a_checked_command_raises_with_its_result(sandbox: Sandbox) -> None:
    assert sandbox.exec("true", check=True).ok
    with pytest.raises(ExecError, match="failed with exit code 7: oh no") as caught:
        sandbox.exec("echo 'oh no' >&2; exit 7", check=True)
    assert caught.value.result.exit_code == 7


@pytest.mark.parametrize(
    ("stdin", "expected"),
    [
        ("text é", "text é".encode()),
        (b"\x00\xff bytes", b"\x00\xff bytes"),
        ([b"an", b"", b" iterable"], b"an iterable"),
        (io.BytesIO(b"file"), b"file"),
        ("", b""),
    ],
)
def test_a_command_reads_what_it_is_given(
    stdin: Content, expected: bytes, sandbox: Sandbox
) -> None:
    sandbox.exec("cat > got", stdin=stdin, check=True)
    assert sandbox.read_bytes("got") == expected


def test_a_command_without_stdin_reads_nothing(sandbox: Sandbox) -> None:
    assert sandbox.exec("cat", timeout=5).stdout == ""


def test_a_large_stdin_arrives_whole(sandbox: Sandbox) -> None:
    blocks: Iterator[bytes] = (bytes([i % 256]) * 65536 for i in range(256))
    assert sandbox.exec("wc -c", stdin=blocks).stdout.strip() == str(16 * 2**20)


def test_a_command_out_of_time_raises_with_its_output(sandbox: Sandbox) -> None:
    with pytest.raises(ExecTimeout) as caught:
        sandbox.exec("echo so far; echo bad >&2; sleep 60", timeout=0.5)
    assert (caught.value.stdout, caught.value.stderr) == ("so far\n", "bad\n")
    assert not caught.value.truncated
    assert caught.value.status == 408


def test_over_long_output_is_cut_and_marked(sandbox: Sandbox) -> None:
    result = sandbox.exec("head -c 6000000 /dev/zero | tr '\\0' x")
    assert result.truncated
    assert 0 < len(result.stdout) <= 4 * 2**20


def test_a_stream_gives_output_as_it_comes_and_then_the_outcome(sandbox: Sandbox) -> None:
    stream = sandbox.exec_stream("echo one; sleep 0.5; echo two >&2; exit 4")
    started = time.monotonic()
    assert next(stream) == StreamChunk("stdout", "one\n")
    assert time.monotonic() - started < 0.45
    with pytest.raises(StacyVMError, match="outcome"):
        _ = stream.exit_code
    assert list(stream) == [StreamChunk("stderr", "two\n")]
    assert stream.result == ExecOutcome(4, stream.duration)
    assert (stream.exit_code, stream.ok, stream.timed_out) == (4, False, False)
    assert list(stream) == []


def test_a_stream_takes_stdin_and_says_when_time_was_up(sandbox: Sandbox) -> None:
    stream = sandbox.exec_stream("cat; sleep 60", timeout=0.5, stdin="via é\n")
    assert text_of(list(stream), "stdout") == "via é\n"
    assert stream.timed_out


def test_a_long_stream_arrives_whole(sandbox: Sandbox) -> None:
    stream = sandbox.exec_stream("seq 1 300000")
    assert text_of(list(stream), "stdout") == "".join(f"{i}\n" for i in range(1, 300001))
    assert stream.ok


def test_characters_are_whole_however_they_are_written(sandbox: Sandbox) -> None:
    command = r"printf '\342'; sleep 0.1; printf '\202'; sleep 0.1; printf '\254\205x'"
    assert text_of(list(sandbox.exec_stream(command)), "stdout") == "€\ufffdx"


def test_an_error_before_the_stream_is_raised_by_its_first_step(sandbox: Sandbox) -> None:
    with pytest.raises(InvalidRequest):
        next(sandbox.exec_stream("true", mode="nonsense"))
    with pytest.raises(LimitExceeded):
        sandbox.exec_stream("true", timeout="99h").__enter__()


def test_a_stream_that_is_left_kills_its_command(sandbox: Sandbox) -> None:
    with sandbox.exec_stream("echo $$; while :; do sleep 0.1; done") as stream:
        pid = int(next(stream).data)
    deadline = time.monotonic() + 10
    while sandbox.exec(f"kill -0 {pid}").ok:
        assert time.monotonic() < deadline, "the command lives on"
        time.sleep(0.05)
    assert list(stream) == []


def test_files_can_be_text_or_bytes_of_any_size(sandbox: Sandbox) -> None:
    sandbox.write_file("a/b.txt", "héllo\u2028\r\n")
    assert sandbox.read_file("a/b.txt") == "héllo\u2028\r\n"
    big = "é" * 3_000_000
    sandbox.write_file("big.txt", big)
    assert sandbox.read_file("big.txt") == big
    raw = bytes(range(256)) * 40_000
    sandbox.write_file("raw", io.BytesIO(raw), mode=0o750)
    assert sandbox.read_bytes("raw") == raw
    assert sandbox.stat_file("raw")["mode"] == "750"
    assert sandbox.read_bytes("raw", offset=300, length=5) == raw[300:305]
    assert sandbox.read_bytes("raw", offset=len(raw) - 3) == raw[-3:]
    assert sandbox.read_bytes("raw", length=4) == raw[:4]
    assert sandbox.read_bytes("raw", offset=len(raw) - 1, length=100) == raw[-1:]
    assert sandbox.read_bytes("raw", offset=len(raw)) == b""
    sandbox.write_file("nothing", b"")
    assert sandbox.read_bytes("nothing", offset=5) == b""
    with pytest.raises(InvalidRequest):
        sandbox.read_bytes("raw", length=0)


def test_files_can_be_looked_after(sandbox: Sandbox) -> None:
    sandbox.write_file("d/x.js", "1", mode="0600")
    sandbox.move_file("d/x.js", "d/y.js")
    sandbox.chmod_file("d/y.js", 0o755)
    info = sandbox.stat_file("d/y.js")
    assert (info["name"], info["size"], info["mode"], info["is_dir"]) == ("y.js", 1, "755", False)
    assert sandbox.list_files("d") == [info]
    assert sandbox.list_files(".")[0]["is_dir"]
    assert sandbox.glob_files("**/*.js") == [info["path"]]
    assert sandbox.glob_files("*.nothing") == []
    sandbox.delete_file("d", recursive=True)
    sandbox.delete_file("d/y.js")
    with pytest.raises(FileNotFound) as caught:
        sandbox.read_file("d/y.js")
    assert "d/y.js" in caught.value.path


def test_a_name_that_is_not_utf8_can_be_used_like_any_other(sandbox: Sandbox) -> None:
    name = os.fsdecode(b"caf\xe9")
    sandbox.write_file(name, b"x")
    (info,) = sandbox.list_files(".")
    assert info["name"] == name
    assert sandbox.read_bytes(info["path"]) == b"x"
    sandbox.delete_file(info["path"])
    assert sandbox.list_files(".") == []


def test_missing_things_are_told_apart(client: Client, sandbox: Sandbox) -> None:
    with pytest.raises(FileNotFound):
        sandbox.stat_file("nowhere")
    with pytest.raises(ProviderNotFound):
        client.spawn(provider="nowhere")
    for error in (FileNotFound, ProviderNotFound, ImageNotFound):
        assert issubclass(error, SandboxNotFound)
    with pytest.raises(SandboxNotFound) as caught:
        client.get("sb-00000000")
    assert type(caught.value) is SandboxNotFound


def test_a_directory_goes_in_and_comes_out_as_it_was(
    sandbox: Sandbox, local: Path, tmp_path: Path
) -> None:
    sandbox.upload(local, "project")
    assert sandbox.exec("./run.sh", workdir="project/src").stdout == "ran\n"
    assert sandbox.exec("cat link.js", workdir="project/src").stdout == "console.log('hi')\n"
    sandbox.download("project", tmp_path / "back")
    assert contents(tmp_path / "back") == contents(local)


def test_a_file_goes_in_and_comes_out_as_it_was(
    sandbox: Sandbox, local: Path, tmp_path: Path
) -> None:
    source = local / "src" / "run.sh"
    sandbox.upload(source, "bin/")
    sandbox.upload(str(source), "bin/other")
    assert sandbox.exec("bin/other", check=True).stdout == "ran\n"
    (tmp_path / "into").mkdir()
    sandbox.download("bin/run.sh", tmp_path / "into")
    sandbox.download("bin/run.sh", str(tmp_path / "new" / "name"))
    for path in (tmp_path / "into" / "run.sh", tmp_path / "new" / "name"):
        assert (path.read_bytes(), path.stat().st_mode) == (
            source.read_bytes(),
            source.stat().st_mode,
        )


def test_a_failed_download_leaves_what_was_there(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("old")
    with pytest.raises(FileNotFound):
        sandbox.download("nowhere", tmp_path / "f")
    assert contents(tmp_path) == {"f": (b"old", "0o644")}


def test_with_sandbox_destroys_after_a_block_or_a_function(client: Client) -> None:
    with client.with_sandbox(metadata={"for": "block"}) as sandbox:
        assert sandbox.info.metadata == {"for": "block"}
    assert client.with_sandbox(lambda sb: sb.exec("echo hi").stdout, ttl="5m") == "hi\n"

    def fail(sandbox: Sandbox) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        client.with_sandbox(fail)
    with pytest.raises(KeyError), client.with_sandbox():
        raise KeyError("x")
    assert client.list() == []


def test_with_sandbox_can_bring_its_own_client(live_server: LiveServer, client: Client) -> None:
    assert with_sandbox(lambda sb: sb.state, base_url=live_server.url) == "running"
    with with_sandbox(base_url=live_server.url, user_id="me") as sandbox:
        assert sandbox.info.owner_id == "me"
    assert client.list() == []


def test_ctrl_c_destroys_the_sandbox(live_server: LiveServer, client: Client) -> None:
    code = (
        "import sys\nfrom stacyvm_sdk import with_sandbox\n"
        "with with_sandbox(base_url=sys.argv[1]) as sandbox:\n"
        "    print(sandbox.id, flush=True)\n"
        "    sandbox.exec('sleep 60')\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, live_server.url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b"sb-")
        process.send_signal(signal.SIGINT)
        assert b"KeyboardInterrupt" in process.stderr.read()
    assert client.list() == []


def test_owners_see_only_their_own(live_server: LiveServer, client: Client) -> None:
    with (
        Client(live_server.url, user_id="ann") as ann,
        Client(live_server.url, user_id="bob") as bob,
        ann.spawn() as sandbox,
    ):
        assert bob.list() == []
        with pytest.raises(SandboxNotFound):
            bob.get(sandbox.id)
        assert ann.get(sandbox.id).info.owner_id == "ann"


def test_one_client_serves_many_threads(client: Client) -> None:
    found: list[str] = []

    def work(number: int) -> None:
        with client.spawn() as sandbox:
            found.append(sandbox.exec(f"echo {number}").stdout)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == ["0\n", "1\n", "2\n", "3\n"]


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"ttl": "0s"}, InvalidRequest),
        ({"ttl": "-1s"}, InvalidRequest),
        ({"ttl": "30"}, InvalidRequest),
        ({"ttl": "1d"}, InvalidRequest),
        ({"ttl": "9999h"}, LimitExceeded),
        ({"memory_mb": -1}, StacyVMError),
        ({"memory_mb": "lots"}, InvalidRequest),
        ({"owner_id": "a b"}, InvalidRequest),
        ({"metadata": {"a": 1}}, InvalidRequest),
        ({"network": "nonsense"}, InvalidRequest),
    ],
)
def test_bad_input_to_spawn_is_a_clear_error(
    options: dict[str, Any], kind: type[StacyVMError], client: Client
) -> None:
    with pytest.raises(kind):
        client.spawn(**options)


def test_admission_tells_before_a_spawn_does(client: Client) -> None:
    found = client.admission(ttl="10m", owner_id="ada")
    assert (found.allowed, found.reason, found.max_ttl) == (True, "", "24h0m0s")
    assert client.admission(ttl="25h").reason == "max_ttl"
