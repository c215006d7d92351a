"""What a provider must do: give a byte pipe to an agent, and clean up after it."""

from dataclasses import dataclass, field
from typing import Protocol

from stacyvm.domain.pipe import Pipe
from stacyvm.domain.sandbox import SandboxSpec

BASE_CAPABILITIES = ("spawn", "exec", "exec_stream", "files", "console", "health")


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A sandbox as the provider sees it, whether or not anything is on record."""

    id: str
    running: bool
    image: str = ""
    exit_code: int | None = None  # once it has stopped
    oom_killed: bool = False
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Health:
    """One health check of a provider."""

    healthy: bool
    latency: float  # seconds
    error: str = ""  # what to do about it, when unhealthy


class Provider(Protocol):
    """Where sandboxes come from. Every method may be called from many tasks at once."""

    @property
    def name(self) -> str:
        """The name clients use: ``docker``, ``local``."""
        ...

    @property
    def capabilities(self) -> tuple[str, ...]:
        """What ``GET /providers`` lists."""
        ...

    @property
    def config(self) -> dict[str, str]:
        """Facts for ``GET /providers/{name}``; no secrets."""
        ...

    async def create(self, spec: SandboxSpec) -> None:
        """Prepare a sandbox without starting it.

        When it raises or is cancelled, ``remove(spec.id)`` must still be called by the caller.

        Raises:
            ImageNotFoundError: The image is not here and cannot be pulled.
            InvalidRequestError: The engine refuses the spec (runtime, limits).
            UnavailableError: The engine does not answer.
            ProviderError: Anything else the engine says.
        """
        ...

    async def start(self, sandbox_id: str) -> Pipe:
        """Start a created sandbox and return the pipe to its agent, with nothing of it lost."""
        ...

    async def attach(self, sandbox_id: str) -> Pipe:
        """Return a new pipe to a running sandbox's agent; what it sent before may be lost.

        Raises:
            ProviderError: It is not running.
        """
        ...

    async def remove(self, sandbox_id: str) -> None:
        """Kill and remove everything of a sandbox, at once. Idempotent: unknown is success."""
        ...

    async def list(self) -> list[Found]:
        """Return all sandboxes of this server's instance, running or not, and nobody else's."""
        ...

    async def find(self, sandbox_id: str) -> Found | None:
        """Return one sandbox of this instance, or None."""
        ...

    async def healthy(self) -> Health:
        """Check the engine. Never raises."""
        ...

    async def close(self) -> None:
        """Let go of connections. Sandboxes stay, unless they cannot live without the server."""
        ...
