"""What a server, or the way to it, may do wrong."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from stacyvm_sdk import (
    AsyncClient,
    AsyncSandbox,
    Client,
    ConnectionError,  # noqa: A004 - the contract's name
    InvalidResponse,
    LimitExceeded,
    ProviderError,
    Sandbox,
    SandboxLost,
    StacyVMError,
    StreamChunk,
    StreamInterrupted,
)

from tests.sdk.faulty_server import CHUNKED, LAST, FaultyServer, Step, answer, chunk

OUT = b'{"stream":"stdout","data":"one"}\n'
EXIT = b'{"stream":"exit","data":"","exit_code":0,"duration":"1.2s"}\n'

CALLS: list[Callable[[Client], object]] = [
    Client.spawn,
    Client.admission,
    Client.list,
    Client.prune,
    Client.pool_status,
    Client.quota_summary,
    Client.health,
    Client.providers,
    lambda client: client.get("sb-00000000"),
    lambda client: client.spawn_template("t"),
    lambda client: client.with_sandbox(str),
    lambda client: client.templates.list(),
    lambda client: client.templates.get("t"),
    lambda client: client.templates.delete("t"),
    lambda client: sandbox_of(client).exec("true"),
    lambda client: next(sandbox_of(client).exec_stream("true")),
    lambda client: sandbox_of(client).write_file("a", "b"),
    lambda client: sandbox_of(client).write_file("a", b"b"),
    lambda client: sandbox_of(client).read_file("a"),
    lambda client: sandbox_of(client).read_bytes("a"),
    lambda client: sandbox_of(client).download("a", "/nonexistent/never"),
    lambda client: sandbox_of(client).list_files(),
    lambda client: sandbox_of(client).delete_file("a"),
    lambda client: sandbox_of(client).move_file("a", "b"),
    lambda client: sandbox_of(client).chmod_file("a", "644"),
    lambda client: sandbox_of(client).stat_file("a"),
    lambda client: sandbox_of(client).glob_files("*"),
    lambda client: sandbox_of(client).extend_ttl(),
    lambda client: sandbox_of(client).refresh(),
    lambda client: sandbox_of(client).logs(),
    lambda client: sandbox_of(client).stats(),
    lambda client: sandbox_of(client).destroy(),
]


def sandbox_of(client: Client) -> Sandbox:
    return Sandbox(client._http, "sb-00000000")


def stream(faulty: FaultyServer, *steps: Step) -> list[StreamChunk]:
    faulty.steps = [CHUNKED, *steps]
    with Client(faulty.url, timeout=5) as client:
        return list(sandbox_of(client).exec_stream("x"))


@pytest.mark.parametrize("call", CALLS)
def test_no_method_leaks_an_error_of_the_http_library(call: Callable[[Client], object]) -> None:
    with Client("http://127.0.0.1:1") as client, pytest.raises(ConnectionError) as caught:
        call(client)
    assert isinstance(caught.value, OSError)
    assert caught.value.code == "CONNECTION_ERROR"


@pytest.mark.parametrize("call", CALLS)
def test_a_server_that_cuts_the_connection_is_a_connection_error(
    call: Callable[[Client], object], faulty: FaultyServer
) -> None:
    with Client(faulty.url) as client, pytest.raises(ConnectionError):
        call(client)
    assert len(faulty.requests) == 1, "nothing is tried twice"


def test_a_silent_server_is_a_connection_error_after_the_timeout(faulty: FaultyServer) -> None:
    faulty.steps = [1.0]
    started = time.monotonic()
    with (
        Client(faulty.url, timeout=0.2) as client,
        pytest.raises(ConnectionError, match="no answer in time"),
    ):
        client.health()
    assert time.monotonic() - started < 0.9


def test_a_command_is_waited_for_longer_than_the_clients_timeout(faulty: FaultyServer) -> None:
    result = {"exit_code": 0, "stdout": "late", "stderr": "", "duration": "0.6s"}
    faulty.steps = [0.6, answer(json.dumps(result).encode())]
    with Client(faulty.url, timeout=0.2) as client:
        assert sandbox_of(client).exec("sleep 0.6", timeout=1).stdout == "late"


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"{}", b'{"id":7}', b"null", b"\xff\xfe", b'{"id":"sb-']
)
def test_an_answer_that_makes_no_sense_is_said_to_be_so(body: bytes, faulty: FaultyServer) -> None:
    faulty.steps = [answer(body, headers="X-Request-ID: r-1\r\n")]
    with Client(faulty.url) as client, pytest.raises(InvalidResponse) as caught:
        client.get("sb-00000000")
    assert (caught.value.status, caught.value.request_id) == (200, "r-1")


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        ("502 Bad Gateway", b"<html>bad gateway</html>", ProviderError, "<html>bad gateway</html>"),
        ("502 Bad Gateway", b"", ProviderError, "HTTP status 502"),
        ("418 Teapot", b'{"code":"TEAPOT","message":"no coffee"}', StacyVMError, "no coffee"),
        ("400 Bad Request", b'{"code":7,"message":null}', StacyVMError, "HTTP status 400"),
        ("500 Oops", b"\xff\xff", ProviderError, "\ufffd\ufffd"),
        ("301 Moved Permanently", b"", StacyVMError, "HTTP status 301"),
    ],
)
def test_an_error_without_a_known_code_goes_by_its_status(
    status: str, body: bytes, kind: type[StacyVMError], message: str, faulty: FaultyServer
) -> None:
    faulty.steps = [answer(body, status)]
    with Client(faulty.url) as client, pytest.raises(StacyVMError) as caught:
        client.health()
    assert type(caught.value) is kind
    assert caught.value.message == message
    assert caught.value.status == int(status[:3])


def test_an_error_status_on_a_stream_is_read_and_mapped(faulty: FaultyServer) -> None:
    body = b'{"code":"RESOURCE_LIMIT","message":"full","details":{"a":1},"request_id":"r-2"}'
    faulty.steps = [answer(body, "429 Too Many", "Retry-After: 3\r\n")]
    with Client(faulty.url) as client, pytest.raises(LimitExceeded) as caught:
        next(sandbox_of(client).exec_stream("x"))
    error = caught.value
    assert (error.retry_after, error.details, error.request_id) == (3.0, {"a": 1}, "r-2")


def test_lines_end_at_newlines_alone_however_they_are_cut(faulty: FaultyServer) -> None:
    data = "a\u0085b\u2028c\u2029d\x0be\x0cf\x1cg"
    line = json.dumps({"stream": "stdout", "data": data}, ensure_ascii=False).encode()
    whole = b"\n" + line + b"\n\n \n" + EXIT
    for size in (1, 7, len(whole)):
        parts = [chunk(whole[i : i + size]) for i in range(0, len(whole), size)]
        assert stream(faulty, *parts, LAST) == [StreamChunk("stdout", data)]


def test_kinds_of_lines_this_client_does_not_know_are_passed_over(faulty: FaultyServer) -> None:
    future = b'{"stream":"system","data":"x","new":[1]}\n'
    assert stream(faulty, chunk(future + OUT + EXIT), LAST) == [StreamChunk("stdout", "one")]


@pytest.mark.parametrize(
    "steps",
    [
        [],  # cut at once
        [LAST],  # a proper end without an outcome
        [chunk(OUT)],  # cut after output
        [chunk(OUT), LAST],
        [chunk(OUT + EXIT[:-20])],  # cut in the final line
        [chunk(OUT + EXIT[:-20]), LAST],
        [b"ff\r\n" + OUT],  # cut within a chunk
    ],
)
def test_a_stream_without_its_outcome_is_an_error(steps: list[Step], faulty: FaultyServer) -> None:
    with pytest.raises(StreamInterrupted):
        stream(faulty, *steps)


def test_a_cut_behind_the_outcome_does_no_harm(faulty: FaultyServer) -> None:
    assert stream(faulty, chunk(OUT + EXIT)) == [StreamChunk("stdout", "one")]


@pytest.mark.parametrize(
    "line", [b"junk", b"[]", b'{"data":"x"}', b'{"stream":"stdout"}', b'{"stream":"exit"}', b"\xff"]
)
def test_a_junk_line_is_an_error(line: bytes, faulty: FaultyServer) -> None:
    with pytest.raises(InvalidResponse, match="makes no sense"):
        stream(faulty, chunk(OUT + line + b"\n" + EXIT), LAST)


def test_an_error_line_is_raised_after_the_output_before_it(faulty: FaultyServer) -> None:
    lost = b'{"stream":"error","data":"","code":"SANDBOX_LOST","message":"out of memory"}\n'
    faulty.steps = [CHUNKED, chunk(OUT), 0.05, chunk(lost), LAST]
    with Client(faulty.url) as client:
        chunks = sandbox_of(client).exec_stream("x")
        assert next(chunks) == StreamChunk("stdout", "one")
        with pytest.raises(SandboxLost, match="out of memory"):
            next(chunks)
        with pytest.raises(StacyVMError, match="outcome"):
            _ = chunks.result


def test_output_that_comes_together_with_an_error_line_is_not_lost(faulty: FaultyServer) -> None:
    lost = b'{"stream":"error","data":"","code":"SANDBOX_LOST","message":"gone"}\n'
    faulty.steps = [CHUNKED, chunk(OUT + lost), LAST]
    with Client(faulty.url) as client:
        chunks = sandbox_of(client).exec_stream("x")
        assert next(chunks) == StreamChunk("stdout", "one")
        with pytest.raises(SandboxLost, match="gone"):
            next(chunks)


def test_the_asynchronous_stream_is_as_strict(faulty: FaultyServer) -> None:
    # With a loop of its own: the other end's descriptors are this process's too, and closed when
    # its threads get to it.
    asyncio.run(_stream_faults(faulty))


async def _stream_faults(faulty: FaultyServer) -> None:
    cases: list[tuple[list[Step], type[StacyVMError]]] = [
        ([answer(b'{"code":"NOPE","message":"m"}', "400 No")], StacyVMError),
        ([CHUNKED, chunk(OUT), LAST], StreamInterrupted),
        ([CHUNKED, chunk(OUT)], StreamInterrupted),
        ([CHUNKED, chunk(b"junk\n")], InvalidResponse),
    ]
    async with AsyncClient(faulty.url, timeout=5) as client:
        for steps, kind in cases:
            faulty.steps = steps
            sandbox = AsyncSandbox(client._http, "sb-00000000")
            with pytest.raises(StacyVMError) as caught:
                _ = [chunk async for chunk in sandbox.exec_stream("x")]
            assert type(caught.value) is kind


async def test_the_asynchronous_client_translates_connection_errors_too() -> None:
    async with AsyncClient("http://127.0.0.1:1") as client:
        with pytest.raises(ConnectionError):
            await client.health()


def test_a_sandbox_that_cannot_be_destroyed_never_hides_what_happened(
    faulty: FaultyServer, caplog: pytest.LogCaptureFixture
) -> None:
    with Client(faulty.url) as client, pytest.raises(KeyError), sandbox_of(client):
        raise KeyError("the user's own")
    assert "sb-00000000 could not be destroyed" in caplog.text


def test_a_closed_client_says_so() -> None:
    client = Client()
    client.close()
    with pytest.raises(StacyVMError, match="closed"):
        client.health()


@pytest.mark.parametrize("url", ["localhost:7423", "ftp://x", "http://[::1", "unix:///x"])
def test_an_address_that_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(StacyVMError, match="base_url"):
        Client(url)


def test_a_key_is_never_shown() -> None:
    with pytest.raises(StacyVMError) as caught:
        Client(api_key="sec\nret")
    assert "sec" not in str(caught.value)
    with Client(api_key="secret") as client:
        assert "secret" not in repr(client)


def test_the_environment_says_where_the_server_is(
    faulty: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    faulty.steps = [answer(b'{"status":"ok"}')]
    monkeypatch.setenv("STACYVM_URL", faulty.url)
    monkeypatch.setenv("STACYVM_API_KEY", "from-env")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    with Client(user_id="me") as client:
        assert client.health() == {"status": "ok"}
    with Client(api_key="given") as client:
        client.health()
    first, second = (request.lower() for request in faulty.requests)
    assert b"x-api-key: from-env" in first
    assert b"x-user-id: me" in first
    assert b"x-api-key: given" in second


@pytest.mark.parametrize("bad", ["", ".", ".."])
def test_an_id_that_would_name_another_route_is_refused(bad: str) -> None:
    with Client("http://127.0.0.1:1") as client, pytest.raises(StacyVMError) as caught:
        client.get(bad)
    assert caught.value.code == "BAD_REQUEST"


def test_what_the_server_adds_later_does_not_break_the_client(faulty: FaultyServer) -> None:
    def answered(body: dict[str, Any]) -> Client:
        faulty.steps = [answer(json.dumps(body).encode())]
        return Client(faulty.url)

    with answered({"allowed": True, "queueable": False, "selected_worker_id": "local"}) as client:
        assert client.admission(image="x").allowed is True
    with answered({"total": 3, "new": 1}) as client:
        assert client.quota_summary().total == 3
