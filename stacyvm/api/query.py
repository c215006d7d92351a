"""The query string and the headers that name an owner, a path, a mode."""

import re
from urllib.parse import parse_qsl

from aiohttp import web

from stacyvm.domain.errors import InvalidRequestError
from stacyvm.domain.sandbox import check_owner

MAX_PARAMS = 64

_BAD_ESCAPE = re.compile("%(?![0-9A-Fa-f]{2})")
_OCTAL = re.compile("0?[0-7]{1,4}")


def params(request: web.Request) -> dict[str, str]:
    """Return the query's parameters; bytes that are not UTF-8 become surrogate escapes.

    That way a file whose name is not text can be addressed as ``%FF``. The first value of a name
    that is given twice counts.

    Raises:
        InvalidRequestError: A broken percent escape, or far too many parameters.
    """
    text = request.rel_url.raw_query_string
    if _BAD_ESCAPE.search(text):
        raise InvalidRequestError("invalid query string: % must be followed by two hex digits")
    try:
        pairs = parse_qsl(
            text, keep_blank_values=True, errors="surrogateescape", max_num_fields=MAX_PARAMS
        )
    except ValueError as error:
        raise InvalidRequestError(f"invalid query string: over {MAX_PARAMS} parameters") from error
    return dict(reversed(pairs))


def required(request: web.Request, name: str) -> str:
    """Return a parameter that must be there and not empty.

    Raises:
        InvalidRequestError: It is not.
    """
    value = params(request).get(name, "")
    if not value:
        raise InvalidRequestError(f"{name} query parameter required")
    return value


def owner_of(request: web.Request) -> str:
    """Return the owner id of ``X-User-ID``, empty when there is none.

    Raises:
        InvalidRequestError: It is no valid owner id.
    """
    return check_owner(request.headers.get("X-User-ID", ""))


def parse_mode(text: str) -> int | None:
    """Return permission bits from octal digits such as ``644`` or ``0755``; None when empty.

    Raises:
        InvalidRequestError: It is not octal.
    """
    if not text:
        return None
    if not _OCTAL.fullmatch(text):
        raise InvalidRequestError(f'invalid input: mode "{text:.20}" is not octal, like 0644')
    return int(text, 8)
