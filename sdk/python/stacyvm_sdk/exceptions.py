"""Every error this package raises on purpose, as one tree.

::

    StacyVMError
    ├── InvalidRequest            the request makes no sense
    ├── Unauthorized              no API key, or a wrong one
    ├── Forbidden                 a right this key does not have
    ├── SandboxNotFound           404: what was named does not exist
    │   ├── FileNotFound          … a file in the sandbox
    │   ├── ImageNotFound         … an image
    │   ├── ProviderNotFound      … a provider
    │   └── TemplateNotFound      … a template
    ├── Conflict                  does not fit the present state
    ├── LimitExceeded             a configured limit; ``retry_after`` may be known
    ├── DeadlineExceeded          something took longer than it may
    │   └── ExecTimeout           a command; holds its partial output
    ├── ExecError                 a non-zero exit, only where ``check=True`` asked; holds the result
    ├── InvalidResponse           the server answered what this client does not understand
    ├── ProviderError             the server or its engine failed (5xx)
    │   ├── Unavailable           something the server stands on is down
    │   └── SandboxLost           the sandbox died while something ran in it
    └── ConnectionError           no connection, or no answer in time
        └── StreamInterrupted     a stream of output ended before its outcome

Which class is raised is decided by the answer's ``code`` and a closed table. Every 404 is a
:class:`SandboxNotFound`, as in StacyVM's own client, so ``except SandboxNotFound`` goes on
catching missing files and templates; catch the subclass first to tell them apart.
"""

import builtins
from collections.abc import Mapping
from typing import Any

from stacyvm_sdk.models import ExecResult


class StacyVMError(Exception):
    """Base of everything raised on purpose.

    Attributes:
        message: What happened, for people.
        code: The server's stable code, such as ``NOT_FOUND``; the client's own where no server
            answered, such as ``CONNECTION_ERROR``; None where there is none.
        details: Facts the server sent beside the message.
        status: HTTP status; 0 where no server answered.
        request_id: The server's id of this request; empty where there is none.
    """

    default_code: str | None = None

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.details: dict[str, Any] = {}
        self.status = 0
        self.request_id = ""

    def __str__(self) -> str:
        return self.message


class InvalidRequest(StacyVMError):  # noqa: N818 - no class here ends in Error but the contract's
    """The request makes no sense: a bad path, duration, type or value."""

    default_code = "BAD_REQUEST"


class Unauthorized(StacyVMError):  # noqa: N818
    """No API key, or a wrong one."""

    default_code = "UNAUTHORIZED"


class Forbidden(StacyVMError):  # noqa: N818
    """The key is good but does not give this right."""

    default_code = "FORBIDDEN"


class SandboxNotFound(StacyVMError):  # noqa: N818
    """No such sandbox, or one that has ended; its subclasses say what else is missing."""

    default_code = "NOT_FOUND"

    @property
    def sandbox_id(self) -> str:
        """The id that was not found; empty where the server did not say."""
        return str(self.details.get("sandbox_id", ""))


class FileNotFound(SandboxNotFound):
    """No such file or directory in the sandbox; the sandbox itself is there."""

    @property
    def path(self) -> str:
        """The path that was not found."""
        return str(self.details.get("path", ""))


class ImageNotFound(SandboxNotFound):
    """The image is not on the server and cannot be pulled."""


class ProviderNotFound(SandboxNotFound):
    """No provider of that name."""


class TemplateNotFound(SandboxNotFound):
    """No template of that name."""


class Conflict(StacyVMError):  # noqa: N818
    """The request does not fit the present state."""

    default_code = "CONFLICT"


class LimitExceeded(StacyVMError):  # noqa: N818
    """A configured limit is reached.

    Attributes:
        retry_after: Seconds after which trying again may help; None where the server did not say.
    """

    default_code = "RESOURCE_LIMIT"

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message, code)
        self.retry_after: float | None = None


class DeadlineExceeded(StacyVMError):  # noqa: N818
    """The server gave up waiting for something."""

    default_code = "TIMEOUT"


class ExecTimeout(DeadlineExceeded):
    """A command ran into its time limit and was killed with all its processes."""

    @property
    def stdout(self) -> str:
        """What the command had printed until then."""
        return str(self.details.get("stdout", ""))

    @property
    def stderr(self) -> str:
        """What the command had printed to standard error until then."""
        return str(self.details.get("stderr", ""))

    @property
    def truncated(self) -> bool:
        """True when the output was longer than the server keeps."""
        return self.details.get("truncated") is True


class ExecError(StacyVMError):
    """A command ended with a non-zero exit code and the caller asked with ``check=True``.

    Attributes:
        result: The whole result.
        command: The command as it was given.
    """

    default_code = "EXEC_FAILED"

    def __init__(self, result: ExecResult, command: str = "") -> None:
        how = f"was ended by {result.signal}" if result.signal else "failed"
        last = result.stderr.strip().rpartition("\n")[2][:200]
        super().__init__(
            f"command {command!r} {how} with exit code {result.exit_code}"
            + (f": {last}" if last else "")
        )
        self.args = (result, command)  # so that it can be pickled
        self.result = result
        self.command = command


class InvalidResponse(StacyVMError):  # noqa: N818
    """The server answered what this client does not understand."""

    default_code = "INVALID_RESPONSE"


class ProviderError(StacyVMError):
    """The server or its engine failed."""

    default_code = "INTERNAL_ERROR"


class Unavailable(ProviderError):  # noqa: N818
    """Something the server stands on, its engine or Redis, does not answer."""

    default_code = "UNAVAILABLE"


class SandboxLost(ProviderError):  # noqa: N818
    """The sandbox died while something ran in it; how that ended is unknown."""

    default_code = "SANDBOX_LOST"


class ConnectionError(StacyVMError, builtins.ConnectionError):  # noqa: A001 - the contract's name
    """The server cannot be reached, or did not answer in time."""

    default_code = "CONNECTION_ERROR"


class StreamInterrupted(ConnectionError):  # noqa: N818
    """A stream of output ended before its outcome; how the command ended is unknown."""

    default_code = "STREAM_INTERRUPTED"


_BY_CODE: dict[str, type[StacyVMError]] = {
    "BAD_REQUEST": InvalidRequest,
    "PAYLOAD_TOO_LARGE": InvalidRequest,
    "UNAUTHORIZED": Unauthorized,
    "FORBIDDEN": Forbidden,
    "NOT_FOUND": SandboxNotFound,
    "TIMEOUT": DeadlineExceeded,
    "CONFLICT": Conflict,
    "RESOURCE_LIMIT": LimitExceeded,
    "INTERNAL_ERROR": ProviderError,
    "UNAVAILABLE": Unavailable,
    "SANDBOX_LOST": SandboxLost,
}
# All of these have the one code NOT_FOUND on the wire; the details name what is missing.
_BY_MISSING: dict[str, type[SandboxNotFound]] = {
    "path": FileNotFound,
    "image": ImageNotFound,
    "provider": ProviderNotFound,
    "template": TemplateNotFound,
}


def make_error(
    body: Mapping[str, Any],
    *,
    status: int,
    headers: Mapping[str, str] | None = None,
) -> StacyVMError:
    """Return the error for the server's envelope ``{"code", "message", "details"?}``.

    Args:
        body: The envelope; missing or wrong fields are tolerated.
        status: The answer's HTTP status; 0 for an error line inside a stream.
        headers: The answer's headers, by lower-case name.
    """
    headers = headers or {}
    code, message, details = body.get("code"), body.get("message"), body.get("details")
    code = code if isinstance(code, str) else ""
    details = details if isinstance(details, dict) else {}
    message = f"{message or f'HTTP status {status}'}{_problems(details)}"
    error = _choose(code, status, details)(message, code or None)
    error.details = details
    error.status = status
    error.request_id = str(body.get("request_id") or headers.get("x-request-id", ""))
    if isinstance(error, LimitExceeded):
        after = headers.get("retry-after", "")
        error.retry_after = float(after) if after.isdecimal() else None
    return error


def _problems(details: Mapping[str, Any]) -> str:
    """Return what is wrong with which field of the request, where the server said."""
    given = details.get("problems")
    problems = [one for one in given if isinstance(one, dict)] if isinstance(given, list) else []
    told = ((one.get("field"), one.get("problem")) for one in problems[:5])
    text = "; ".join(f"{field}: {problem}" if field else f"{problem}" for field, problem in told)
    return f": {text}" if text else ""


def _choose(code: str, status: int, details: Mapping[str, Any]) -> type[StacyVMError]:
    chosen = _BY_CODE.get(code) or _by_status(status)
    if chosen is SandboxNotFound:
        return next((kind for key, kind in _BY_MISSING.items() if key in details), chosen)
    if chosen is DeadlineExceeded and "stdout" in details:
        return ExecTimeout
    return chosen


def _by_status(status: int) -> type[StacyVMError]:
    """Return the contract's class for an answer whose code is not in the table."""
    if status == 404:
        return SandboxNotFound
    if status == 401:
        return Unauthorized
    return ProviderError if status >= 500 else StacyVMError
