"""The aiohttp application: routes and what surrounds every handler."""

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Iterator
from importlib.metadata import version

from aiohttp import web
from aiohttp.typedefs import Handler

from stacyvm.api import exec as exec_
from stacyvm.api import files, health, providers, sandboxes
from stacyvm.api.auth import Guard
from stacyvm.api.body import expect_later
from stacyvm.api.context import REQUEST_ID, SERVICES, VERSION
from stacyvm.api.errors import errors
from stacyvm.services.services import Services

log = logging.getLogger("stacyvm.access")

PREFIX = "/api/v1"

_VERSION = version("stacyvm")  # reads files, so not on the loop

_SANE_ID = re.compile("[\x21-\x7e]{1,128}")
_SANDBOX = f"{PREFIX}/sandboxes/{{id}}"
_FILES = f"{_SANDBOX}/files"

ROUTES: tuple[tuple[str, str, Handler], ...] = (
    ("GET", f"{PREFIX}/health", health.health),
    ("GET", f"{PREFIX}/live", health.live),
    ("GET", f"{PREFIX}/ready", health.ready),
    ("GET", f"{PREFIX}/providers", providers.list_providers),
    ("POST", f"{PREFIX}/providers/test", providers.test_providers),
    ("GET", f"{PREFIX}/providers/{{name}}", providers.get_provider),
    ("GET", f"{PREFIX}/pool/status", providers.pool_status),
    ("GET", f"{PREFIX}/snapshots", providers.snapshots),
    # First of all below /sandboxes, as the router tries them in turn.
    ("POST", f"{_SANDBOX}/exec", exec_.exec_command),
    ("POST", f"{PREFIX}/sandboxes", sandboxes.spawn),
    ("POST", f"{PREFIX}/sandboxes/admission", sandboxes.admission),
    ("GET", f"{PREFIX}/sandboxes", sandboxes.list_sandboxes),
    ("DELETE", f"{PREFIX}/sandboxes", sandboxes.prune),
    ("GET", _SANDBOX, sandboxes.get_sandbox),
    ("DELETE", _SANDBOX, sandboxes.destroy),
    ("POST", f"{_SANDBOX}/extend", sandboxes.extend),
    ("GET", f"{_SANDBOX}/logs", sandboxes.logs),
    ("GET", f"{_SANDBOX}/stats", sandboxes.stats),
    ("POST", _FILES, files.write_text),
    ("PUT", _FILES, files.write_raw),
    ("GET", _FILES, files.read_file),
    ("DELETE", _FILES, files.delete),
    ("GET", f"{_FILES}/list", files.list_folder),
    ("POST", f"{_FILES}/move", files.move),
    ("POST", f"{_FILES}/chmod", files.chmod),
    ("GET", f"{_FILES}/stat", files.stat),
    ("GET", f"{_FILES}/glob", files.glob),
    ("GET", f"{_FILES}/archive", files.pack),
    ("POST", f"{_FILES}/archive", files.unpack),
)


def create_app(services: Services) -> web.Application:
    """Return the API on top of ``services``. It needs ``handler_cancellation`` (see server.py)."""
    guard = Guard.of(services.settings)
    app = web.Application(middlewares=[identify, errors, guard.check])
    app[SERVICES] = services
    app[VERSION] = _VERSION
    app.on_response_prepare.append(_add_headers)
    app.on_response_prepare.append(guard.on_prepare)
    app.add_routes(_routes())
    return app


def _routes() -> Iterator[web.RouteDef]:
    """Yield every route, with and without a slash at its end; GET serves HEAD too."""
    for method, path, handler in ROUTES:
        for spelling in (path, f"{path}/"):
            yield web.route(method, spelling, handler, expect_handler=expect_later)


@web.middleware
async def identify(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give the request its id, and write its line in the access log."""
    request[REQUEST_ID] = request_id(request.headers.get("X-Request-ID", ""))
    started = time.monotonic()
    status = "aborted"
    try:
        response = await handler(request)
        status = str(response.status)
        return response
    finally:
        # The raw path holds no control characters; the query, which may hold secrets, is left out.
        # Behind the answer, which need not wait for it.
        asyncio.get_running_loop().call_soon(
            log.info,
            "%s %s %s %.1fms %s",
            request.method,
            request.rel_url.raw_path[:500],
            status,
            (time.monotonic() - started) * 1000,
            request[REQUEST_ID],
        )


def request_id(sent: str) -> str:
    """Return the id a caller sent if it is harmless, else a fresh one."""
    return sent if _SANE_ID.fullmatch(sent) else str(uuid.uuid4())


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers["X-Request-ID"] = request[REQUEST_ID]
    response.headers["Server"] = "stacyvm"  # else aiohttp tells its version
