"""The form of a sandbox's record in Redis: one JSON object, all ASCII.

ASCII-escaped JSON carries any Python string, lone surrogates included, and times are ISO 8601 in
UTC with microseconds, so what comes out is what went in. Fields a newer server added are ignored;
fields it left out take their defaults.
"""

import json
from collections.abc import Callable
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any, get_args

from stacyvm.domain.errors import StacyError
from stacyvm.domain.sandbox import Network, Sandbox, SandboxState, Workspace

# Beside the sandbox's own fields: made anew for every write, so that a write sent twice because its
# connection dropped can tell its own first copy from another's.
REVISION = "rev"


class MalformedRecordError(StacyError):
    """What Redis holds under a record's key is not a record."""

    def __init__(self, key: str, why: str) -> None:
        super().__init__(f"the record {key} in Redis cannot be read: {why}")
        self.key = key


def encode(sandbox: Sandbox, revision: str) -> str:
    """Return the record's text.

    Raises:
        ValueError: A time has no time zone.
    """
    plain = {field.name: _plain(getattr(sandbox, field.name)) for field in fields(Sandbox)}
    return json.dumps({REVISION: revision, **plain}, separators=(",", ":"))


def decode(key: str, text: str) -> Sandbox:
    """Return the sandbox in ``text``, which was found under ``key``.

    Raises:
        MalformedRecordError: It is not a record, or one of a form this version does not know.
    """
    try:
        found = _object(json.loads(text))
        known = {name: read(found[name]) for name, read in _READERS.items() if name in found}
        return Sandbox(**known)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise MalformedRecordError(key, str(error)) from error


def owner_of(text: str) -> str:
    """Return the owner named in a record that could not be decoded, as far as it can be known."""
    try:
        return _text(_object(json.loads(text)).get("owner_id", ""))
    except (ValueError, TypeError, RecursionError):
        return ""


def _plain(value: Any) -> Any:
    if not isinstance(value, datetime):
        return value
    if value.utcoffset() is None:
        raise ValueError(f"a record's times must have a time zone, got {value!r}")
    return value.astimezone(UTC).isoformat(timespec="microseconds")


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"expected an object, got {type(value).__name__}")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, got {type(value).__name__}")
    return value


def _number(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"expected a whole number, got {type(value).__name__}")
    return value


def _time(value: Any) -> datetime:
    time = datetime.fromisoformat(_text(value))
    if time.utcoffset() is None:
        raise ValueError(f"a time without a zone: {value}")
    return time.astimezone(UTC)


def _maybe_time(value: Any) -> datetime | None:
    return None if value is None else _time(value)


def _texts(value: Any) -> dict[str, str]:
    return {name: _text(text) for name, text in _object(value).items()}


def _one_of(choices: tuple[str, ...]) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in choices:
            raise ValueError(f"expected one of {', '.join(choices)}")
        return _text(value)

    return read


_READERS: dict[str, Callable[[Any], Any]] = {
    "id": _text,
    "state": SandboxState,
    "provider": _text,
    "image": _text,
    "memory_mb": _number,
    "vcpus": _number,
    "created_at": _time,
    "expires_at": _time,
    "owner_id": _text,
    "metadata": _texts,
    "preview_domain": _text,
    "network": _one_of(get_args(Network)),
    "runtime": _text,
    "workspace": _one_of(get_args(Workspace)),
    "ended_at": _maybe_time,
    "reason": _text,
}
