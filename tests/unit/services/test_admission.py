import pytest

from stacyvm.config import Settings
from stacyvm.services.admission import decide


@pytest.mark.parametrize(
    ("most", "per_owner", "ttl", "active", "active_owner", "reason"),
    [
        (0, 0, 60, 10_000, 10_000, ""),
        (3, 2, 60, 2, 1, ""),
        (3, 2, 60, 3, 0, "max_sandboxes"),
        (3, 2, 60, 4, 4, "max_sandboxes"),
        (3, 2, 60, 2, 2, "max_sandboxes_per_owner"),
        (3, 2, 100, 0, 0, ""),
        (3, 2, 101, 3, 2, "max_ttl"),
    ],
)
def test_the_first_limit_in_the_way_is_the_reason(
    most: int, per_owner: int, ttl: float, active: int, active_owner: int, reason: str
) -> None:
    settings = Settings(
        _env_file=None, max_sandboxes=most, max_sandboxes_per_owner=per_owner, max_ttl=100
    )
    found = decide(settings, ttl=ttl, active=active, active_owner=active_owner)
    assert (found.reason, found.allowed) == (reason, not reason)
