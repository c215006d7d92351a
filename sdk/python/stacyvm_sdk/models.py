"""What the client's methods give back, and what they take."""

from collections.abc import AsyncIterable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import BinaryIO, Literal, TypedDict

Duration = str | float | timedelta
"""The contract's text (``"1h30m"``, ``"1.5s"``), or seconds, or a timedelta."""

Content = str | bytes | bytearray | memoryview | BinaryIO | Iterable[bytes]
"""Bytes to send. Text goes as UTF-8; files and iterables are streamed, never held whole."""

AsyncContent = Content | AsyncIterable[bytes]
"""As :data:`Content`; files and plain iterables are read in a thread."""


class SpawnOptions(TypedDict, total=False):
    """The keyword arguments of ``spawn``, for functions that pass them on."""

    image: str | None
    provider: str | None
    memory_mb: int | None
    vcpus: int | None
    ttl: Duration | None
    owner_id: str | None
    template: str | None
    metadata: Mapping[str, str] | None
    env: Mapping[str, str] | None
    network: Literal["none", "open"] | None
    runtime: str | None
    workspace: Literal["disk", "memory"] | None
    disk_mb: int | None
    read_only: bool


class FileInfo(TypedDict):
    """A file in a sandbox, as the server describes it."""

    path: str
    name: str
    size: int
    mode: str
    is_dir: bool
    mod_time: str


@dataclass(frozen=True)
class ExecResult:
    """A finished command. A non-zero exit code is a result, not an error."""

    exit_code: int
    stdout: str
    stderr: str
    duration: str = ""
    truncated: bool = False  # the output was longer than the server keeps
    signal: str = ""  # "SIGKILL" and so on when a signal ended it

    @property
    def ok(self) -> bool:
        """True when the exit code is 0."""
        return self.exit_code == 0


@dataclass(frozen=True)
class ExecOutcome:
    """How a streamed command ended; its output has been yielded before."""

    exit_code: int
    duration: str = ""
    timed_out: bool = False
    truncated: bool = False
    signal: str = ""

    @property
    def ok(self) -> bool:
        """True when the exit code is 0."""
        return self.exit_code == 0


@dataclass(frozen=True)
class SandboxInfo:
    """The server's record of a sandbox. Times are RFC 3339 text."""

    id: str
    state: str
    provider: str
    image: str
    memory_mb: int = 512
    vcpus: int = 1
    created_at: str = ""
    expires_at: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    preview_domain: str = "localhost"
    owner_id: str = ""


@dataclass(frozen=True)
class SpawnAdmissionDecision:
    """Whether a spawn would be admitted now, and if not, why."""

    allowed: bool
    queueable: bool
    reason: str = ""
    active_sandboxes: int = 0
    max_sandboxes: int = 0
    active_owner_sandboxes: int = 0
    max_owner_sandboxes: int = 0
    max_ttl: str = ""


@dataclass(frozen=True)
class QuotaSummary:
    """How many owners have which quota."""

    total: int
    with_max_sandboxes: int = 0
    with_max_ttl: int = 0
    with_max_exec_timeout: int = 0


@dataclass
class Template:
    """A named recipe that sandboxes start from."""

    name: str
    image: str
    memory_mb: int = 512
    vcpus: int = 1
    ttl: str = "30m"
    provider: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
