"""What bad input gets: a clear error in the envelope, with the right status."""

import asyncio
import io
import json
import re
from contextlib import suppress
from typing import Any

import pytest

from tests.api.conftest import ID, Api, Variant

pytestmark = pytest.mark.asyncio(loop_scope="session")

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def envelope(code: str, message: str) -> dict[str, str]:
    return {"code": code, "message": message, "request_id": ID}


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("path", ["/nope", "/templates", "/sandboxes/sb-00000000/nope", "//", "/"])
async def test_an_unknown_route_is_404(api: Api, method: str, path: str) -> None:
    expected = envelope("NOT_FOUND", f"no such route: /api/v1{path}")
    assert await api.call(method, path) == (404, expected)


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/sandboxes", "DELETE, GET, HEAD, POST"),
        ("POST", "/health", "GET, HEAD"),
        ("GET", "/providers/test", "GET, HEAD"),
        ("PATCH", "/sandboxes/sb-00000000/files", "DELETE, GET, HEAD, POST, PUT"),
        ("PROPFIND", "/sandboxes", "DELETE, GET, HEAD, POST"),
    ],
)
async def test_a_wrong_method_is_405_with_what_is_allowed(
    api: Api, method: str, path: str, allow: str
) -> None:
    if path == "/providers/test":  # a provider may have any name
        assert (await api.call(method, path))[0] == 404
        return
    async with api.http.request(method, f"{api.url}/api/v1{path}") as answer:
        assert answer.status == 405
        assert answer.headers["Allow"] == allow
        assert (await answer.json())["code"] == "METHOD_NOT_ALLOWED"


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize(
    ("path", "body"), [("/pool/status", {"enabled": False}), ("/snapshots", [])]
)
async def test_a_slash_at_the_end_changes_nothing(
    api: Api, path: str, slash: str, body: object
) -> None:
    assert await api.call("GET", path + slash) == (200, body)


@pytest.mark.parametrize(
    "body", [b"", b" ", b"{", b"[]", b'"x"', b"7", b'{"ttl":30}', b"\xff", b"[" * 100_000]
)
@pytest.mark.parametrize("path", ["", "/extend", "/exec", "/files", "/files/move", "/files/chmod"])
async def test_a_malformed_body_is_400(api: Api, shared: str, path: str, body: bytes) -> None:
    if b"ttl" in body and path not in {"", "/extend"}:
        body = b'{"command":1,"path":1,"old_path":1}'
    target = f"/sandboxes/{shared}{path}" if path else "/sandboxes"
    status, answer = await api.call("POST", target, data=body)
    details = answer.pop("details")
    assert (status, answer) == (400, envelope("BAD_REQUEST", "invalid request body"))
    assert details["problems"][0].keys() == {"field", "problem"}


SPAWNS: list[tuple[dict[str, Any], int, str, str]] = [
    ({"ttl": "0s"}, 400, "BAD_REQUEST", "ttl must be positive, got 0s"),
    ({"ttl": "-1s"}, 400, "BAD_REQUEST", "ttl must be positive, got -1s"),
    ({"ttl": "30"}, 400, "BAD_REQUEST", 'time: missing unit in duration "30"'),
    ({"ttl": "1d"}, 400, "BAD_REQUEST", 'time: unknown unit "d" in duration "1d"'),
    ({"ttl": "abc"}, 400, "BAD_REQUEST", 'time: invalid duration "abc"'),
    ({"ttl": "25h"}, 429, "RESOURCE_LIMIT", "above max_ttl"),
    ({"ttl": "9" * 5000}, 400, "BAD_REQUEST", "too long"),
    ({"provider": "e2b"}, 404, "NOT_FOUND", "provider not found: e2b"),
    ({"template": "nope"}, 404, "NOT_FOUND", 'not found: template "nope"'),
    ({"image": "Not An Image"}, 400, "BAD_REQUEST", "no image reference"),
    ({"image": "a" * 256}, 400, "BAD_REQUEST", "no image reference"),
    ({"memory_mb": -5}, 400, "BAD_REQUEST", "memory_mb must be at least"),
    ({"memory_mb": 10**9}, 429, "RESOURCE_LIMIT", "memory_mb 1000000000 is above"),
    ({"memory_mb": 512.0}, 400, "BAD_REQUEST", "invalid request body"),
    ({"memory_mb": "512"}, 400, "BAD_REQUEST", "invalid request body"),
    ({"memory_mb": True}, 400, "BAD_REQUEST", "invalid request body"),
    ({"vcpus": 1000}, 429, "RESOURCE_LIMIT", "vcpus 1000 is above"),
    ({"vcpus": -1}, 400, "BAD_REQUEST", "vcpus must be at least"),
    ({"disk_mb": -1}, 400, "BAD_REQUEST", "disk_mb must be at least"),
    ({"owner_id": "a/b"}, 400, "BAD_REQUEST", "owner id"),
    ({"owner_id": "x" * 129}, 400, "BAD_REQUEST", "owner id"),
    ({"network": "host"}, 400, "BAD_REQUEST", "invalid request body"),
    ({"runtime": "evil"}, 400, "BAD_REQUEST", 'runtime "evil" is not among'),
    ({"env": {"A=B": "c"}}, 400, "BAD_REQUEST", "env 'A=B'"),
    ({"env": {"A": "\0"}}, 400, "BAD_REQUEST", "NUL"),
    ({"metadata": {str(n): "" for n in range(65)}}, 400, "BAD_REQUEST", "65 entries, limit 64"),
    ({"metadata": {"a": "x" * 40_000}}, 400, "BAD_REQUEST", "40001 bytes, limit 32768"),
]


@pytest.mark.parametrize(("body", "status", "code", "text"), SPAWNS)
async def test_a_spawn_that_makes_no_sense_is_refused(
    api: Api, body: dict[str, Any], status: int, code: str, text: str
) -> None:
    got, answer = await api.call("POST", "/sandboxes", json=body)
    assert (got, answer["code"]) == (status, code)
    assert text in answer["message"]
    assert answer["request_id"] == ID


EXECS: list[tuple[dict[str, Any], int, str]] = [
    ({"command": "true", "timeout": "30"}, 400, "missing unit"),
    ({"command": "true", "timeout": "-1s"}, 400, "must not be negative"),
    ({"command": "true", "timeout": "11m"}, 429, "above max_exec_timeout 10m0s"),
    ({"command": "true", "mode": "tty"}, 400, 'unknown exec mode "tty"'),
    ({"command": "  ", "mode": "argv"}, 400, "argv exec mode requires command"),
    ({"command": "a\0b"}, 400, "NUL"),
    ({"command": "true", "args": ["\0"]}, 400, "NUL"),
    ({"command": "true", "workdir": "/a\0"}, 400, "NUL"),
    ({"command": "true", "workdir": "/no/such/folder"}, 400, "/no/such/folder"),
    ({"command": "true", "workdir": "/etc/passwd"}, 400, "/etc/passwd"),
    ({"command": "true", "env": {"": "x"}}, 400, "env"),
    ({"command": "x" * 200_000}, 400, "over 131071 bytes"),
    (
        {"command": "true", "args": ["é" * 60_000] * 3, "mode": "argv"},
        400,
        "over 786432 bytes together",
    ),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("body", "status", "text"), EXECS)
async def test_an_exec_that_makes_no_sense_is_refused_before_the_first_byte(
    api: Api, shared: str, body: dict[str, Any], status: int, text: str, stream: bool
) -> None:
    path = f"/sandboxes/{shared}/exec"
    data = io.BytesIO(json.dumps(body | {"stream": stream}).encode())
    got, answer = await api.call("POST", path, data=data)
    assert (got, answer["request_id"]) == (status, ID), answer
    assert text in answer["message"]


GONE = [
    ("GET", "", None),
    ("POST", "/extend", {"ttl": "1m"}),
    ("GET", "/logs", None),
    ("GET", "/stats", None),
    ("POST", "/exec", {"command": "true"}),
    ("POST", "/exec", {"command": "true", "stream": True}),
    ("POST", "/files", {"path": "a", "content": ""}),
    ("PUT", "/files?path=a", {}),
    ("GET", "/files?path=a", None),
    ("DELETE", "/files?path=a", None),
    ("GET", "/files/list", None),
    ("POST", "/files/move", {"old_path": "a", "new_path": "b"}),
    ("POST", "/files/chmod", {"path": "a", "mode": "644"}),
    ("GET", "/files/stat?path=a", None),
    ("GET", "/files/glob?pattern=*", None),
    ("GET", "/files/archive?path=a", None),
    ("POST", "/files/archive?path=a", {}),
]


@pytest.mark.parametrize("sandbox_id", ["sb-00000000", "nonsense", "%00", "sb-%FF"])
@pytest.mark.parametrize(("method", "path", "body"), GONE)
async def test_an_unknown_sandbox_is_404(
    api: Api, method: str, path: str, body: Any, sandbox_id: str
) -> None:
    status, answer = await api.call(method, f"/sandboxes/{sandbox_id}{path}", json=body)
    assert (status, answer["code"]) == (404, "NOT_FOUND")
    assert answer["message"].startswith("sandbox not found: ")


@pytest.mark.parametrize(("method", "path", "body"), GONE)
async def test_another_owners_sandbox_is_404(
    api: Api, shared: str, method: str, path: str, body: Any
) -> None:
    status, answer = await api.call(
        method, f"/sandboxes/{shared}{path}", json=body, headers={"X-User-ID": "mallory"}
    )
    expected = envelope("NOT_FOUND", f"sandbox not found: {shared}")
    assert (status, answer) == (404, expected | {"details": {"sandbox_id": shared}})


@pytest.mark.parametrize("owner", ["a/b", "a b", "x" * 129, "a\\b"])
async def test_a_bad_owner_header_is_400(api: Api, owner: str) -> None:
    status, answer = await api.call("GET", "/sandboxes", headers={"X-User-ID": owner})
    assert (status, answer["code"]) == (400, "BAD_REQUEST")


@pytest.mark.parametrize("query", ["path=%", "path=%zz", "path=a&x=%1", "&".join(["a=1"] * 65)])
async def test_a_broken_query_is_400(api: Api, shared: str, query: str) -> None:
    reader, writer = await api.raw(
        f"GET /api/v1/sandboxes/{shared}/files?{query} HTTP/1.1\r\nHost: localhost\r\n"
        "Connection: close\r\n\r\n".encode()
    )
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"message":"invalid query string' in answer


async def test_a_body_over_the_limit_is_413(api: Api, shared: str) -> None:
    limit = api.services.settings.max_body
    expected = envelope(
        "PAYLOAD_TOO_LARGE", f"request body is over the limit of {limit} bytes (STACYVM_MAX_BODY)"
    )
    content = json.dumps({"path": "big", "content": "x" * limit}).encode()

    async def chunks() -> Any:
        for start in range(0, len(content), 65536):
            yield content[start : start + 65536]

    for body in (io.BytesIO(content), chunks()):
        assert await api.call("POST", f"/sandboxes/{shared}/files", data=body) == (413, expected)
    for path in ("/sandboxes", f"/sandboxes/{shared}/exec"):
        junk = b'{"command":"true","a":"' + content
        assert await api.call("POST", path, data=io.BytesIO(junk)) == (413, expected)


@pytest.mark.parametrize(
    "sent",
    [
        b"garbage\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET /api/v1/health HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
        b"GET /api/v1/health HTTP/1.1\r\nHost: localhost\r\nbad header\r\n\r\n",
        b"GET /api/v1/health HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"GET /api/v1/health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"POST /api/v1/sandboxes HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_400_in_the_envelope(api: Api, sent: bytes) -> None:
    reader, writer = await api.raw(sent)
    answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b" 400 " in head.splitlines()[0], answer
    parsed = json.loads(body)
    assert parsed["code"] == "BAD_REQUEST"
    assert f"X-Request-ID: {parsed['request_id']}".encode() in head


@pytest.mark.parametrize("sent", ["", "x" * 129, "a b", "é", "a\tb"])
async def test_a_hostile_request_id_is_replaced(api: Api, sent: str) -> None:
    headers = {"X-Request-ID": sent}
    async with api.http.get(f"{api.url}/api/v1/nope", headers=headers) as answer:
        body = await answer.json()
        assert UUID.fullmatch(answer.headers["X-Request-ID"])
        assert body["request_id"] == answer.headers["X-Request-ID"]


async def test_a_caller_who_expects_a_refusal_never_sends_its_body(api: Api) -> None:
    reader, writer = await api.raw(
        b"PUT /api/v1/sandboxes/sb-00000000/files?path=a HTTP/1.1\r\nHost: localhost\r\n"
        b"Expect: 100-continue\r\nContent-Length: 5000000000\r\n\r\n"
    )
    first = await asyncio.wait_for(reader.readline(), 5)
    writer.close()
    assert first == b"HTTP/1.1 404 Not Found\r\n"


async def test_a_bug_is_500_without_its_insides(
    api: Api, variant: Variant, caplog: pytest.LogCaptureFixture
) -> None:
    async with variant() as broken:
        object.__setattr__(broken.services, "health", None)
        expected = envelope("INTERNAL_ERROR", "internal error")
        assert await broken.call("GET", "/health") == (500, expected)
    assert "AttributeError" in caplog.text
    assert ID in caplog.text


async def test_the_access_log_holds_no_query(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="stacyvm.access")
    await api.call("GET", "/nope%0Aforged?token=s3cret")
    (line,) = [record.getMessage() for record in caplog.records if record.name == "stacyvm.access"]
    assert line.startswith("GET /api/v1/nope%0Aforged 404 ")
    assert line.endswith(ID)


async def test_a_caller_who_drips_its_headers_is_let_go(
    variant: Variant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stacyvm.api.server.IDLE_TIMEOUT", 0.5)
    async with variant() as api:
        reader, writer = await api.raw(b"GET /api/v1/live HTTP/1.1\r\nHost:")
        began = asyncio.get_running_loop().time()
        async with asyncio.timeout(10):
            while not reader.at_eof() and not writer.is_closing():
                writer.write(b"x")
                with suppress(TimeoutError, ConnectionError):
                    async with asyncio.timeout(0.1):
                        await reader.read(100)
        assert asyncio.get_running_loop().time() - began < 3
        writer.close()


async def test_what_is_not_http_learns_nothing_of_the_software(api: Api) -> None:
    reader, writer = await api.raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    answer = await reader.read()
    writer.close()
    assert b"Server: stacyvm\r\n" in answer
    assert b"aiohttp" not in answer
