"""Sandboxes the store's tests work with."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from stacyvm.domain.sandbox import Sandbox, SandboxState

INSTANCE = "0a1b2c3d"
RETENTION = 3600.0
NOON = datetime(2026, 5, 17, 12, 0, 0, 123456, tzinfo=UTC)
PREFIX = f"stacyvm:{{{INSTANCE}}}:"

RUNNING = Sandbox(
    id="sb-00000000",
    state=SandboxState.RUNNING,
    provider="docker",
    image="stacyvm/node",
    memory_mb=512,
    vcpus=1,
    created_at=NOON,
    expires_at=NOON + timedelta(hours=1),
    owner_id="ada",
    metadata={"purpose": "test"},
)


def sandbox(number: int, **changes: Any) -> Sandbox:
    """Return a running sandbox of Ada's, created ``number`` seconds after noon."""
    created = {"created_at": NOON + timedelta(seconds=number)}
    return replace(RUNNING, id=f"sb-{number:08x}", **created | changes)
