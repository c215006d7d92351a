"""``/providers``, and what other StacyVM servers list beside them."""

from typing import Any

from aiohttp import web

from stacyvm.api.context import services_of
from stacyvm.api.wire import json_response, timestamp_seconds
from stacyvm.services.providers import ProviderStatus


def provider_item(status: ProviderStatus) -> dict[str, Any]:
    """Return a provider as lists show it."""
    item: dict[str, Any] = {
        "name": status.name,
        "healthy": status.healthy,
        "default": status.default,
        "latency_ms": round(status.latency * 1000),
        "last_checked": timestamp_seconds(status.last_checked),
    }
    if status.error:
        item["error"] = status.error
    item["capabilities"] = list(status.capabilities)
    if status.runtime_count:
        item["runtime_count"] = status.runtime_count
    return item


async def list_providers(request: web.Request) -> web.Response:
    """List every provider with its health."""
    statuses = await services_of(request).providers.list()
    return json_response([provider_item(status) for status in statuses])


async def get_provider(request: web.Request) -> web.Response:
    """Show one provider with its configuration."""
    status = await services_of(request).providers.get(request.match_info["name"])
    return json_response(
        {
            "name": status.name,
            "healthy": status.healthy,
            "default": status.default,
            "sandbox_count": status.runtime_count,
            "health": provider_item(status),
            "config": status.config,
        }
    )


async def test_providers(request: web.Request) -> web.Response:
    """Check every provider now."""
    return json_response(await services_of(request).providers.test())


async def pool_status(_: web.Request) -> web.Response:
    """Say that sandboxes do not share containers."""
    return json_response({"enabled": False})


async def snapshots(_: web.Request) -> web.Response:
    """List image snapshots: no provider here keeps any."""
    return json_response([])
