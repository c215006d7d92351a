import asyncio
import json
from dataclasses import replace
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import pytest

from stacyvm.services.health import Health
from stacyvm.services.spawning import SpawnRequest
from stacyvm.store.connect import connect
from stacyvm.store.sandboxes import SandboxStore
from tests.api.conftest import Api, Variant, eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_the_life_of_a_sandbox(api: Api) -> None:
    asked = {
        "image": "stacyvm/quickjs",
        "memory_mb": 256,
        "ttl": "10m",
        "owner_id": "nobody",
        "metadata": {"Job": "é <1>"},
        "env": {"SECRET": "never shown"},
    }
    async with api.http.post(
        f"{api.url}/api/v1/sandboxes", json=asked, headers={"X-User-ID": " alice "}
    ) as answer:
        assert answer.status == 201
        text = await answer.text()
    spawned = json.loads(text)
    lived = datetime.fromisoformat(spawned["expires_at"]) - datetime.fromisoformat(
        spawned["created_at"]
    )
    assert 600 <= lived.total_seconds() < 620
    assert text.endswith("}\n")
    assert '"metadata":{"Job":"é \\u003c1\\u003e"}' in text
    assert list(spawned.items()) == [
        ("id", spawned["id"]),
        ("state", "running"),
        ("provider", "local"),
        ("image", "stacyvm/quickjs"),
        ("memory_mb", 256),
        ("vcpus", 1),
        ("owner_id", "alice"),
        ("created_at", spawned["created_at"]),
        ("expires_at", spawned["expires_at"]),
        ("metadata", {"Job": "é <1>"}),
        ("preview_domain", "localhost"),
        ("network", "none"),
        ("workspace", "disk"),
    ]
    path = f"/sandboxes/{spawned['id']}"
    alice, mallory = {"X-User-ID": "alice"}, {"X-User-ID": "mallory"}
    assert await api.call("GET", path) == (200, spawned)
    assert await api.call("GET", path, headers=alice) == (200, spawned)
    assert await api.call("GET", "/sandboxes", headers=alice) == (200, [spawned])
    assert await api.call("GET", "/sandboxes", headers=mallory) == (200, [])
    assert (await api.call("DELETE", path, headers=mallory))[0] == 404
    assert (await api.exec(spawned["id"], "echo $SECRET"))["stdout"] == "never shown\n"

    status, extended = await api.call("POST", f"{path}/extend", json={"ttl": "1h"})
    assert status == 200
    assert extended | {"expires_at": ""} == spawned | {"expires_at": ""}
    assert extended["expires_at"] > spawned["expires_at"]

    assert await api.call("DELETE", path) == (200, {"status": "destroyed"})
    assert await api.call("DELETE", path) == (200, {"status": "destroyed"})
    status, gone = await api.call("GET", path)
    assert (status, gone["code"]) == (404, "NOT_FOUND")
    assert gone["message"].startswith(f"sandbox destroyed: {spawned['id']}")


async def test_destroying_what_never_was_is_success(api: Api) -> None:
    assert await api.call("DELETE", "/sandboxes/sb-00000000") == (200, {"status": "destroyed"})
    assert await api.call("DELETE", "/sandboxes/no-id") == (200, {"status": "destroyed"})


@pytest.mark.parametrize(
    ("ttl", "status", "message"),
    [
        ("", 400, "ttl is required"),
        ("soon", 400, 'invalid ttl format: time: invalid duration "soon"'),
        ("30", 400, 'invalid ttl format: time: missing unit in duration "30"'),
        ("0s", 400, "ttl must be positive, got 0s"),
        ("-1s", 400, "ttl must be positive, got -1s"),
        ("25h", 429, "resource limit exceeded: ttl 90000s is above max_ttl 86400s"),
    ],
)
async def test_an_impossible_extension_is_refused(
    api: Api, shared: str, ttl: str, status: int, message: str
) -> None:
    got, answer = await api.call("POST", f"/sandboxes/{shared}/extend", json={"ttl": ttl})
    assert (got, answer["message"]) == (status, message)


async def test_expired_sandboxes_are_pruned(api: Api) -> None:
    sandbox = await api.spawn(ttl="50ms")
    await asyncio.sleep(0.06)
    status, answer = await api.call("DELETE", "/sandboxes")
    assert status == 200
    assert answer["pruned"] in (0, 1)  # the reaper may have been faster
    status, gone = await api.call("GET", f"/sandboxes/{sandbox}")
    assert (status, gone["message"]) == (404, f"sandbox destroyed: {sandbox} (expired)")


async def test_a_body_of_null_spawns_with_the_defaults(api: Api) -> None:
    status, spawned = await api.call("POST", "/sandboxes", data=b"null")
    assert (status, spawned["memory_mb"], spawned["vcpus"]) == (201, 1024, 1)
    await api.call("DELETE", f"/sandboxes/{spawned['id']}")


async def test_junk_behind_the_body_and_any_content_type_are_ignored(api: Api) -> None:
    headers = {"Content-Type": "text/plain"}
    status, spawned = await api.call(
        "POST", "/sandboxes", data=b' {"VCPUS":2,"vcpus":3,"nope":[]} }{ junk', headers=headers
    )
    assert (status, spawned["vcpus"]) == (201, 3)
    await api.call("DELETE", f"/sandboxes/{spawned['id']}")


@pytest.mark.parametrize("lines", ["", "?lines=2", "?lines=x", "?lines=-1", "?lines=99999999999"])
async def test_logs_are_the_last_lines_printed(api: Api, sandbox: str, lines: str) -> None:
    await api.exec(sandbox, "echo one; echo two; echo three")
    status, answer = await api.call("GET", f"/sandboxes/{sandbox}/logs{lines}")
    expected = ["one", "two", "three"]
    assert (status, answer) == (200, expected[-2:] if lines == "?lines=2" else expected)


async def test_stats_are_numbers_or_said_to_be_missing(api: Api, shared: str) -> None:
    status, answer = await api.call("GET", f"/sandboxes/{shared}/stats")
    assert status == 200
    if answer == {"supported": False}:
        return
    assert set(answer) == {"supported", "cpu_pct", "mem_bytes", "mem_limit_bytes"}
    assert answer["mem_bytes"] > 0


async def test_health_says_how_long_and_what(api: Api) -> None:
    for path, status in (("/health", "ok"), ("/live", "alive")):
        code, body = await api.call("GET", path)
        assert code == 200
        assert list(body) == ["status", "uptime", "version"]
        assert (body["status"], body["version"]) == (status, version("stacyvm"))
        assert body["uptime"].endswith("s")


async def test_ready_and_providers_tell_the_same(api: Api, shared: str) -> None:
    code, body = await api.call("GET", "/ready")
    assert code == 200
    assert list(body) == sorted(body)
    assert (body["status"], body["ready_providers"], body["total_providers"]) == ("ready", 1, 1)
    code, (item,) = await api.call("GET", "/providers")
    assert code == 200
    assert (item["name"], item["healthy"], item["default"]) == ("local", True, True)
    assert isinstance(item["latency_ms"], int)
    assert "error" not in item
    code, one = await api.call("GET", "/providers/local")
    assert code == 200
    assert list(one) == ["name", "healthy", "default", "sandbox_count", "health", "config"]
    assert one["sandbox_count"] >= 1
    assert await api.call("POST", "/providers/test") == (200, {"local": True})
    code, answer = await api.call("GET", "/providers/docker")
    assert (code, answer["message"]) == (404, "provider not found: docker (known: local)")


async def test_not_ready_is_503_and_says_why(variant: Variant, tmp_path: Path) -> None:
    async with variant() as api:
        redis = connect(f"unix://{tmp_path}/no-redis-here.sock")
        nowhere = SandboxStore(redis, instance="x", retention=1)
        health = Health(providers=api.services.providers, store=nowhere)
        object.__setattr__(api.services, "health", health)
        code, body = await api.call("GET", "/ready")
        assert (code, body["status"], body["ready_providers"]) == (503, "not_ready", 1)
        assert body["redis"]["healthy"] is False
        assert body["redis"]["error"]
        await redis.aclose()


async def test_a_caller_who_leaves_a_spawn_leaves_no_sandbox(api: Api) -> None:
    before = await api.services.sandboxes.list()
    body = json.dumps({"owner_id": "leaver"}).encode()
    for delay in (0.001, 0.01, 0.02):
        _, writer = await api.raw(
            b"POST /api/v1/sandboxes HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
        )
        await asyncio.sleep(delay)
        writer.transport.abort()
    sandboxes = api.services.sandboxes
    provider = sandboxes.providers["local"]

    async def undone() -> bool:
        return not sandboxes.fleet.spawning and await sandboxes.list() == before

    async def removed() -> bool:
        known = {record.id for record in await sandboxes.list()}
        return {found.id for found in await provider.list()} <= known

    await eventually(undone)
    await eventually(removed)


async def test_admission_says_what_a_spawn_would_hear_and_makes_nothing(api: Api) -> None:
    before = (await api.call("GET", "/sandboxes"))[1]
    asked = {"image": "stacyvm/quickjs", "ttl": "10m"}
    status, answer = await api.call("POST", "/sandboxes/admission", json=asked)
    assert (status, answer) == (
        200,
        {
            "allowed": True,
            "queueable": False,
            "active_sandboxes": len(before),
            "max_sandboxes": 0,
            "max_ttl": "24h0m0s",
        },
    )
    status, answer = await api.call(
        "POST", "/sandboxes/admission", json={**asked, "ttl": "48h"}, headers={"X-User-ID": "eve"}
    )
    assert (status, answer["allowed"], answer["reason"]) == (200, False, "max_ttl")
    assert (answer["active_owner_sandboxes"], answer["max_owner_sandboxes"]) == (0, 0)
    assert (await api.call("GET", "/sandboxes"))[1] == before


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"ttl": "0s"}, 400),
        ({"ttl": "-1h"}, 400),
        ({"ttl": "1d"}, 400),
        ({"image": "No Such"}, 400),
        ({"runtime": "moon"}, 400),
        ({"provider": "moon"}, 404),
        ({"template": "moon"}, 404),
        ({"memory_mb": 2**30}, 429),
    ],
)
async def test_admission_refuses_as_a_spawn_does(
    api: Api, body: dict[str, object], status: int
) -> None:
    asked = await api.call("POST", "/sandboxes/admission", json=body)
    spawned = await api.call("POST", "/sandboxes", json=body)
    assert (asked[0], spawned[0]) == (status, status)
    assert (asked[1]["code"], asked[1]["message"]) == (spawned[1]["code"], spawned[1]["message"])


async def test_admission_counts_what_lives(api: Api) -> None:
    settings = api.services.settings.model_copy(update={"max_sandboxes_per_owner": 1})
    sandboxes = replace(api.services.sandboxes, settings=settings)
    wanted = SpawnRequest(owner_id="frugal")
    assert (await sandboxes.admission(wanted)).allowed
    sandbox = await api.spawn(owner_id="frugal")
    found = await sandboxes.admission(wanted)
    assert (found.reason, found.active_owner) == ("max_sandboxes_per_owner", 1)
    assert (await sandboxes.admission(replace(wanted, owner_id="other"))).allowed
    await api.call("DELETE", f"/sandboxes/{sandbox}")
    assert (await sandboxes.admission(wanted)).allowed
