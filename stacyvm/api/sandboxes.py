"""``/sandboxes``: spawn, look after, destroy."""

from typing import Any

from aiohttp import web

from stacyvm.api.body import read_json
from stacyvm.api.context import services_of
from stacyvm.api.query import owner_of, params
from stacyvm.api.schemas import ExtendBody, SpawnBody, check_env, check_image, check_metadata
from stacyvm.api.wire import json_response, timestamp
from stacyvm.domain.duration import format_duration, parse_duration
from stacyvm.domain.errors import InvalidRequestError
from stacyvm.domain.sandbox import Sandbox, check_owner
from stacyvm.services.spawning import SpawnRequest

DEFAULT_LOG_LINES = 100
MAX_LOG_LINES = 10_000


def sandbox_item(sandbox: Sandbox) -> dict[str, Any]:
    """Return a sandbox as the wire shows it; what is empty is left out."""
    item: dict[str, Any] = {
        "id": sandbox.id,
        "state": sandbox.state.value,
        "provider": sandbox.provider,
        "image": sandbox.image,
        "memory_mb": sandbox.memory_mb,
        "vcpus": sandbox.vcpus,
        "owner_id": sandbox.owner_id,
        "created_at": timestamp(sandbox.created_at),
        "expires_at": timestamp(sandbox.expires_at),
        "metadata": sandbox.metadata,
        "preview_domain": sandbox.preview_domain,
        "network": sandbox.network,
        "runtime": sandbox.runtime,
        "workspace": sandbox.workspace,
        "reason": sandbox.reason,
    }
    return {name: value for name, value in item.items() if value not in ("", {})}


async def spawn(request: web.Request) -> web.Response:
    """Create a sandbox and answer when it runs."""
    sandbox = await services_of(request).sandboxes.spawn(await _wanted(request))
    response = json_response(sandbox_item(sandbox), status=201)
    try:
        await response.prepare(request)
        await response.write_eof()
    except BaseException:
        # The caller left just now and will never learn the id: nobody else would destroy it.
        await services_of(request).sandboxes.destroy(sandbox.id)
        raise
    return response


async def admission(request: web.Request) -> web.Response:
    """Say whether a spawn would be let in now, without making anything."""
    wanted = await _wanted(request)
    found = await services_of(request).sandboxes.admission(wanted)
    # StacyVM's Python client takes these keys and no others.
    answer: dict[str, Any] = {"allowed": found.allowed, "queueable": False}
    if found.reason:
        answer["reason"] = found.reason
    answer |= {"active_sandboxes": found.active, "max_sandboxes": found.most}
    if wanted.owner_id:
        answer |= {
            "active_owner_sandboxes": found.active_owner,
            "max_owner_sandboxes": found.most_owner,
        }
    return json_response({**answer, "max_ttl": format_duration(found.max_ttl)})


async def _wanted(request: web.Request) -> SpawnRequest:
    """Return what the body of a spawn asks for."""
    body = await read_json(request, SpawnBody)
    return SpawnRequest(
        image=check_image(body.image),
        provider=body.provider,
        memory_mb=body.memory_mb,
        vcpus=body.vcpus,
        ttl=parse_duration(body.ttl) if body.ttl else None,
        owner_id=owner_of(request) or check_owner(body.owner_id),
        template=body.template,
        metadata=check_metadata(body.metadata),
        env=check_env(body.env),
        network=body.network or None,
        runtime=body.runtime,
        workspace=body.workspace or "disk",
        disk_mb=body.disk_mb,
        read_only=body.read_only,
    )


async def list_sandboxes(request: web.Request) -> web.Response:
    """List live sandboxes, newest first."""
    found = await services_of(request).sandboxes.list(owner_id=owner_of(request))
    return json_response([sandbox_item(sandbox) for sandbox in found])


async def prune(request: web.Request) -> web.Response:
    """End what has expired."""
    count = await services_of(request).sandboxes.prune(owner_id=owner_of(request))
    return json_response({"pruned": count})


async def get_sandbox(request: web.Request) -> web.Response:
    """Show one sandbox."""
    sandbox = await services_of(request).sandboxes.get(
        request.match_info["id"], owner_id=owner_of(request)
    )
    return json_response(sandbox_item(sandbox))


async def destroy(request: web.Request) -> web.Response:
    """End a sandbox; one that is unknown or has ended is success too."""
    await services_of(request).sandboxes.destroy(
        request.match_info["id"], owner_id=owner_of(request)
    )
    return json_response({"status": "destroyed"})


async def extend(request: web.Request) -> web.Response:
    """Let a sandbox live longer."""
    body = await read_json(request, ExtendBody)
    if not body.ttl:
        raise InvalidRequestError("ttl is required")
    try:
        ttl = parse_duration(body.ttl)
    except InvalidRequestError as error:
        raise InvalidRequestError(f"invalid ttl format: {error.message}") from error
    sandbox = await services_of(request).sandboxes.extend(
        request.match_info["id"], ttl, owner_id=owner_of(request)
    )
    return json_response(sandbox_item(sandbox))


async def logs(request: web.Request) -> web.Response:
    """Show the last lines printed in a sandbox; a ``lines`` that is no number means 100."""
    lines = await services_of(request).sandboxes.logs(
        request.match_info["id"],
        lines=_line_count(params(request).get("lines", "")),
        owner_id=owner_of(request),
    )
    return json_response(lines)


async def stats(request: web.Request) -> web.Response:
    """Show what a sandbox uses."""
    return json_response(
        await services_of(request).sandboxes.stats(
            request.match_info["id"], owner_id=owner_of(request)
        )
    )


def _line_count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9) or int(text) == 0:
        return DEFAULT_LOG_LINES
    return min(int(text), MAX_LOG_LINES)
