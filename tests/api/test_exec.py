import asyncio
import contextlib
import json
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from yarl import URL

from stacyvm.api import streams
from tests.api.conftest import Api, Variant, eventually, processes_with

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def lines_of(api: Api, sandbox: str, **body: Any) -> list[dict[str, Any]]:
    """Run a streamed command and return its lines; heartbeats are left out."""
    path = f"{api.url}/api/v1/sandboxes/{sandbox}/exec"
    async with api.http.post(path, json=body | {"stream": True}) as answer:
        assert answer.status == 200, await answer.text()
        assert answer.headers["Content-Type"] == "application/x-ndjson"
        assert answer.headers["Cache-Control"] == "no-cache"
        text = (await answer.read()).decode("ascii")
    assert text.endswith("\n")
    return [json.loads(line) for line in text.split("\n") if line]


def text_of(lines: list[dict[str, Any]], stream: str) -> str:
    return "".join(line["data"] for line in lines if line["stream"] == stream)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"command": "echo out; echo err >&2; exit 3"}, (3, "out\n", "err\n")),
        ({"command": "printf %s", "args": ["a b", "it's"]}, (0, "a bit's", "")),
        ({"command": "printf", "args": ["%s|", "a b", "$HOME"], "mode": "argv"},
         (0, "a b|$HOME|", "")),
        ({"command": "echo $A", "env": {"A": "é\n"}}, (0, "é\n", "")),
        ({"command": "pwd", "workdir": "/usr"}, (0, "/usr\n", "")),
        ({"command": ""}, (0, "", "")),
        ({"command": "cat"}, (0, "", "")),
        ({"command": "cat", "stdin": "text\u2028"}, (0, "text\u2028", "")),
        ({"command": "cat", "stdin": ""}, (0, "", "")),
        ({"command": "printf '\\377\\303\\251'"}, (0, "\ufffdé", "")),
        ({"command": "exec 1>&-; sleep 0.1; exit 5"}, (5, "", "")),
        ({"command": "printf '%s' no-newline"}, (0, "no-newline", "")),
    ],
)  # fmt: skip
async def test_a_command_gives_the_same_sync_and_streamed(
    api: Api, shared: str, body: dict[str, Any], expected: tuple[int, str, str]
) -> None:
    result = await api.exec(shared, **body)
    assert (result["exit_code"], result["stdout"], result["stderr"]) == expected
    assert set(result) == {"exit_code", "stdout", "stderr", "duration"}
    lines = await lines_of(api, shared, **body)
    assert (text_of(lines, "stdout"), text_of(lines, "stderr")) == expected[1:]
    last = lines[-1]
    assert last == {
        "stream": "exit", "data": "", "exit_code": expected[0], "duration": last["duration"]
    }  # fmt: skip
    assert [line["stream"] for line in lines].count("exit") == 1


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"command": "/no/such/program"}, 127),
        ({"command": "no-such-program", "mode": "argv"}, 127),
        ({"command": "/etc/passwd", "mode": "argv"}, 126),
        ({"command": "/etc/passwd"}, 126),
    ],
)
async def test_what_cannot_be_run_ends_as_in_a_shell(
    api: Api, shared: str, body: dict[str, Any], code: int
) -> None:
    result = await api.exec(shared, **body)
    assert result["exit_code"] == code
    assert result["stderr"]


async def test_a_signal_is_named(api: Api, shared: str) -> None:
    result = await api.exec(shared, "kill -KILL $$")
    assert (result["exit_code"], result["signal"]) == (137, "SIGKILL")


async def test_a_timeout_is_408_with_what_there_was(api: Api, shared: str) -> None:
    body = {"command": "echo partial; sleep 977", "timeout": "300ms"}
    status, answer = await api.call("POST", f"/sandboxes/{shared}/exec", json=body)
    assert status == 408
    assert (answer["code"], answer["message"]) == (
        "TIMEOUT", f"exec timeout: {shared} (after 0.3s)",
    )  # fmt: skip
    assert answer["details"] == {
        "stdout": "partial\n", "stderr": "", "truncated": False, "timeout_seconds": 0.3
    }  # fmt: skip
    assert not processes_with("sleep\x00977")


async def test_a_streamed_timeout_is_in_the_last_line(api: Api, shared: str) -> None:
    lines = await lines_of(api, shared, command="echo partial; sleep 976", timeout="300ms")
    assert text_of(lines, "stdout") == "partial\n"
    assert lines[-1]["timed_out"] is True
    assert not processes_with("sleep\x00976")


async def test_zero_means_the_longest_time(variant: Variant, shared: str) -> None:
    async with variant(max_exec_timeout=0.3, default_exec_timeout=50.0) as api:
        for timeout in ("0s", ""):
            body = {"command": "sleep 60", "timeout": timeout}
            status, answer = await api.call("POST", f"/sandboxes/{shared}/exec", json=body)
            assert (status, answer["details"]["timeout_seconds"]) == (408, 0.3)


async def test_too_much_output_is_cut_and_marked(api: Api, shared: str) -> None:
    limit = api.services.settings.max_exec_output
    result = await api.exec(shared, f"head -c {limit + 5} /dev/zero | tr '\\0' x; exit 4")
    assert (result["exit_code"], len(result["stdout"]), result["truncated"]) == (4, limit, True)


async def test_split_characters_survive_a_stream(api: Api, shared: str) -> None:
    script = "printf '\\342'; sleep 0.1; printf '\\202'; sleep 0.1; printf '\\254\\n\\303'"
    lines = await lines_of(api, shared, command=script)
    assert text_of(lines, "stdout") == "€\n\ufffd"


async def test_output_arrives_as_it_is_printed_with_heartbeats_between(
    api: Api, shared: str
) -> None:
    path = f"{api.url}/api/v1/sandboxes/{shared}/exec"
    body = {"command": "echo first; sleep 1; echo second", "stream": True}
    started = time.monotonic()
    async with api.http.post(path, json=body) as answer:
        assert json.loads(await answer.content.readline())["data"] == "first\n"
        assert time.monotonic() - started < 0.8
        rest = (await answer.read()).split(b"\n")
    assert rest.count(b"") >= 3  # two heartbeats at least, and the end
    assert [json.loads(line)["stream"] for line in rest if line] == ["stdout", "exit"]


async def stdin_body(head: dict[str, Any], chunks: int, size: int) -> AsyncIterator[bytes]:
    yield json.dumps(head, indent=2).encode() + b" \n"
    for _ in range(chunks):
        yield b"\n\xff" * (size // 2)


async def test_stdin_of_any_size_follows_the_command(api: Api, shared: str) -> None:
    head = {"command": "wc -c; true", "stdin": True}
    path = f"/sandboxes/{shared}/exec"
    for chunks, size in ((0, 0), (1, 2), (160, 262144)):
        status, result = await api.call("POST", path, data=stdin_body(head, chunks, size))
        assert (status, result["stdout"].strip()) == (200, str(chunks * size))


async def test_stdin_and_output_flow_at_the_same_time(api: Api, shared: str) -> None:
    path = f"{api.url}/api/v1/sandboxes/{shared}/exec"
    asked: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def body() -> AsyncIterator[bytes]:
        yield b'{"command":"cat","stdin":true,"stream":true}\n'
        while (line := await asked.get()) is not None:
            yield line

    async with api.http.post(path, data=body()) as answer:
        for text in (b"one\n", b"two\n"):
            asked.put_nowait(text)
            assert json.loads(await next_line(answer.content))["data"].encode() == text
        asked.put_nowait(None)
        assert json.loads(await next_line(answer.content))["exit_code"] == 0


async def next_line(content: Any) -> bytes:
    while not (line := (await content.readline()).strip()):
        pass
    return bytes(line)


async def test_a_command_that_reads_no_stdin_ends_all_the_same(api: Api, shared: str) -> None:
    head = {"command": "exit 6", "stdin": True}
    path = f"/sandboxes/{shared}/exec"
    status, result = await api.call("POST", path, data=stdin_body(head, 40, 262144))
    assert (status, result["exit_code"]) == (200, 6)


def raw_exec(sandbox: str, body: bytes, length: int | None = None) -> bytes:
    return (
        f"POST /api/v1/sandboxes/{sandbox}/exec HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Length: {length or len(body)}\r\n\r\n"
    ).encode() + body


@pytest.mark.parametrize("stream", [b"true", b"false"])
async def test_a_caller_who_leaves_kills_the_command(api: Api, shared: str, stream: bytes) -> None:
    command = b'{"command":"trap \'\' TERM; sleep 975 & sleep 975","stream":%s}' % stream
    _, writer = await api.raw(raw_exec(shared, command))

    async def running() -> bool:
        return len(processes_with("sleep\x00975")) == 2

    async def dead() -> bool:
        return not processes_with("sleep\x00975")

    await eventually(running)
    writer.transport.abort()
    await eventually(dead)


async def test_a_caller_who_leaves_in_its_stdin_kills_the_command(api: Api, shared: str) -> None:
    command = b'{"command":"cat >/dev/null; sleep 974","stdin":true}\nhalf'
    _, writer = await api.raw(raw_exec(shared, command, len(command) + 100))

    async def reading() -> bool:
        return bool(processes_with("sleep 974"))

    async def dead() -> bool:
        return not processes_with("sleep\x00974") and not processes_with("sleep 974")

    await eventually(reading)
    writer.transport.abort()
    await eventually(dead)


async def test_a_sandbox_that_dies_ends_its_streams_with_an_error(api: Api) -> None:
    sandbox = await api.spawn()
    path = f"{api.url}/api/v1/sandboxes/{sandbox}/exec"
    async with api.http.post(path, json={"command": "echo up; sleep 99", "stream": True}) as answer:
        assert json.loads(await answer.content.readline())["data"] == "up\n"
        await api.call("DELETE", f"/sandboxes/{sandbox}")
        lines = [json.loads(line) for line in (await answer.read()).split(b"\n") if line]
    (last,) = lines
    assert (last["stream"], last["data"], last["code"]) == ("error", "", "SANDBOX_LOST")
    assert "destroyed by request" in last["message"]


async def test_a_slow_reader_of_100_mb_slows_the_command_and_loses_nothing(
    api: Api, shared: str
) -> None:
    size = 100 * 2**20
    body = json.dumps(
        {"command": f"head -c {size} /dev/zero | tr '\\0' 'x'; echo done >&2", "stream": True}
    ).encode()
    reader, writer = await api.raw(raw_exec(shared, body))
    await reader.readuntil(b"\r\n\r\n")
    await asyncio.sleep(0.5)

    async def started() -> bool:
        return bool(processes_with("head\x00-c"))

    assert await started()  # nobody reads, so it cannot have printed it all
    count, last = 0, {}
    while size_line := (await reader.readline()).strip():
        chunk = await reader.readexactly(int(size_line, 16) + 2)
        if chunk == b"\r\n":
            break
        for line in chunk.split(b"\n"):
            if line.strip():
                last = json.loads(line)
                count += len(last["data"]) if last["stream"] == "stdout" else 0
    writer.close()
    assert (count, last["stream"], last["exit_code"]) == (size, "exit", 0)


async def test_a_reader_who_stops_for_good_is_cut_off_without_a_fault_of_ours(
    api: Api,
    sandbox: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(streams, "STALL_TIMEOUT", 0.3)
    caplog.set_level(logging.INFO)
    address = URL(api.url)
    body = b'{"command":"yes","stream":true}'
    head = f"POST /api/v1/sandboxes/{sandbox}/exec HTTP/1.1\r\nHost: localhost\r\n"
    # Takes little ahead, so that what is not read piles up at once.
    _reader, writer = await asyncio.open_connection(address.host, address.port, limit=1024)
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)

    async def cut() -> bool:
        return "an answer was broken off: the reader took nothing" in caplog.text

    await eventually(cut)
    assert [record for record in caplog.records if record.exc_info] == []
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    assert (await api.exec(sandbox, "echo on"))["stdout"] == "on\n"
