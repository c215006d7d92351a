"""Sandboxes on the wire."""

from collections.abc import Mapping
from typing import Any

from stacyvm_sdk._duration import write_duration
from stacyvm_sdk._wire.call import (
    Call,
    Reply,
    call,
    integer,
    nothing,
    obj,
    objs,
    sandbox_path,
    some,
    strings,
    text,
)
from stacyvm_sdk.models import Duration, SandboxInfo, SpawnAdmissionDecision

# The server pulls an image that is not there: 300 s by default, and then some.
SPAWN_PATIENCE = 330.0

Info = dict[str, Any]


def check_callback(callback: object) -> None:
    """Raise unless ``callback`` can be called: an image in its place would have spawned first."""
    if not callable(callback):
        raise TypeError(
            f"with_sandbox takes a function before its options, not {callback!r}; "
            "an image is given as image=…"
        )


def spawn(
    *,
    image: str | None,
    provider: str | None,
    memory_mb: int | None,
    vcpus: int | None,
    ttl: Duration | None,
    owner_id: str | None,
    template: str | None,
    metadata: Mapping[str, str] | None,
    env: Mapping[str, str] | None,
    network: str | None,
    runtime: str | None,
    workspace: str | None,
    disk_mb: int | None,
    read_only: bool,
) -> Call[Info]:
    """Create a sandbox; the answer is its record."""
    body = some(
        image=image,
        provider=provider,
        memory_mb=memory_mb,
        vcpus=vcpus,
        ttl=None if ttl is None else write_duration(ttl),
        owner_id=owner_id,
        template=template,
        metadata=dict(metadata or {}),
        env=dict(env or {}),
        network=network,
        runtime=runtime,
        workspace=workspace,
        read_only=read_only,
    )
    if disk_mb is not None:  # 0 is no limit, not the default
        body["disk_mb"] = disk_mb
    return call("POST", "/sandboxes", read_info, body=body, patience=SPAWN_PATIENCE)


def admission(
    *,
    image: str | None,
    provider: str | None,
    memory_mb: int | None,
    vcpus: int | None,
    ttl: Duration | None,
    owner_id: str | None,
    metadata: Mapping[str, str] | None,
) -> Call[SpawnAdmissionDecision]:
    """Ask whether a spawn would be admitted."""
    body = some(
        image=image,
        provider=provider,
        memory_mb=memory_mb,
        vcpus=vcpus,
        ttl=None if ttl is None else write_duration(ttl),
        owner_id=owner_id,
        metadata=dict(metadata or {}),
    )
    return call("POST", "/sandboxes/admission", _read_admission, body=body)


def get(sandbox_id: str) -> Call[Info]:
    """Fetch the record of a live sandbox."""
    return call("GET", sandbox_path(sandbox_id), read_info)


def fetch_all() -> Call[list[SandboxInfo]]:
    """Fetch the records of all live sandboxes, newest first."""
    return call("GET", "/sandboxes", lambda reply: [to_info(item) for item in objs(reply)])


def destroy(sandbox_id: str) -> Call[None]:
    """Destroy a sandbox; one that is gone is a success too."""
    return call("DELETE", sandbox_path(sandbox_id), nothing)


def prune() -> Call[int]:
    """Destroy what has expired; the answer is how many."""
    return call("DELETE", "/sandboxes", lambda reply: integer(obj(reply), "pruned"))


def extend(sandbox_id: str, ttl: Duration) -> Call[Info]:
    """Let a sandbox live ``ttl`` from now on."""
    body = {"ttl": write_duration(ttl)}
    return call("POST", sandbox_path(sandbox_id, "/extend"), read_info, body=body)


def logs(sandbox_id: str, lines: int) -> Call[list[str]]:
    """Fetch the last lines the sandbox's agent logged."""
    return call("GET", sandbox_path(sandbox_id, "/logs"), strings, query={"lines": str(lines)})


def stats(sandbox_id: str) -> Call[dict[str, Any]]:
    """Fetch what the sandbox uses now."""
    return call("GET", sandbox_path(sandbox_id, "/stats"), obj)


def to_info(data: Mapping[str, Any]) -> SandboxInfo:
    """Return the record as the contract's dataclass; unknown keys are left out."""
    return SandboxInfo(
        id=text(data, "id"),
        state=text(data, "state"),
        provider=text(data, "provider"),
        image=text(data, "image"),
        memory_mb=data.get("memory_mb", 512),
        vcpus=data.get("vcpus", 1),
        created_at=data.get("created_at", ""),
        expires_at=data.get("expires_at", ""),
        metadata=dict(data.get("metadata") or {}),
        preview_domain=data.get("preview_domain") or "localhost",
        owner_id=data.get("owner_id", ""),
    )


def read_info(reply: Reply) -> Info:
    """Read a record."""
    data = obj(reply)
    text(data, "id")
    return data


def _read_admission(reply: Reply) -> SpawnAdmissionDecision:
    data = obj(reply)
    known = SpawnAdmissionDecision.__dataclass_fields__
    return SpawnAdmissionDecision(**{key: data[key] for key in known if key in data})
