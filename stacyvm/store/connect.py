"""The connection to Redis: bounded, with time limits, and with errors that keep secrets."""

from typing import Any
from urllib.parse import SplitResult, urlsplit

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

from stacyvm.domain.errors import InvalidRequestError

CONNECT_TIMEOUT = 2.0  # seconds
SOCKET_TIMEOUT = 5.0  # seconds for one answer
POOL_TIMEOUT = 5.0  # seconds to wait for a free connection
HEALTH_CHECK_INTERVAL = 30  # seconds a connection may lie idle before it is pinged first
MAX_CONNECTIONS = 32
RETRIES = 2

_SCHEMES = ("redis", "rediss", "unix")
_FORM = (
    "expected redis://[user:password@]host:port/db, rediss://… or unix:///path/to/socket; "
    "special characters in a password must be percent-encoded"
)


def connect(url: str) -> Redis:
    """Return a client for ``url``; nothing is sent until its first command.

    A command is sent again when its connection drops, so everything sent through it must be safe to
    send twice (plain reads are; the store's scripts are made so). It is not sent again when Redis
    is merely slow. The caller closes the client with ``aclose()``.

    Raises:
        InvalidRequestError: The URL cannot be used. The message never holds the URL, since that
            may hold a password.
    """
    options = _parsed(url)
    options.setdefault("max_connections", MAX_CONNECTIONS)
    options.setdefault("socket_timeout", SOCKET_TIMEOUT)
    options.setdefault("socket_connect_timeout", CONNECT_TIMEOUT)
    options.setdefault("health_check_interval", HEALTH_CHECK_INTERVAL)
    options.update(
        decode_responses=True,
        # Else every new connection searches the disk for redis-py's version, on the loop.
        driver_info=None,
        # All we write is ASCII. Bytes that are not UTF-8 were written by somebody else, and must
        # spoil their own record only, not the answer they come in; and be comparable later.
        encoding_errors="surrogateescape",
        retry=Retry(ExponentialBackoff(cap=0.2, base=0.02), RETRIES, (RedisConnectionError,)),
    )
    try:
        pool = BlockingConnectionPool(timeout=POOL_TIMEOUT, **options)
        pool.connection_class(
            **pool.connection_kwargs
        )  # opens nothing, but finds options nobody knows
    except (TypeError, ValueError):
        # ``from None``: the cause's text may quote the URL.
        raise InvalidRequestError(f"invalid Redis URL: an option is not known; {_FORM}") from None
    return Redis.from_pool(pool)


def _parsed(url: str) -> dict[str, Any]:
    try:
        parts = urlsplit(url)
        problem = _problem(parts)
        options = dict(parse_url(url)) if not problem else {}
    except ValueError:
        problem, options = "it cannot be read", {}
    if problem:
        raise InvalidRequestError(f"invalid Redis URL: {problem}; {_FORM}") from None
    return options


def _problem(parts: SplitResult) -> str:
    """Say what is wrong with a URL without quoting any of it; empty when nothing is."""
    if parts.scheme not in _SCHEMES:
        return "its scheme is not one of redis, rediss and unix"
    if parts.scheme == "unix":
        return "" if parts.path.strip("/") else "it names no socket"
    # An @ behind the host means that the password held a bare /, ? or #: what is left in front of
    # it would be taken for the host, shown in messages, and connected to.
    if "@" in parts.path + parts.query + parts.fragment:
        return "there is an @ behind the host"
    if not parts.hostname:
        return "it names no host"
    if (database := parts.path.strip("/")) and not database.isdecimal():
        return "its database is not a number"
    return "" if parts.port != 0 else "port 0 cannot be connected to"
