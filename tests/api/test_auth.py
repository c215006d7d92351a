from pathlib import Path

import pytest
from pydantic import SecretStr

from stacyvm.api.auth import check_exposure
from stacyvm.domain.errors import InvalidRequestError
from tests.api.conftest import ID, Api, Variant, settings_for

pytestmark = pytest.mark.asyncio(loop_scope="session")

EVERYWHERE = "0.0.0.0"  # noqa: S104 - never bound to
KEY = "s3cret-k€y"
KEYED = {"api_key": SecretStr(KEY)}
REFUSED = {"code": "UNAUTHORIZED", "message": "invalid or missing API key", "request_id": ID}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-API-Key": ""},
        {"X-API-Key": "wrong"},
        {"X-API-Key": KEY + "x"},
        {"Authorization": "Bearer wrong"},
        {"Authorization": KEY},
        {"Authorization": "Basic " + "eDp5"},
        {"X-User-ID": "admin"},
    ],
)
@pytest.mark.parametrize("path", ["/sandboxes", "/providers", "/no/such/route", "/pool/status"])
async def test_without_the_right_key_nothing_is_answered(
    variant: Variant, path: str, headers: dict[str, str]
) -> None:
    async with variant(**KEYED) as api:
        assert await api.call("GET", path, headers=headers) == (401, REFUSED)


@pytest.mark.parametrize(
    "headers",
    [
        {"X-API-Key": KEY},
        {"X-Admin-API-Key": KEY},
        {"Authorization": f"Bearer {KEY}"},
        {"authorization": f"bearer  {KEY}"},
        {"X-Admin-API-Key": "wrong", "X-API-Key": KEY},
        {"X-API-Key": KEY, "Host": "any.name.example"},
    ],
)
async def test_the_key_opens_in_each_of_its_headers(
    variant: Variant, headers: dict[str, str]
) -> None:
    async with variant(**KEYED) as api:
        assert await api.call("GET", "/pool/status", headers=headers) == (200, {"enabled": False})


@pytest.mark.parametrize("path", ["/health", "/live", "/ready", "/ready/"])
async def test_probes_need_no_key_and_learn_nothing(variant: Variant, path: str) -> None:
    async with variant(**KEYED) as api:
        status, body = await api.call("GET", path)
        assert status == 200
        assert set(body) == {"status", "uptime", "version"}
        _, told = await api.call("GET", "/ready", headers={"X-API-Key": KEY})
        assert told["total_providers"] == 1


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("localhost:7423", 200),
        ("LOCALHOST.", 200),
        ("[::1]:7423", 200),
        ("3000-sb-1.localhost", 200),
        ("box.example:7423", 200),
        ("evil.example", 403),
        ("box.example.evil.example", 403),
        ("localhost.evil.example", 403),
        ("10.0.0.1", 403),
        ("[::1", 403),
        ("box.example@evil.example", 403),
    ],
)
async def test_an_open_server_answers_only_to_its_own_names(
    variant: Variant, host: str, status: int
) -> None:
    async with variant(allowed_hosts=["box.example"]) as api:
        got, body = await api.call("GET", "/pool/status", headers={"Host": host})
        assert got == status
        assert status == 200 or body["code"] == "FORBIDDEN"


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://app.example", 200),
        ("http://evil.example", 403),
        ("null", 403),
        ("https://app.example.evil.example", 403),
        ("http://app.example", 403),
        ("http://127.0.0.1:1", 403),
        ("file://", 403),
        ("http://[", 403),
    ],
)
async def test_foreign_pages_are_refused(variant: Variant, origin: str, status: int) -> None:
    async with variant(cors_origins=["https://app.example"]) as api:
        got, _ = await api.call("DELETE", "/sandboxes", headers={"Origin": origin})
        assert got == status


async def test_pages_of_the_server_itself_are_allowed(api: Api) -> None:
    status, _ = await api.call("GET", "/pool/status", headers={"Origin": api.url})
    assert status == 200


async def test_a_preflight_needs_no_key_and_lists_what_is_allowed(variant: Variant) -> None:
    async with variant(cors_origins=["https://app.example"], **KEYED) as api:
        asked = {
            "Origin": "https://app.example",
            "Access-Control-Request-Method": "PUT",
            "Access-Control-Request-Headers": "x-api-key",
        }
        async with api.http.options(f"{api.url}/api/v1/sandboxes", headers=asked) as answer:
            assert answer.status == 200
            assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example"
            assert {"PUT", "PATCH", "DELETE"} <= set(
                answer.headers["Access-Control-Allow-Methods"].split(", ")
            )
            assert "X-API-Key" in answer.headers["Access-Control-Allow-Headers"]
            assert answer.headers["Vary"] == "Origin"
        asked["Origin"] = "https://evil.example"
        async with api.http.options(f"{api.url}/api/v1/sandboxes", headers=asked) as answer:
            assert answer.status == 403
            assert "Access-Control-Allow-Origin" not in answer.headers


async def test_an_allowed_origin_may_read_errors_too(variant: Variant) -> None:
    async with variant(cors_origins=["*"]) as api:
        headers = {"Origin": "https://any.example"}
        async with api.http.get(f"{api.url}/api/v1/nope", headers=headers) as answer:
            assert answer.status == 404
            assert answer.headers["Access-Control-Allow-Origin"] == "https://any.example"
            assert answer.headers["Vary"] == "Origin"


@pytest.mark.parametrize(
    "changes",
    [
        {"host": "127.0.0.1"},
        {"host": "::1"},
        {"host": "localhost"},
        {"host": EVERYWHERE, "api_key": "k"},
        {"host": EVERYWHERE, "insecure": True},
    ],
)
async def test_safe_exposures_are_accepted(changes: dict[str, object], tmp_path: Path) -> None:
    check_exposure(settings_for(tmp_path).model_copy(update=_secret(changes)))


@pytest.mark.parametrize("host", [EVERYWHERE, "::", "", "192.168.1.4", "box.example"])
@pytest.mark.parametrize("key", [None, ""])
async def test_a_network_without_a_key_is_refused(
    host: str, key: str | None, tmp_path: Path
) -> None:
    changes = _secret({"host": host, "api_key": key})
    with pytest.raises(InvalidRequestError, match="STACYVM_API_KEY"):
        check_exposure(settings_for(tmp_path).model_copy(update=changes))


def _secret(changes: dict[str, object]) -> dict[str, object]:
    key = changes.get("api_key")
    return changes | {"api_key": SecretStr(key) if isinstance(key, str) else None}
