"""``/health``, ``/live``, ``/ready``: answered to everybody, telling nothing without the key."""

from typing import Any

from aiohttp import web

from stacyvm.api.context import TRUSTED, VERSION, services_of
from stacyvm.api.providers import provider_item
from stacyvm.api.wire import json_response
from stacyvm.domain.duration import format_duration


async def health(request: web.Request) -> web.Response:
    """Say that the server answers."""
    return json_response({"status": "ok", **_facts(request)})


async def live(request: web.Request) -> web.Response:
    """Say that the process lives."""
    return json_response({"status": "alive", **_facts(request)})


async def ready(request: web.Request) -> web.Response:
    """Say whether a spawn could work now: 200 or 503, with why for callers who have the key."""
    readiness = await services_of(request).health.ready()
    body: dict[str, Any] = {"status": "ready" if readiness.ready else "not_ready"}
    if request[TRUSTED]:
        body |= {
            "providers": [provider_item(status) for status in readiness.providers],
            "ready_providers": sum(status.healthy for status in readiness.providers),
            "total_providers": len(readiness.providers),
            "redis": {"healthy": not readiness.redis_error},
        }
        if readiness.redis_error:
            body["redis"]["error"] = readiness.redis_error
    body |= _facts(request)
    return json_response(dict(sorted(body.items())), status=200 if readiness.ready else 503)


def _facts(request: web.Request) -> dict[str, str]:
    uptime = services_of(request).health.uptime()
    return {"uptime": format_duration(round(uptime, 3)), "version": request.app[VERSION]}
