"""Who may call: API key, Host and Origin."""

import hashlib
import hmac
import ipaddress
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler

from stacyvm.api.context import TRUSTED
from stacyvm.config import Settings
from stacyvm.domain.errors import ForbiddenError, InvalidRequestError, UnauthorizedError

# Always answered: probes carry no key. What they say then gives nothing away.
OPEN_PATHS = frozenset(
    f"/api/v1/{name}{slash}" for name in ("health", "live", "ready") for slash in ("", "/")
)
ALLOWED_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
ALLOWED_HEADERS = (
    "Content-Type, X-API-Key, X-Admin-API-Key, X-Request-ID, X-User-ID, X-Tenant-ID, "
    "Authorization, Range, Last-Event-ID"
)
EXPOSED_HEADERS = "X-Request-ID, Retry-After, Content-Range, Accept-Ranges"

_WILDCARDS = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - compared with, not bound to
_DEFAULT_PORTS = {"http": 80, "https": 443}


def api_key_of(settings: Settings) -> str:
    """Return the key callers must send; empty when the API is open."""
    return settings.api_key.get_secret_value() if settings.api_key else ""


@lru_cache(256)
def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach ``host``."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_exposure(settings: Settings) -> None:
    """Refuse to be open to a network without a key.

    Raises:
        InvalidRequestError: The host is not loopback, there is no key, and nobody said that this
            is wanted.
    """
    if is_loopback(settings.host) or api_key_of(settings) or settings.insecure:
        return
    raise InvalidRequestError(
        f"refusing to listen on {settings.host or 'all addresses'} without an API key: anybody who "
        "can reach it could run code here. Set STACYVM_API_KEY, or listen on 127.0.0.1, or, if "
        "the network itself is trusted, set STACYVM_INSECURE=1."
    )


@dataclass(frozen=True)
class Guard:
    """The middleware that decides who gets past; it sees every request, unknown routes too."""

    key: str
    hosts: frozenset[str]
    any_address: bool  # listening everywhere: Host may be any IP address
    origins: frozenset[str]

    @classmethod
    def of(cls, settings: Settings) -> "Guard":
        """Return the guard that the settings ask for."""
        return cls(
            key=api_key_of(settings),
            hosts=frozenset(name.lower() for name in (settings.host, *settings.allowed_hosts)),
            any_address=settings.host in _WILDCARDS,
            origins=frozenset(origin.rstrip("/").lower() for origin in settings.cors_origins),
        )

    @web.middleware
    async def check(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let the request through, answer a preflight, or refuse.

        Raises:
            ForbiddenError: Its Host or Origin is none of ours.
            UnauthorizedError: It lacks the right key.
        """
        # With a key, a page that made a browser call us by a foreign name could not know it.
        if not self.key:
            self._check_host(request)
        self._check_origin(request)
        if request.method == "OPTIONS":
            return web.Response(headers={"Allow": ALLOWED_METHODS})
        request[TRUSTED] = self._has_key(request)
        if not request[TRUSTED] and request.path not in OPEN_PATHS:
            raise UnauthorizedError("invalid or missing API key")
        return await handler(request)

    async def on_prepare(self, request: web.Request, response: web.StreamResponse) -> None:
        """Add what a browser needs to hand the answer to an allowed origin."""
        if not self.origins:
            return
        response.headers["Vary"] = "Origin"
        origin = request.headers.get("Origin", "")
        if not origin or not self._allows(origin):
            return
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Expose-Headers"] = EXPOSED_HEADERS
        if request.method == "OPTIONS":
            response.headers["Access-Control-Allow-Methods"] = ALLOWED_METHODS
            response.headers["Access-Control-Allow-Headers"] = ALLOWED_HEADERS
            response.headers["Access-Control-Max-Age"] = "600"

    def _has_key(self, request: web.Request) -> bool:
        if not self.key:
            return True
        headers = request.headers
        scheme, _, bearer = headers.get("Authorization", "").partition(" ")
        sent = (
            headers.get("X-Admin-API-Key", ""),
            headers.get("X-API-Key", ""),
            bearer.strip() if scheme.lower() == "bearer" else "",
        )
        wanted = _digest(self.key)
        return any(hmac.compare_digest(_digest(key), wanted) for key in sent)

    def _check_host(self, request: web.Request) -> None:
        host = request.headers.get("Host")
        if host is None:
            return  # HTTP/1.0; a browser always sends one
        name = _host_name(host)
        if is_loopback(name) or name in self.hosts or (self.any_address and _is_address(name)):
            return
        raise ForbiddenError(
            f"host {host!r:.100} is not one of this server's names (STACYVM_ALLOWED_HOSTS)"
        )

    def _check_origin(self, request: web.Request) -> None:
        origin = request.headers.get("Origin", "")
        if not origin or self._allows(origin):
            return
        if _same_origin(origin, request.headers.get("Host", "")):
            return
        raise ForbiddenError(f"origin {origin!r:.100} is not allowed (STACYVM_CORS_ORIGINS)")

    def _allows(self, origin: str) -> bool:
        return _listed(origin.lower(), self.origins)


def _listed(origin: str, origins: Collection[str]) -> bool:
    return "*" in origins or origin in origins


def _digest(text: str) -> bytes:
    """Return a digest, so that comparing takes the same time for keys of any length."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


@lru_cache(256)
def _host_name(host: str) -> str:
    """Return the name in a Host header, without its port, in lower case."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _same_origin(origin: str, host: str) -> bool:
    """Tell whether a page of ``origin`` came from the very name and port in the Host header."""
    try:
        page = urlsplit(origin)
        ours = urlsplit(f"//{host}")
        default = _DEFAULT_PORTS.get(page.scheme)
        names = (page.hostname, page.port or default), (ours.hostname, ours.port or default)
    except ValueError:
        return False
    return default is not None and bool(page.hostname) and names[0] == names[1]
