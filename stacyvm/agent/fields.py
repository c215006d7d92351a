"""Checked reading of a request's fields; every function raises Failure ``invalid``."""

from __future__ import annotations

from stacyvm.agent.failure import Failure
from stacyvm.agent.frames import Frame, decode_data

_BIGGEST = 1 << 53  # what any JSON reader holds exactly


def text(frame: Frame, name: str) -> str:
    """Return a string that must be there."""
    value = frame.get(name)
    if type(value) is not str:
        raise Failure("invalid", f"{name} must be a string")
    return value


def boolean(frame: Frame, name: str) -> bool:
    """Return a boolean, False when absent."""
    value = frame.get(name, False)
    if type(value) is not bool:
        raise Failure("invalid", f"{name} must be true or false")
    return value


def optional(frame: Frame, name: str, low: int = 0, high: int = _BIGGEST) -> int | None:
    """Return an integer in [low, high], or None when absent or null."""
    value = frame.get(name)
    if value is None:
        return None
    if type(value) is not int or not low <= value <= high:
        raise Failure("invalid", f"{name} must be an integer from {low} to {high}")
    return value


def integer(frame: Frame, name: str, default: int, low: int = 0, high: int = _BIGGEST) -> int:
    """Return an integer in [low, high], ``default`` when absent."""
    value = optional(frame, name, low, high)
    return default if value is None else value


def required(frame: Frame, name: str, low: int = 0, high: int = _BIGGEST) -> int:
    """Return an integer in [low, high] that must be there."""
    value = optional(frame, name, low, high)
    if value is None:
        raise Failure("invalid", f"{name} is missing")
    return value


def data(frame: Frame) -> bytes:
    """Return the bytes of ``data``, empty when absent."""
    try:
        return decode_data(frame.get("data", ""))
    except ValueError as error:
        raise Failure("invalid", str(error)) from error


def raw(value: object, what: str) -> bytes:
    """Return a string as the bytes the kernel gets: no NUL, lone surrogates as the bytes meant."""
    if type(value) is not str:
        raise Failure("invalid", f"{what} must be a string")
    try:
        found = value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise Failure("invalid", f"{what} holds a character that no byte stands for") from error
    if b"\0" in found:
        raise Failure("invalid", f"{what} holds a NUL byte")
    return found
