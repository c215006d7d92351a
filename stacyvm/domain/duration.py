"""Durations on the wire: Go's duration strings, read and written exactly.

Inside Python a duration is seconds as a float; these two functions are the border.
"""

import re
from decimal import Decimal

from stacyvm.domain.errors import InvalidRequestError

_NANOS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,  # U+00B5
    "μs": 1_000,  # U+03BC
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_PART = re.compile(r"([0-9]*)(\.[0-9]*)?([^0-9.]*)")
_LONGEST_TEXT = 100
_MAX_NANOS = 2**63 - 1


def parse_duration(text: str) -> float:
    """Read a duration such as ``1h30m``, ``1.5s`` or ``0``.

    Returns:
        Seconds; negative when the text has a minus sign.

    Raises:
        InvalidRequestError: The text is not a duration, or is beyond 292 years.
    """
    if len(text) > _LONGEST_TEXT:
        raise InvalidRequestError("time: invalid duration: too long")
    body = text[1:] if text[:1] in {"+", "-"} else text
    if body == "0":
        return 0.0
    if not body:
        raise InvalidRequestError(f'time: invalid duration "{text}"')
    nanos = 0
    while body:
        amount, body = _take(body, text)
        nanos += amount
    if nanos > _MAX_NANOS:
        raise InvalidRequestError(f'time: invalid duration "{text}"')
    return (-nanos if text[0] == "-" else nanos) / 1e9


def _take(body: str, text: str) -> tuple[int, str]:
    """Return the nanoseconds of the first number and unit of ``body``, and what follows them."""
    found = _PART.match(body)
    whole, fraction, unit = found.groups(default="") if found else ("", "", "")
    if not whole and fraction in {"", "."}:
        raise InvalidRequestError(f'time: invalid duration "{text}"')
    if not unit:
        raise InvalidRequestError(f'time: missing unit in duration "{text}"')
    if unit not in _NANOS:
        raise InvalidRequestError(f'time: unknown unit "{unit}" in duration "{text}"')
    number = Decimal((whole or "0") + (fraction if fraction != "." else ""))
    return int(number * _NANOS[unit]), body[len(whole) + len(fraction) + len(unit) :]


def format_duration(seconds: float) -> str:
    """Write seconds as Go does: ``0s``, ``1.5s``, ``127.123456ms``, ``24h0m0s``."""
    nanos = round(seconds * 1e9)
    if nanos == 0:
        return "0s"
    sign, nanos = ("-", -nanos) if nanos < 0 else ("", nanos)
    if nanos < _NANOS["s"]:
        unit = "ns" if nanos < _NANOS["us"] else "µs" if nanos < _NANOS["ms"] else "ms"
        return f"{sign}{_decimal(nanos, _NANOS[unit])}{unit}"
    minutes, rest = divmod(nanos, _NANOS["m"])
    hours, minutes = divmod(minutes, 60)
    head = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
    return f"{sign}{head}{_decimal(rest, _NANOS['s'])}s"


def _decimal(nanos: int, unit: int) -> str:
    whole, rest = divmod(nanos, unit)
    if not rest:
        return str(whole)
    digits = str(unit + rest)[1:]  # the unit is a power of ten, so these are all its places
    return f"{whole}.{digits.rstrip('0')}"
