"""The agent's error codes as domain errors."""

from typing import Any

from stacyvm.domain.errors import (
    AgentError,
    ConflictError,
    FileMissingError,
    ForbiddenError,
    InvalidPathError,
    InvalidRequestError,
    LimitExceededError,
    NotADirectoryError_,
    NotAFileError,
    StacyError,
    StorageFullError,
)

_LONGEST_MESSAGE = 2000

_ERRORS: dict[str, type[StacyError]] = {
    "invalid_path": InvalidPathError,
    "invalid": InvalidRequestError,
    "not_a_file": NotAFileError,
    "is_a_directory": NotAFileError,
    "not_a_directory": NotADirectoryError_,
    "not_empty": ConflictError,
    "exists": ConflictError,
    "permission": ForbiddenError,
    "no_space": StorageFullError,
    "too_many": LimitExceededError,
    "busy": LimitExceededError,
}

_ABOUT_PATH = frozenset(
    {"not_a_file", "is_a_directory", "not_a_directory", "not_empty", "exists", "permission"}
)


def agent_error(frame: dict[str, Any], *, path: str = "") -> StacyError:
    """Return the domain error for an ``error`` frame.

    Args:
        frame: The frame; its fields may be of any type.
        path: The path the request was about, for messages that name it.
    """
    code, message = frame.get("code"), frame.get("message")
    code = code[:40] if isinstance(code, str) else ""
    message = message[:_LONGEST_MESSAGE] if isinstance(message, str) and message else code
    if code == "not_found":
        return FileMissingError(path or message)
    if code in _ABOUT_PATH and path and path not in message:
        message = f"{path}: {message}"
    if kind := _ERRORS.get(code):
        return kind(message)
    return AgentError(f"agent: {message or 'an error without a code'}", agent_code=code)
