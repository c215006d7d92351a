"""What handlers find in the application and in the request."""

from aiohttp import web

from stacyvm.services.services import Services

SERVICES = web.AppKey("services", Services)
VERSION = web.AppKey("version", str)

REQUEST_ID = web.RequestKey("request_id", str)
# True when the caller sent the right key, or none is needed.
TRUSTED = web.RequestKey("trusted", bool)


def services_of(request: web.Request) -> Services:
    """Return the use cases that a handler calls."""
    return request.app[SERVICES]
