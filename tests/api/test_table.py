"""Every route there is, against everybody who may not use it. A new route is in by itself."""

import pytest
from pydantic import SecretStr

from stacyvm.api.app import PREFIX, ROUTES
from stacyvm.api.auth import OPEN_PATHS
from tests.api.conftest import Api, Variant

pytestmark = pytest.mark.asyncio(loop_scope="session")

CLOSED = [(method, path) for method, path, _ in ROUTES if path not in OPEN_PATHS]
OF_A_SANDBOX = [(method, path) for method, path in CLOSED if "{id}" in path]

BODIES = {
    "/exec": {"command": "touch stolen"},
    "/extend": {"ttl": "1h"},
    "/files": {"path": "stolen", "content": "x"},
    "/files/move": {"old_path": "mine", "new_path": "stolen"},
    "/files/chmod": {"path": "mine", "mode": "777"},
}
QUERY = "?path=mine&pattern=*&recursive=true"


def target(path: str, sandbox: str) -> tuple[str, object]:
    suffix = path.partition("{id}")[2]
    return path.removeprefix(PREFIX).replace("{id}", sandbox) + QUERY, BODIES.get(suffix)


@pytest.mark.parametrize(
    "headers",
    [{}, {"X-API-Key": ""}, {"X-API-Key": "Secret"}, {"Authorization": "Bearer secre"}],
    ids=["missing", "empty", "wrong", "short"],
)
@pytest.mark.parametrize(("method", "path"), CLOSED)
async def test_no_route_answers_without_the_key(
    variant: Variant, method: str, path: str, headers: dict[str, str], shared: str
) -> None:
    async with variant(api_key=SecretStr("secret")) as api:
        where, body = target(path.replace("{name}", "local"), shared)
        status, answer = await api.call(method, where, json=body, headers=headers)
        assert (status, answer["code"]) == (401, "UNAUTHORIZED")


@pytest.mark.parametrize("owner", ["bob", "ADA", "ada2", "ad%61"])
@pytest.mark.parametrize(("method", "path"), OF_A_SANDBOX)
async def test_no_route_leads_into_somebody_elses_sandbox(
    api: Api, adas: str, method: str, path: str, owner: str
) -> None:
    where, body = target(path, adas)
    status, answer = await api.call(method, where, json=body, headers={"X-User-ID": owner})
    assert (status, answer["code"]) == (404, "NOT_FOUND")
    assert answer["message"] == f"sandbox not found: {adas}", "as if there was none"


async def test_it_is_all_still_there_and_hers(api: Api, adas: str) -> None:
    result = await api.exec(adas, "ls; cat mine")
    assert result["stdout"] == "mine\nhers"
    status, listed = await api.call("GET", "/sandboxes", headers={"X-User-ID": "ada"})
    assert status == 200
    assert [one["id"] for one in listed] == [adas]


async def test_nobody_elses_listing_shows_it(api: Api, adas: str) -> None:
    status, listed = await api.call("GET", "/sandboxes", headers={"X-User-ID": "bob"})
    assert (status, listed) == (200, [])
