"""The server itself, its providers, pool, quotas and templates, on the wire."""

from collections.abc import Mapping
from typing import Any

from stacyvm_sdk._wire.call import Call, Reply, call, integer, nothing, obj, objs, segment, text
from stacyvm_sdk._wire.sandboxes import SPAWN_PATIENCE, Info, read_info
from stacyvm_sdk.models import QuotaSummary, Template


def health() -> Call[dict[str, Any]]:
    """Ask how the server is."""
    return call("GET", "/health", obj)


def providers() -> Call[list[dict[str, Any]]]:
    """List the providers with their health."""
    return call("GET", "/providers", objs)


def test_providers() -> Call[dict[str, bool]]:
    """Look at every provider's health now."""
    return call("POST", "/providers/test", obj)


def pool_status() -> Call[dict[str, Any]]:
    """Ask about pool mode."""
    return call("GET", "/pool/status", obj)


def quota_summary() -> Call[QuotaSummary]:
    """Ask how many owners have quotas."""

    def read(reply: Reply) -> QuotaSummary:
        data = obj(reply)
        return QuotaSummary(
            total=integer(data, "total"),
            with_max_sandboxes=data.get("with_max_sandboxes", 0),
            with_max_ttl=data.get("with_max_ttl", 0),
            with_max_exec_timeout=data.get("with_max_exec_timeout", 0),
        )

    return call("GET", "/quotas/summary", read)


def templates() -> Call[list[Template]]:
    """List the templates."""
    return call("GET", "/templates", lambda reply: [_to_template(item) for item in objs(reply)])


def template(name: str) -> Call[Template]:
    """Fetch a template."""
    return call("GET", _template(name), _read_template)


def save_template(template: Template) -> Call[Template]:
    """Create a template, or update the one of that name."""
    body = {
        "name": template.name,
        "image": template.image,
        "memory_mb": template.memory_mb,
        "vcpus": template.vcpus,
        "ttl": template.ttl,
        "provider": template.provider,
        "metadata": template.metadata,
    }
    return call("POST", "/templates", _read_template, body=body)


def delete_template(name: str) -> Call[None]:
    """Delete a template."""
    return call("DELETE", _template(name), nothing)


def spawn_template(name: str) -> Call[Info]:
    """Create a sandbox from a template."""
    return call("POST", f"{_template(name)}/spawn", read_info, patience=SPAWN_PATIENCE)


def _read_template(reply: Reply) -> Template:
    return _to_template(obj(reply))


def _to_template(data: Mapping[str, Any]) -> Template:
    return Template(
        name=text(data, "name"),
        image=text(data, "image"),
        memory_mb=data.get("memory_mb", 512),
        vcpus=data.get("vcpus", 1),
        ttl=data.get("ttl", "30m"),
        provider=data.get("provider", ""),
        metadata=dict(data.get("metadata") or {}),
    )


def _template(name: str) -> str:
    return f"/templates/{segment(name, 'template name')}"
