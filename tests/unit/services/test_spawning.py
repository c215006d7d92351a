from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stacyvm.domain.errors import (
    InvalidRequestError,
    LimitExceededError,
    StacyError,
    TemplateNotFoundError,
)
from stacyvm.domain.sandbox import SandboxState
from stacyvm.services.spawning import HELLO_TIMEOUT, SpawnRequest, plan
from tests.conftest import MakeSettings

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_what_is_not_asked_for_is_the_servers_default(make_settings: MakeSettings) -> None:
    settings = make_settings(default_image="some/image", default_ttl=60, default_memory_mb=64)
    sandbox, spec = plan(SpawnRequest(), settings, provider="local", now=NOON)
    assert (sandbox.image, sandbox.memory_mb, sandbox.vcpus) == ("some/image", 64, 1)
    assert (sandbox.state, sandbox.network) == (SandboxState.CREATING, "none")
    assert (spec.id, spec.image, spec.ttl) == (sandbox.id, "some/image", 60)
    assert (spec.pids, spec.disk_mb) == (settings.default_pids, settings.default_disk_mb)


def test_a_stuck_creation_has_an_end(make_settings: MakeSettings) -> None:
    settings = make_settings(pull_timeout=100)
    sandbox, _ = plan(SpawnRequest(ttl=60), settings, provider="local", now=NOON)
    assert sandbox.expires_at == NOON + timedelta(seconds=60 + 100 + HELLO_TIMEOUT)


def test_secrets_are_in_no_record_and_no_representation(make_settings: MakeSettings) -> None:
    request = SpawnRequest(env={"TOKEN": "hush"})
    sandbox, spec = plan(request, make_settings(), provider="local", now=NOON)
    assert spec.env == {"TOKEN": "hush"}
    assert "hush" not in repr((request, sandbox, spec))


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        ({"ttl": 0}, InvalidRequestError, "ttl must be positive"),
        ({"ttl": -1}, InvalidRequestError, "ttl must be positive"),
        ({"ttl": 86401}, LimitExceededError, "max_ttl"),
        ({"memory_mb": 15}, InvalidRequestError, "memory_mb must be at least 16"),
        ({"memory_mb": -1}, InvalidRequestError, "memory_mb"),
        ({"memory_mb": 65537}, LimitExceededError, "maximum 65536"),
        ({"vcpus": -1}, InvalidRequestError, "vcpus"),
        ({"vcpus": 65}, LimitExceededError, "maximum 64"),
        ({"disk_mb": -1}, InvalidRequestError, "disk_mb"),
        ({"disk_mb": 102401}, LimitExceededError, "disk_mb"),
        ({"runtime": "kata"}, InvalidRequestError, "STACYVM_RUNTIMES"),
        ({"owner_id": "a/b"}, InvalidRequestError, "owner id"),
        ({"template": "web"}, TemplateNotFoundError, 'template "web"'),
    ],
)
def test_what_cannot_be_granted_is_refused(
    make_settings: MakeSettings, asked: dict[str, Any], error: type[StacyError], message: str
) -> None:
    with pytest.raises(error, match=message):
        plan(SpawnRequest(**asked), make_settings(), provider="local", now=NOON)
