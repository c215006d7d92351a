"""The only module that talks: runs a call over httpx, and turns its errors into ours."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypedDict, TypeVar

import httpx

from stacyvm_sdk._wire.call import Call, Reply, check
from stacyvm_sdk.exceptions import ConnectionError, InvalidRequest, StacyVMError  # noqa: A004

T = TypeVar("T")

DEFAULT_URL = "http://localhost:7423"


class Options(TypedDict):
    """What both of httpx's clients are made with."""

    base_url: str
    headers: dict[str, str]
    timeout: float | None


def options(
    base_url: str | None, api_key: str | None, user_id: str | None, timeout: float | None
) -> Options:
    """Return how to reach the server; what is None comes from the environment, then the default.

    Raises:
        InvalidRequest: The address is no URL, or a header cannot be sent.
    """
    base_url = base_url or os.environ.get("STACYVM_URL") or DEFAULT_URL
    api_key = os.environ.get("STACYVM_API_KEY") if api_key is None else api_key
    headers = {"X-API-Key": api_key, "X-User-ID": user_id}
    given = {name: value for name, value in headers.items() if value}
    for name, value in given.items():
        if not value.isascii() or not value.isprintable():
            raise InvalidRequest(f"{name} must be printable ASCII")  # never show a key
    try:
        scheme = httpx.URL(base_url).scheme
    except httpx.InvalidURL as error:
        raise InvalidRequest(f"base_url {base_url!r} is no URL: {error}") from error
    if scheme not in {"http", "https"}:
        raise InvalidRequest(f"base_url {base_url!r} must start with http:// or https://")
    return {"base_url": base_url, "headers": given, "timeout": timeout}


# A proxy named in the environment cannot reach this machine's own loopback.
NO_PROXY: dict[str, Any] = {
    "all://localhost": None,
    "all://127.0.0.1": None,
    "all://[::1]": None,
}


def run(http: httpx.Client, call: Call[T]) -> T:
    """Send a call and return what its answer says."""
    _require_open(http)
    with translated(http):
        response = http.send(_build(http, call))
    return call.parse(_reply(response))


async def run_async(http: httpx.AsyncClient, call: Call[T]) -> T:
    """Send a call and return what its answer says."""
    _require_open(http)
    with translated(http):
        response = await http.send(_build(http, call))
    return call.parse(_reply(response))


def open_stream(http: httpx.Client, call: Call[None]) -> httpx.Response:
    """Send a call and return the response, its body unread; the caller closes it."""
    _require_open(http)
    with translated(http):
        response = http.send(_build(http, call), stream=True)
        if not response.is_success:
            try:
                response.read()
            finally:
                response.close()
            check(_reply(response))
    return response


async def open_stream_async(http: httpx.AsyncClient, call: Call[None]) -> httpx.Response:
    """Send a call and return the response, its body unread; the caller closes it."""
    _require_open(http)
    with translated(http):
        response = await http.send(_build(http, call), stream=True)
        if not response.is_success:
            try:
                await response.aread()
            finally:
                await response.aclose()
            check(_reply(response))
    return response


@contextmanager
def translated(
    http: httpx.Client | httpx.AsyncClient, kind: type[ConnectionError] = ConnectionError
) -> Iterator[None]:
    """Turn what httpx raises about the connection into ``kind``."""
    try:
        yield
    except httpx.TimeoutException as error:
        what = type(error).__name__
        raise kind(f"no answer in time from {http.base_url} ({what})") from error
    except httpx.RequestError as error:
        what = str(error) or type(error).__name__
        raise kind(f"cannot talk to the server at {http.base_url}: {what}") from error


def handle_response(response: httpx.Response) -> None:
    """Raise the error of an answer whose status is not 2xx; a stream is read for it."""
    if not response.is_success:
        response.read()
        check(_reply(response))


def _build(http: httpx.Client | httpx.AsyncClient, call: Call[Any]) -> httpx.Request:
    usual = http.timeout
    timeout = httpx.Timeout(
        connect=usual.connect,
        read=None if usual.read is None else max(usual.read, call.patience),
        write=None if usual.write is None else max(usual.write, call.patience),
        pool=usual.pool,
    )
    return http.build_request(
        call.method, call.url, content=call.content, headers=call.headers, timeout=timeout
    )


def _reply(response: httpx.Response) -> Reply:
    return Reply(status=response.status_code, headers=response.headers, body=response.content)


def _require_open(http: httpx.Client | httpx.AsyncClient) -> None:
    if http.is_closed:
        raise StacyVMError("this client is closed", code="CLIENT_CLOSED")
