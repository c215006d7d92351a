"""From what a caller asks for to what is made: defaults, limits, and the first record."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from stacyvm.config import Settings
from stacyvm.domain.errors import (
    InvalidRequestError,
    LimitExceededError,
    TemplateNotFoundError,
)
from stacyvm.domain.sandbox import (
    Network,
    Sandbox,
    SandboxSpec,
    SandboxState,
    Workspace,
    check_owner,
    check_ttl,
    new_sandbox_id,
)

# From a started container to the agent's hello, in seconds. A busy engine is slow, not dead.
HELLO_TIMEOUT = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class SpawnRequest:
    """What a caller asks for; zero, empty and None mean the server's default."""

    image: str = ""
    provider: str = ""
    memory_mb: int = 0
    vcpus: int = 0
    ttl: float | None = None  # seconds
    owner_id: str = ""
    template: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict, repr=False)
    network: Network | None = None
    runtime: str = ""
    workspace: Workspace = "disk"
    disk_mb: int | None = None
    read_only: bool = False


def plan(
    request: SpawnRequest, settings: Settings, *, provider: str, now: datetime
) -> tuple[Sandbox, SandboxSpec]:
    """Return the record to reserve and what the provider shall create.

    Raises:
        InvalidRequestError: A value makes no sense.
        LimitExceededError: A size or time is above the server's maximum.
        TemplateNotFoundError: A template is named.
    """
    if request.template:
        raise TemplateNotFoundError(request.template)
    ttl = settings.default_ttl if request.ttl is None else request.ttl
    check_ttl(ttl, max_ttl=settings.max_ttl)
    if request.runtime and request.runtime not in settings.runtimes:
        raise InvalidRequestError(
            f'invalid input: runtime "{request.runtime}" is not among those allowed: '
            f"{', '.join(settings.runtimes) or 'none'} (STACYVM_RUNTIMES)"
        )
    sandbox = Sandbox(
        id=new_sandbox_id(),
        state=SandboxState.CREATING,
        provider=provider,
        image=request.image or settings.default_image,
        memory_mb=_within(
            "memory_mb",
            request.memory_mb or settings.default_memory_mb,
            16,
            settings.max_memory_mb,
        ),
        vcpus=_within("vcpus", request.vcpus or settings.default_vcpus, 1, settings.max_vcpus),
        created_at=now,
        # What is still being created when this passes is stuck, and reaped.
        expires_at=now + timedelta(seconds=ttl + settings.pull_timeout + HELLO_TIMEOUT),
        owner_id=check_owner(request.owner_id),
        metadata=request.metadata,
        preview_domain=settings.preview_domain,
        network=request.network or "none",
        runtime=request.runtime,
        workspace=request.workspace,
    )
    disk_mb = settings.default_disk_mb if request.disk_mb is None else request.disk_mb
    spec = SandboxSpec(
        id=sandbox.id,
        image=sandbox.image,
        memory_mb=sandbox.memory_mb,
        vcpus=sandbox.vcpus,
        pids=settings.default_pids,
        ttl=ttl,
        network=sandbox.network,
        runtime=sandbox.runtime,
        workspace=sandbox.workspace,
        disk_mb=_within("disk_mb", disk_mb, 0, settings.max_disk_mb or disk_mb),
        read_only=request.read_only,
        env=request.env,
        metadata=sandbox.metadata,
    )
    return sandbox, spec


def _within(name: str, value: int, low: int, high: int) -> int:
    if value < low:
        raise InvalidRequestError(f"invalid input: {name} must be at least {low}, got {value}")
    if value > high:
        raise LimitExceededError(f"{name} {value} is above the server's maximum {high}")
    return value
