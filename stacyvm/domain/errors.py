"""Every error stacyvm raises on purpose, as one tree.

::

    StacyError
    ├── InvalidRequestError        the caller's request makes no sense
    │   ├── InvalidPathError
    │   ├── NotAFileError
    │   └── NotADirectoryError_
    ├── UnauthorizedError          no key, or a wrong one
    ├── ForbiddenError             a right the caller does not have
    ├── NotFoundError
    │   ├── SandboxNotFoundError
    │   ├── ProviderNotFoundError
    │   ├── TemplateNotFoundError
    │   ├── ImageNotFoundError
    │   └── FileMissingError
    ├── ConflictError
    │   └── SandboxNotRunningError
    ├── LimitExceededError         a configured limit; trying later may help
    │   └── StorageFullError       the sandbox's own disk
    ├── DeadlineExceededError
    │   └── ExecTimeoutError       holds the partial output
    ├── UnavailableError           something we stand on is down
    ├── ProviderError              the engine failed
    └── AgentError                 the sandbox's agent failed or misbehaved
        ├── ChannelClosedError     the pipe to the agent is gone
        └── SandboxLostError       the sandbox died while something ran in it

Each class has a stable ``code`` (the contract's upper snake case) and carries facts as attributes;
``details()`` is what may be shown to the caller. HTTP statuses live in ``stacyvm.api.errors``.
"""

from typing import Any

from typing_extensions import override


class StacyError(Exception):
    """Base of everything raised on purpose."""

    code = "INTERNAL_ERROR"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def details(self) -> dict[str, Any]:
        """Return the facts the caller may see beside the message."""
        return {}


class InvalidRequestError(StacyError):
    """The request makes no sense."""

    code = "BAD_REQUEST"


class InvalidPathError(InvalidRequestError):
    """A path that cannot be used: empty, too long, with NUL or ``..``, or a symlink loop."""


class NotAFileError(InvalidRequestError):
    """A directory or a special file where a regular file is meant."""


class NotADirectoryError_(InvalidRequestError):  # noqa: N801, N818 - the builtin has the plain name
    """A file where a directory is meant."""


class UnauthorizedError(StacyError):
    """No API key, or a wrong one."""

    code = "UNAUTHORIZED"


class ForbiddenError(StacyError):
    """The caller is known but may not do this."""

    code = "FORBIDDEN"


class NotFoundError(StacyError):
    """What was named does not exist."""

    code = "NOT_FOUND"


class SandboxNotFoundError(NotFoundError):
    """No such sandbox, or one that has ended."""

    def __init__(self, sandbox_id: str, *, ended: str = "") -> None:
        super().__init__(
            f"sandbox destroyed: {sandbox_id} ({ended})"
            if ended
            else f"sandbox not found: {sandbox_id}"
        )
        self.sandbox_id = sandbox_id
        self.ended = ended

    @override
    def details(self) -> dict[str, Any]:
        """Return what was not found; clients tell the kinds of 404 apart by this key."""
        return {"sandbox_id": self.sandbox_id}


class ProviderNotFoundError(NotFoundError):
    """No provider of that name."""

    def __init__(self, name: str, known: list[str]) -> None:
        super().__init__(f"provider not found: {name} (known: {', '.join(known)})")
        self.name = name
        self.known = known

    @override
    def details(self) -> dict[str, Any]:
        """Return what was not found; clients tell the kinds of 404 apart by this key."""
        return {"provider": self.name}


class TemplateNotFoundError(NotFoundError):
    """No template of that name."""

    def __init__(self, name: str) -> None:
        super().__init__(f'not found: template "{name}"')
        self.name = name

    @override
    def details(self) -> dict[str, Any]:
        """Return what was not found; clients tell the kinds of 404 apart by this key."""
        return {"template": self.name}


class ImageNotFoundError(NotFoundError):
    """The image is not here and cannot be pulled."""

    def __init__(self, image: str, reason: str) -> None:
        super().__init__(f"image not found: {image}: {reason}")
        self.image = image
        self.reason = reason

    @override
    def details(self) -> dict[str, Any]:
        """Return what was not found; clients tell the kinds of 404 apart by this key."""
        return {"image": self.image}


class FileMissingError(NotFoundError):
    """No such file or directory inside the sandbox."""

    def __init__(self, path: str) -> None:
        super().__init__(f"file not found: {path}")
        self.path = path

    @override
    def details(self) -> dict[str, Any]:
        """Return what was not found; clients tell the kinds of 404 apart by this key."""
        return {"path": self.path}


class ConflictError(StacyError):
    """The request does not fit the present state."""

    code = "CONFLICT"


class SandboxNotRunningError(ConflictError):
    """The call needs a running sandbox."""

    def __init__(self, sandbox_id: str, state: str, why: str = "") -> None:
        super().__init__(
            f"sandbox {sandbox_id} is {state}, not running" + (f": {why}" if why else "")
        )
        self.sandbox_id = sandbox_id
        self.state = state


class LimitExceededError(StacyError):
    """A configured limit is reached."""

    code = "RESOURCE_LIMIT"

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(f"resource limit exceeded: {message}")
        self.retry_after = retry_after


class StorageFullError(LimitExceededError):
    """The sandbox's own disk or memory workspace is full."""


class DeadlineExceededError(StacyError):
    """Something took longer than it may."""

    code = "TIMEOUT"


class ExecTimeoutError(DeadlineExceededError):
    """A command ran into its time limit and was killed with its process group."""

    def __init__(
        self, sandbox_id: str, *, timeout: float, stdout: str, stderr: str, truncated: bool
    ) -> None:
        super().__init__(f"exec timeout: {sandbox_id} (after {timeout:g}s)")
        self.sandbox_id = sandbox_id
        self.timeout = timeout
        self.stdout = stdout
        self.stderr = stderr
        self.truncated = truncated

    @override
    def details(self) -> dict[str, Any]:
        """Return the output the command had produced, and the limit in seconds."""
        return {
            "stdout": self.stdout,
            "stderr": self.stderr,
            "truncated": self.truncated,
            "timeout_seconds": self.timeout,
        }


class UnavailableError(StacyError):
    """Something the server stands on (engine, Redis) does not answer."""

    code = "UNAVAILABLE"


class ProviderError(StacyError):
    """The engine refused or failed."""


class AgentError(StacyError):
    """The agent in the sandbox failed, or sent what it must not."""

    def __init__(self, message: str, *, agent_code: str = "") -> None:
        super().__init__(message)
        self.agent_code = agent_code


class ChannelClosedError(AgentError):
    """The pipe to the agent is gone: the sandbox died, or its channel was closed."""


class SandboxLostError(AgentError):
    """The sandbox died, or fell silent, while something ran in it; how that ended is unknown."""

    code = "SANDBOX_LOST"

    def __init__(self, sandbox_id: str, reason: str) -> None:
        super().__init__(f"sandbox {sandbox_id} was lost: {reason}")
        self.sandbox_id = sandbox_id
        self.reason = reason

    @override
    def details(self) -> dict[str, Any]:
        """Return which sandbox and why."""
        return {"sandbox_id": self.sandbox_id, "reason": self.reason}
