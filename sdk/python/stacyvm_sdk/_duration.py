"""Durations as the wire writes them."""

import math
import re
from datetime import timedelta

from stacyvm_sdk.models import Duration

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|ms|s|m|h)")


def write_duration(value: Duration) -> str:
    """Return the wire's text; text is passed on as it is, for the server to judge.

    Raises:
        ValueError: A number that is not finite.
    """
    if isinstance(value, str):
        return value
    seconds = value.total_seconds() if isinstance(value, timedelta) else float(value)
    if not math.isfinite(seconds):
        raise ValueError(f"a duration must be finite, got {seconds}")
    return f"{seconds:.9f}".rstrip("0").rstrip(".") + "s"


def seconds_of(value: Duration) -> float | None:
    """Return seconds, or None for text that is not a duration."""
    text = write_duration(value)
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return 0.0 if text == "0" else None
    return sum(float(number) * _UNITS[unit] for number, unit in parts)
