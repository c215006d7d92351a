"""From errors to answers: one table, one middleware, one shape."""

import logging
import math
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from stacyvm.api.context import REQUEST_ID
from stacyvm.api.wire import dumps
from stacyvm.domain.errors import (
    AgentError,
    ConflictError,
    DeadlineExceededError,
    ForbiddenError,
    InvalidRequestError,
    LimitExceededError,
    NotFoundError,
    ProviderError,
    StacyError,
    StorageFullError,
    UnauthorizedError,
    UnavailableError,
)

log = logging.getLogger(__name__)


class BodyTooLargeError(InvalidRequestError):
    """The request's body is over a limit."""

    code = "PAYLOAD_TOO_LARGE"

    def __init__(self, limit: int, option: str) -> None:
        super().__init__(f"request body is over the limit of {limit} bytes ({option})")
        self.limit = limit


# From the special to the general: the first class that fits decides.
STATUSES: tuple[tuple[type[StacyError], int], ...] = (
    (BodyTooLargeError, 413),
    (InvalidRequestError, 400),
    (UnauthorizedError, 401),
    (ForbiddenError, 403),
    (NotFoundError, 404),
    (DeadlineExceededError, 408),
    (ConflictError, 409),
    (StorageFullError, 507),
    (LimitExceededError, 429),
    (UnavailableError, 503),
    (ProviderError, 502),
    (AgentError, 502),
    (StacyError, 500),
)

# What aiohttp itself answers before or beside our handlers.
_HTTP_CODES = {
    400: "BAD_REQUEST",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    413: "PAYLOAD_TOO_LARGE",
}


def status_of(error: StacyError) -> int:
    """Return the HTTP status of an error."""
    return next(status for category, status in STATUSES if isinstance(error, category))


def error_body(code: str, message: str, request_id: str, details: dict[str, Any]) -> bytes:
    """Return the one shape every error has."""
    body: dict[str, Any] = {"code": code, "message": message}
    if details:
        body["details"] = details
    return dumps(body | {"request_id": request_id})


def error_response(error: StacyError, request_id: str) -> web.Response:
    """Return the answer to an error raised on purpose."""
    status = status_of(error)
    headers = {"Content-Type": "application/json"}
    if status == 429:
        retry_after = getattr(error, "retry_after", None) or 1
        headers["Retry-After"] = str(max(1, math.ceil(retry_after)))
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    body = error_body(error.code, error.message, request_id, error.details())
    return web.Response(body=body, status=status, headers=headers)


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every failure in the envelope; what nobody raised on purpose is logged in full."""
    request_id = request[REQUEST_ID]
    try:
        return await handler(request)
    except StacyError as error:
        if status_of(error) >= 500:
            # Where the words say all, a traceback each would let a guest flood the log.
            plain = isinstance(error, StorageFullError | UnavailableError)
            cause = None if plain else error
            log.warning("%s %s: %s", request_id, type(error).__name__, error, exc_info=cause)
        return _closing(request, error_response(error, request_id))
    except web.HTTPException as error:
        return _from_http(error, request, request_id)
    except ConnectionError:
        raise  # the caller is gone; there is nobody to answer
    except Exception:
        log.exception("%s failed: %s %s", request_id, request.method, request.rel_url.raw_path)
        body = error_body("INTERNAL_ERROR", "internal error", request_id, {})
        headers = {"Content-Type": "application/json"}
        return _closing(request, web.Response(body=body, status=500, headers=headers))


def _from_http(
    error: web.HTTPException, request: web.Request, request_id: str
) -> web.StreamResponse:
    if error.status < 400:
        raise error
    headers = {"Content-Type": "application/json"}
    path = request.rel_url.raw_path[:200]
    message = {
        404: f"no such route: {path}",
        405: f"method {request.method} is not allowed on {path}",
    }.get(error.status, error.reason)
    if isinstance(error, web.HTTPMethodNotAllowed):
        headers["Allow"] = ", ".join(sorted(error.allowed_methods))
    code = _HTTP_CODES.get(error.status, "BAD_REQUEST" if error.status < 500 else "INTERNAL_ERROR")
    body = error_body(code, message, request_id, {})
    return _closing(request, web.Response(body=body, status=error.status, headers=headers))


def _closing(request: web.Request, response: web.Response) -> web.Response:
    """Close the connection behind an answer that was given with the body still on its way.

    aiohttp goes on reading (and dropping) that body for a bounded time, so that the caller gets to
    read the answer.
    """
    if not request.content.is_eof():
        response.force_close()
    return response
