"""What the engine says about containers, as ``Found``."""

import json
from typing import Any

from stacyvm.providers.base import Found


def from_inspection(body: dict[str, Any], *, instance: str) -> Found | None:
    """Return the sandbox in an answer to inspect, or None if it is not this instance's."""
    labels = body["Config"].get("Labels") or {}
    if labels.get("stacyvm.instance") != instance or "stacyvm.sandbox" not in labels:
        return None
    state = body["State"]
    ended = not state["Running"] and state["Status"] != "created"
    return Found(
        id=labels["stacyvm.sandbox"],
        running=bool(state["Running"]),
        image=labels.get("stacyvm.image", ""),
        exit_code=state["ExitCode"] if ended else None,
        oom_killed=bool(state["OOMKilled"]),
        metadata=_metadata(labels),
    )


def from_listing(body: dict[str, Any]) -> Found:
    """Return the running sandbox in one entry of a listing."""
    labels = body["Labels"]
    return Found(
        id=labels["stacyvm.sandbox"],
        running=body["State"] == "running",
        image=labels.get("stacyvm.image", ""),
        metadata=_metadata(labels),
    )


def _metadata(labels: dict[str, str]) -> dict[str, str]:
    found = json.loads(labels.get("stacyvm.metadata", "{}"))
    return {str(key): str(value) for key, value in found.items()}
