import asyncio
import hashlib
import io
import json
import tarfile
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.api.conftest import Api, Variant, eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")


def files(sandbox: str, rest: str = "") -> str:
    return f"/sandboxes/{sandbox}/files{rest}"


async def workspace(api: Api, sandbox: str) -> str:
    return str((await api.exec(sandbox, "pwd"))["stdout"].strip())


async def test_text_goes_in_and_out_as_json(api: Api, sandbox: str) -> None:
    body = {"path": "a/b/é 1.txt", "content": "hello\u2028", "mode": "0755"}
    status, written = await api.call("POST", files(sandbox), json=body)
    content = b"hello\xe2\x80\xa8"
    assert (status, written) == (
        200,
        {"status": "written", "size": 8, "sha256": hashlib.sha256(content).hexdigest()},
    )
    home = await workspace(api, sandbox)
    query = {"path": "a/b/é 1.txt"}
    status, info = await api.call("GET", files(sandbox, "/stat"), params=query)
    assert (status, info) == (
        200,
        {
            "path": f"{home}/a/b/é 1.txt",
            "name": "é 1.txt",
            "size": 8,
            "mode": "755",
            "is_dir": False,
            "mod_time": info["mod_time"],
        },
    )
    async with api.http.get(f"{api.url}/api/v1{files(sandbox)}", params=query) as answer:
        assert (answer.status, await answer.read()) == (200, content)
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers["Content-Length"] == "8"
        assert answer.headers["Accept-Ranges"] == "bytes"
    async with api.http.head(f"{api.url}/api/v1{files(sandbox)}", params=query) as answer:
        assert (answer.status, answer.headers["Content-Length"]) == (200, "8")


async def test_everything_else_about_files(api: Api, sandbox: str) -> None:
    home = await workspace(api, sandbox)
    for name in ("b.txt", "a.txt", "sub/.hidden.txt"):
        await api.call("POST", files(sandbox), json={"path": name, "content": name})
    status, listed = await api.call("GET", files(sandbox, "/list"), params={"path": home})
    assert status == 200
    assert [(item["name"], item["is_dir"]) for item in listed] == [
        ("a.txt", False), ("b.txt", False), ("sub", True)
    ]  # fmt: skip
    found = await api.call("GET", files(sandbox, "/glob?pattern=**/*.txt"))
    assert found == (200, [f"{home}/{n}" for n in ("a.txt", "b.txt", "sub/.hidden.txt")])
    assert await api.call("GET", files(sandbox, "/glob?pattern=*.none")) == (200, [])
    assert await api.call(
        "POST", files(sandbox, "/move"), json={"old_path": "a.txt", "new_path": "new/c.txt"}
    ) == (200, {"status": "moved"})
    assert await api.call(
        "POST", files(sandbox, "/chmod"), json={"path": "new/c.txt", "mode": "600"}
    ) == (200, {"status": "chmod applied"})
    _, info = await api.call("GET", files(sandbox, "/stat?path=new/c.txt"))
    assert info["mode"] == "600"
    assert (await api.call("DELETE", files(sandbox, "?path=sub")))[0] == 400
    assert (await api.call("DELETE", files(sandbox, "?path=sub&recursive=1")))[0] == 400
    for path in ("sub&recursive=true", "new/c.txt", "never-there"):
        deleted = await api.call("DELETE", files(sandbox, f"?path={path}"))
        assert deleted == (200, {"status": "deleted"})
    _, listed = await api.call("GET", files(sandbox, "/list"), params={"path": home})
    assert [item["name"] for item in listed] == ["b.txt", "new"]


async def test_the_root_is_listed_when_nothing_is_named(api: Api, shared: str) -> None:
    status, listed = await api.call("GET", files(shared, "/list"))
    assert status == 200
    assert {"bin", "etc", "usr"} <= {item["name"] for item in listed}


@pytest.mark.parametrize(
    ("wanted", "status", "content", "content_range"),
    [
        ("bytes=0-", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
        ("bytes=9-9", 206, b"9", "bytes 9-9/10"),
        ("bytes=5-999", 206, b"56789", "bytes 5-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=-99", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=10-", 416, b"", "bytes */10"),
        ("bytes=-0", 416, b"", "bytes */10"),
        ("bytes=999999999999999-", 416, b"", "bytes */10"),
        ("bytes=-999999999999999", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=9999999999999999999-", 200, b"0123456789", None),
        ("bytes=4-2", 200, b"0123456789", None),
        ("bytes=-", 200, b"0123456789", None),
        ("bytes=0-1,4-5", 200, b"0123456789", None),
        ("lines=0-1", 200, b"0123456789", None),
        ("bytes=a-b", 200, b"0123456789", None),
    ],
)
async def test_ranges(
    api: Api, shared: str, wanted: str, status: int, content: bytes, content_range: str | None
) -> None:
    url = f"{api.url}/api/v1{files(shared)}?path=digits"
    async with api.http.put(url, data=b"0123456789") as answer:
        assert answer.status == 200
    async with api.http.get(url, headers={"Range": wanted}) as answer:
        assert (answer.status, answer.headers.get("Content-Range")) == (status, content_range)
        body = await answer.read()
        if status == 416:
            assert json.loads(body)["code"] == "BAD_REQUEST"
        else:
            assert body == content
    async with api.http.get(url, headers={"Range": wanted, "If-Range": '"x"'}) as answer:
        assert (answer.status, await answer.read()) == (200, b"0123456789")


async def test_an_empty_file_has_no_ranges(api: Api, shared: str) -> None:
    url = f"{api.url}/api/v1{files(shared)}?path=empty"
    async with api.http.put(url, data=b"") as answer:
        assert answer.status == 200
    async with api.http.get(url, headers={"Range": "bytes=0-"}) as answer:
        assert (answer.status, await answer.read()) == (200, b"")


BAD_PATHS: list[tuple[str, int, str]] = [
    ("", 400, "path"),
    ("../etc/passwd", 400, '".."'),
    ("/workspace/../etc/passwd", 400, '".."'),
    ("a%00b", 400, "NUL"),
    ("x" * 5000, 400, "5000 bytes, limit 4096"),
    ("x" * 300, 400, ""),
    ("loop", 400, ""),
    ("loop/x", 400, ""),
    ("file/x", 400, ""),
]


@pytest.mark.parametrize(("path", "status", "text"), BAD_PATHS)
@pytest.mark.parametrize(
    ("method", "rest"),
    [("GET", "?path="), ("PUT", "?path="), ("GET", "/stat?path="), ("GET", "/archive?path="),
     ("DELETE", "?path="), ("POST", "/archive?path="), ("GET", "/list?path=")],
)  # fmt: skip
async def test_bad_paths(
    api: Api, shared: str, method: str, rest: str, path: str, status: int, text: str
) -> None:
    await api.exec(shared, "touch file; ln -sfn loop loop")
    if (path, rest) == ("", "/list?path="):
        return
    if path == "loop" and (method in {"PUT", "DELETE"} or rest.startswith("/stat")):
        return  # it is the link itself that is replaced, deleted or described
    if method == "DELETE" and path in {"loop/x", "file/x", "x" * 300}:
        got, _ = await api.call(method, files(shared, rest + path))
        assert got in {200, 400}  # what cannot exist is missing
        return
    got, answer = await api.call(method, files(shared, rest + path), data=b"")
    in_the_way = rest != "?path=" or method == "PUT"
    assert (got, answer["code"]) in {
        (status, "BAD_REQUEST"),
        *([(409, "CONFLICT")] if in_the_way and method in {"PUT", "POST"} else []),
    }, answer
    assert text in answer["message"]


@pytest.mark.parametrize(
    ("method", "rest", "status"),
    [
        ("GET", "?path=folder", 400),
        ("PUT", "?path=folder", 400),
        ("GET", "/list?path=plain", 400),
        ("GET", "?path=missing", 404),
        ("GET", "/stat?path=missing", 404),
        ("GET", "/archive?path=missing", 404),
        ("GET", "/list?path=missing", 404),
        ("DELETE", "?path=folder", 400),
        ("PUT", "?path=x&mode=999", 400),
        ("PUT", "?path=x&mode=rw", 400),
        ("GET", "/glob", 400),
        ("GET", "/glob?pattern=../*", 400),
        ("GET", "?path=/dev/zero", 400),
    ],
)
async def test_the_wrong_kind_of_file(
    api: Api, shared: str, method: str, rest: str, status: int
) -> None:
    await api.exec(shared, "mkdir -p folder/in; touch plain")
    got, answer = await api.call(
        method, files(shared, rest), data=b"x" if method == "PUT" else None
    )
    assert got == status, answer


@pytest.mark.parametrize(
    ("route", "body", "status"),
    [
        ("", {"path": "", "content": "x"}, 400),
        ("", {"content": "x"}, 400),
        ("", {"path": "x", "content": "x", "mode": "9"}, 400),
        ("", {"path": "x", "content": 1}, 400),
        ("", {"path": "\ud800", "content": ""}, 400),
        ("/move", {"old_path": "missing", "new_path": "x"}, 404),
        ("/move", {"old_path": "../x", "new_path": "x"}, 400),
        ("/move", {}, 400),
        ("/chmod", {"path": "missing", "mode": "644"}, 404),
        ("/chmod", {"path": "x", "mode": ""}, 400),
        ("/chmod", {"path": "x", "mode": "0o644"}, 400),
    ],
)
async def test_bad_bodies_about_files(
    api: Api, shared: str, route: str, body: dict[str, Any], status: int
) -> None:
    got, answer = await api.call("POST", files(shared, route), json=body)
    assert got == status, answer


async def test_names_that_are_not_utf8_can_be_used(api: Api, sandbox: str) -> None:
    from yarl import URL

    home = await workspace(api, sandbox)
    url = URL(f"{api.url}/api/v1{files(sandbox)}?path=a%FFb", encoded=True)
    async with api.http.put(url, data=b"odd") as answer:
        assert answer.status == 200
    async with api.http.get(url) as answer:
        assert await answer.read() == b"odd"
    _, (item,) = await api.call("GET", files(sandbox, "/list"), params={"path": home})
    assert (item["name"], item["path"]) == ("a\ufffdb", f"{home}/a\ufffdb")
    assert item["raw_path"].endswith("/a%FFb")
    moved = {"old_path": "a\udcffb", "new_path": "plain"}
    assert (await api.call("POST", files(sandbox, "/move"), json=moved))[0] == 200
    _, (item,) = await api.call("GET", files(sandbox, "/list"), params={"path": home})
    assert item["name"] == "plain"


async def blocks(count: int, size: int = 262144) -> AsyncIterator[bytes]:
    for number in range(count):
        yield bytes([number % 251]) * size


async def test_a_large_file_goes_both_ways_in_pieces(api: Api, sandbox: str) -> None:
    url = f"{api.url}/api/v1{files(sandbox)}?path=big&mode=600"
    expected = hashlib.sha256()
    async for block in blocks(200):
        expected.update(block)
    async with api.http.put(url, data=blocks(200)) as answer:
        written = await answer.json()
    assert written == {
        "status": "written", "size": 200 * 262144, "sha256": expected.hexdigest()
    }  # fmt: skip
    got = hashlib.sha256()
    async with api.http.get(url) as answer:
        async for piece in answer.content.iter_any():
            got.update(piece)
    assert got.hexdigest() == expected.hexdigest()


async def test_a_folder_goes_in_and_out_as_a_tar(api: Api, sandbox: str) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in (("d/a.txt", b"one"), ("b.bin", b"\0" * 70_000)):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    done = await api.call("POST", files(sandbox, "/archive?path=into/here"), data=packed.getvalue())
    assert done == (200, {"status": "unpacked"})
    url = f"{api.url}/api/v1{files(sandbox)}/archive?path=into"
    async with api.http.get(url) as answer:
        assert (answer.status, answer.headers["Content-Type"]) == (200, "application/x-tar")
        with tarfile.open(fileobj=io.BytesIO(await answer.read())) as tar:
            names = [member.name for member in tar.getmembers() if member.isfile()]
    assert [name.rpartition("here/")[2] for name in sorted(names)] == ["b.bin", "d/a.txt"]


@pytest.mark.parametrize("content", [b"no tar at all" * 100, b""])
async def test_what_is_no_tar_is_refused(api: Api, sandbox: str, content: bytes) -> None:
    status, answer = await api.call("POST", files(sandbox, "/archive?path=into"), data=content)
    assert (status, answer["code"]) == (400, "BAD_REQUEST") or not content


@pytest.mark.parametrize("chunked", [False, True])
async def test_an_upload_over_the_limit_is_413(
    variant: Variant, sandbox: str, chunked: bool
) -> None:
    async with variant(max_upload=100_000) as api:
        data: Any = blocks(4) if chunked else b"x" * 200_000
        status, answer = await api.call("PUT", files(sandbox, "?path=big"), data=data)
        assert (status, answer["code"]) == (413, "PAYLOAD_TOO_LARGE")
        assert (await api.exec(sandbox, "ls -A"))["stdout"] == ""


async def test_a_caller_who_leaves_an_upload_leaves_no_file(api: Api, sandbox: str) -> None:
    head = f"PUT /api/v1{files(sandbox)}?path=half HTTP/1.1\r\nHost: localhost\r\n"
    for framing in ("Content-Length: 50000000", "Transfer-Encoding: chunked"):
        _, writer = await api.raw(f"{head}{framing}\r\n\r\n40000\r\n".encode() + b"x" * 0x40000)

        async def begun() -> bool:
            return bool((await api.exec(sandbox, "ls -A"))["stdout"])

        async def nothing() -> bool:
            return not await begun()

        await eventually(begun)
        writer.transport.abort()
        await eventually(nothing)


@pytest.mark.parametrize("route", ["?path=big", "/archive?path=big"])
async def test_a_caller_who_leaves_a_download_leaves_nothing_running(
    api: Api, sandbox: str, route: str
) -> None:
    await api.exec(sandbox, "head -c 50000000 /dev/zero > big")
    reader, writer = await api.raw(
        f"GET /api/v1{files(sandbox)}{route} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    )
    assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
    writer.transport.abort()
    # That the request's task ends is what the guard of every test checks.


async def test_broken_chunks_are_400_and_leave_no_file(api: Api, sandbox: str) -> None:
    reader, writer = await api.raw(
        f"PUT /api/v1{files(sandbox)}?path=half HTTP/1.1\r\nHost: localhost\r\n"
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nZZ\r\n".encode()
    )
    answer = await asyncio.wait_for(reader.read(), 15)
    writer.close()
    assert b" 400 " in answer.splitlines()[0]
    assert b'"code":"BAD_REQUEST"' in answer
    assert (await api.exec(sandbox, "ls -A"))["stdout"] == ""


async def test_2_gb_into_64_mb_is_refused_early(api: Api) -> None:
    sandbox = await api.spawn(disk_mb=64, workspace="memory")
    try:
        for framing in (f"Content-Length: {2 * 2**30}", "Transfer-Encoding: chunked"):
            reader, writer = await api.raw(
                f"PUT /api/v1{files(sandbox)}?path=big HTTP/1.1\r\nHost: localhost\r\n"
                f"{framing}\r\n\r\n".encode()
            )
            piece = b"x" * 2**20
            if "chunked" in framing:
                piece = b"100000\r\n" + piece + b"\r\n"
            sent = 0
            while not reader.at_eof() and sent < 300 and not reader._buffer:  # type: ignore[attr-defined]
                writer.write(piece)
                await writer.drain()
                sent += 1
            answer = await reader.readuntil(b"}\n")
            writer.transport.abort()
            assert answer.startswith(b"HTTP/1.1 507 "), answer
            assert b'"code":"RESOURCE_LIMIT"' in answer
            assert sent < 300
        home = await api.exec(sandbox, "ls -A")
        assert home["stdout"] == ""
    finally:
        await api.call("DELETE", f"/sandboxes/{sandbox}")


async def test_a_file_that_shrinks_while_it_is_read_cuts_the_connection(
    api: Api, sandbox: str
) -> None:
    import aiohttp

    await api.exec(sandbox, "head -c 60000000 /dev/zero > shrinking")
    url = f"{api.url}/api/v1{files(sandbox)}?path=shrinking"
    async with api.http.get(url) as answer:
        assert answer.headers["Content-Length"] == "60000000"
        await answer.content.readexactly(1000)
        await api.exec(sandbox, ": > shrinking")
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()


async def test_a_refused_write_names_the_path_and_no_temporary_one(api: Api, sandbox: str) -> None:
    await api.exec(sandbox, "mkdir shut folder && chmod 500 shut")
    home = await workspace(api, sandbox)
    for path, status in (("shut/new", 403), ("folder", 400)):
        body = {"path": f"{home}/{path}", "content": "x"}
        answer = await api.call("POST", files(sandbox), json=body)
        assert (answer[0], ".stacyvm-" in answer[1]["message"]) == (status, False), answer
        assert answer[1]["message"].startswith(f"{home}/{path}: "), answer
