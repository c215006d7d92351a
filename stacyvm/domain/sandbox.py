"""A sandbox: one isolated lease a user owns, and the rules about it."""

import re
import secrets
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal

from stacyvm.domain.errors import (
    InvalidRequestError,
    LimitExceededError,
    SandboxNotFoundError,
    SandboxNotRunningError,
)

Network = Literal["none", "open"]
Workspace = Literal["disk", "memory"]

_ID = re.compile(r"sb-[0-9a-f]{8}")
_OWNER = re.compile(r"[^/\\\s\x00-\x1f\x7f]{1,128}")


class SandboxState(StrEnum):
    """Where a sandbox is in its life. The values are the wire's."""

    CREATING = "creating"
    RUNNING = "running"
    UNHEALTHY = "unhealthy"
    EXPIRED = "expired"
    DESTROYED = "destroyed"
    ERROR = "error"

    @property
    def ended(self) -> bool:
        """True once nothing of the sandbox may be left in the engine."""
        return self in {SandboxState.EXPIRED, SandboxState.DESTROYED, SandboxState.ERROR}


@dataclass(frozen=True, kw_only=True, slots=True)
class SandboxSpec:
    """What a provider needs to create a sandbox.

    ``env`` may hold secrets: it goes to the sandbox only, never into a record, a log or an answer.
    """

    id: str
    image: str
    memory_mb: int = 1024
    vcpus: int = 1
    pids: int = 512
    ttl: float = 1800.0  # seconds until the agent ends the sandbox by itself unless renewed
    network: Network = "none"
    runtime: str = ""  # "" is the engine's default, "runsc" is gVisor
    workspace: Workspace = "disk"
    disk_mb: int = 0  # 0 is no limit; hard for a memory workspace, soft for one on disk
    read_only: bool = False
    uid: int = 1000
    env: dict[str, str] = field(default_factory=dict, repr=False)
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sandbox:
    """The record of a sandbox. All times are aware and in UTC."""

    id: str
    state: SandboxState
    provider: str
    image: str
    memory_mb: int
    vcpus: int
    created_at: datetime
    expires_at: datetime
    owner_id: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    preview_domain: str = ""
    network: Network = "none"
    runtime: str = ""
    workspace: Workspace = "disk"
    ended_at: datetime | None = None
    reason: str = ""  # why it is unhealthy or ended: "destroyed by request", "out of memory", ...

    def require_running(self) -> None:
        """Raise unless commands can be run now.

        Raises:
            SandboxNotFoundError: The sandbox has ended.
            SandboxNotRunningError: It is being created, or is unhealthy.
        """
        if self.state.ended:
            raise SandboxNotFoundError(self.id, ended=self.reason or self.state)
        if self.state is not SandboxState.RUNNING:
            raise SandboxNotRunningError(self.id, self.state, self.reason)

    def extended(self, *, now: datetime, ttl: float, max_ttl: float) -> "Sandbox":
        """Return a copy that expires ``ttl`` seconds from ``now``.

        Extending never shortens a life: if the present ``expires_at`` is later it is kept.

        Args:
            now: Current time, aware and in UTC.
            ttl: New time to live, in seconds; greater than 0.
            max_ttl: Longest ``ttl`` the server grants, in seconds.

        Raises:
            InvalidRequestError: ``ttl`` is not above 0.
            LimitExceededError: ``ttl`` is above ``max_ttl``.
            SandboxNotFoundError: The sandbox has ended, or its time has already passed.
            SandboxNotRunningError: It is being created, or is unhealthy.
        """
        check_ttl(ttl, max_ttl=max_ttl)
        self.require_running()
        if self.expires_at <= now:
            raise SandboxNotFoundError(self.id, ended="expired")
        return replace(self, expires_at=max(self.expires_at, now + timedelta(seconds=ttl)))


def check_ttl(ttl: float, *, max_ttl: float) -> None:
    """Raise unless ``ttl`` seconds may be granted.

    Raises:
        InvalidRequestError: ``ttl`` is not above 0.
        LimitExceededError: ``ttl`` is above ``max_ttl``.
    """
    if ttl <= 0:
        raise InvalidRequestError(f"ttl must be positive, got {ttl:g}s")
    if ttl > max_ttl:
        raise LimitExceededError(f"ttl {ttl:.12g}s is above max_ttl {max_ttl:.12g}s")


def new_sandbox_id() -> str:
    """Return a fresh random id, ``sb-`` and eight hexadecimal digits."""
    return f"sb-{secrets.token_hex(4)}"


def is_sandbox_id(text: str) -> bool:
    """Tell whether ``text`` has the form of a sandbox id."""
    return _ID.fullmatch(text) is not None


def check_owner(owner_id: str) -> str:
    """Return the owner id trimmed; empty means no owner.

    Raises:
        InvalidRequestError: Over 128 characters, or with a slash, space or control character.
    """
    owner = owner_id.strip()
    if owner and not _OWNER.fullmatch(owner):
        raise InvalidRequestError(
            "invalid input: owner id must be at most 128 characters without /, \\, "
            "white space or control characters"
        )
    return owner
