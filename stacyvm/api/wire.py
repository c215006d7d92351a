"""How values look on the wire: compact JSON, timestamps, paths."""

import json
import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from aiohttp import web

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
# As Go's encoder does, so that an answer is safe inside HTML and JavaScript; existing shell scripts
# match these bytes.
_ESCAPES = (
    ("<", "\\u003c"),
    (">", "\\u003e"),
    ("&", "\\u0026"),
    ("\u2028", "\\u2028"),
    ("\u2029", "\\u2029"),
)


def dumps(value: Any) -> bytes:
    """Return ``value`` as compact JSON with a newline; what is not valid text becomes U+FFFD."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character, escape in _ESCAPES:
        text = text.replace(character, escape)
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError:
        return _LONE_SURROGATE.sub("\ufffd", text).encode() + b"\n"


def json_response(value: Any, *, status: int = 200) -> web.Response:
    """Return ``value`` as a JSON answer."""
    return web.Response(
        body=dumps(value), status=status, headers={"Content-Type": "application/json"}
    )


def timestamp(moment: datetime) -> str:
    """Return RFC 3339 in UTC, its fraction without trailing zeros."""
    text = moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
    return text.rstrip("0").rstrip(".") + "Z"


def timestamp_seconds(moment: datetime) -> str:
    """Return RFC 3339 in UTC in whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def raw_path(path: str) -> str | None:
    """Return the path percent-encoded when it is not UTF-8, and so cannot be shown; else None."""
    if not _LONE_SURROGATE.search(path):
        return None
    return quote(path.encode("utf-8", "surrogateescape"))
