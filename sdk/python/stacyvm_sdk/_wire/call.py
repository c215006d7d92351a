"""A request together with the way to read its answer."""

import json
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote, urlencode

from stacyvm_sdk.exceptions import InvalidRequest, InvalidResponse, make_error

T = TypeVar("T")

Body = bytes | Iterable[bytes] | AsyncIterable[bytes]


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer as it came. ``headers`` looks names up without regard to case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, kw_only=True)
class Call(Generic[T]):
    """One request.

    Attributes:
        method: HTTP method.
        url: Path and query under the base address.
        read: Turns a good answer into a value.
        content: Body.
        headers: Beside those of the client.
        patience: How long the answer may rightly take, in seconds.
        also_good: Statuses beside 2xx that ``read`` understands.
    """

    method: str
    url: str
    read: Callable[[Reply], T]
    content: Body | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    patience: float = 0.0
    also_good: frozenset[int] = frozenset()

    def parse(self, reply: Reply) -> T:
        """Return what the answer says.

        Raises:
            StacyVMError: The answer is an error, or cannot be understood.
        """
        if reply.status not in self.also_good:
            check(reply)
        try:
            return self.read(reply)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _strange(self, reply, error) from error


def check(reply: Reply) -> None:
    """Raise the error of an answer whose status is not 2xx."""
    if 200 <= reply.status < 300:
        return
    try:
        body = json.loads(reply.body)
    except ValueError:  # not JSON, or not even text: a proxy's page
        body = None
    if not isinstance(body, dict):
        body = {"message": reply.body.decode(errors="replace").strip()[:500]}
    raise make_error(body, status=reply.status, headers=reply.headers)


def call(
    method: str,
    path: str,
    read: Callable[[Reply], T],
    *,
    query: Mapping[str, str] | None = None,
    body: Mapping[str, Any] | None = None,
    patience: float = 0.0,
) -> Call[T]:
    """Build a call with an optional JSON body."""
    return Call(
        method=method,
        url=url(path, query),
        read=read,
        content=None if body is None else encode(body),
        headers={} if body is None else {"Content-Type": "application/json"},
        patience=patience,
    )


def url(path: str, query: Mapping[str, str] | None = None) -> str:
    """Return the path under the base address; file names that are not UTF-8 survive."""
    tail = "?" + urlencode(query, errors="surrogateescape", quote_via=quote) if query else ""
    return f"/api/v1{path}{tail}"


def segment(text: str, what: str) -> str:
    """Return ``text`` as one segment of a path.

    Raises:
        InvalidRequest: It would name another route.
    """
    if text in {"", ".", ".."}:
        raise InvalidRequest(f"{text!r} is no {what}")
    return quote(text, safe="")


def sandbox_path(sandbox_id: str, tail: str = "") -> str:
    """Return the path of a sandbox or of something in it."""
    return f"/sandboxes/{segment(sandbox_id, 'sandbox id')}{tail}"


def encode(body: Mapping[str, Any]) -> bytes:
    """Return ASCII-escaped JSON, in which any text survives."""
    return json.dumps(body, separators=(",", ":")).encode("ascii")


def some(**fields: Any) -> dict[str, Any]:
    """Return the fields that say something: the server has defaults for the others."""
    return {key: value for key, value in fields.items() if value not in (None, "", {}, [], False)}


def obj(reply: Reply) -> dict[str, Any]:
    """Read a JSON object."""
    data = json.loads(reply.body)
    if not isinstance(data, dict):
        raise TypeError("an object was expected")
    return data


def objs(reply: Reply) -> list[dict[str, Any]]:
    """Read a JSON array of objects."""
    data = json.loads(reply.body)
    if not isinstance(data, list) or not all(isinstance(item, dict) for item in data):
        raise TypeError("an array of objects was expected")
    return data


def strings(reply: Reply) -> list[str]:
    """Read a JSON array of strings; null counts as empty."""
    data = json.loads(reply.body)
    if data is None:
        return []
    if not isinstance(data, list) or not all(isinstance(item, str) for item in data):
        raise TypeError("an array of strings was expected")
    return data


def nothing(reply: Reply) -> None:
    """Read an answer that only confirms."""


def integer(data: Mapping[str, Any], key: str) -> int:
    """Read a required whole number."""
    value = data[key]
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{key} must be a whole number")
    return value


def text(data: Mapping[str, Any], key: str) -> str:
    """Read a required string."""
    value = data[key]
    if not isinstance(value, str):
        raise TypeError(f"{key} must be a string")
    return value


def _strange(made: Call[Any], reply: Reply, error: Exception) -> InvalidResponse:
    strange = InvalidResponse(
        f"{made.method} {made.url.partition('?')[0]}: the answer makes no sense "
        f"({type(error).__name__}: {error}); is this a stacyvm server?"
    )
    strange.status = reply.status
    strange.request_id = reply.headers.get("x-request-id", "")
    return strange
