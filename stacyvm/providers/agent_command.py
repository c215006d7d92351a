"""The agent's command line, the same for all providers."""

from collections.abc import Sequence

from stacyvm.domain.sandbox import SandboxSpec

WORKSPACE = "/workspace"
_LONGEST_LEASE_MS = 2**53


def agent_command(
    program: Sequence[str], spec: SandboxSpec, *, uid: int | None, soft_disk: bool
) -> list[str]:
    """Return ``program`` with the agent's options.

    Args:
        program: Interpreter and zipapp.
        spec: Lease and limits are taken from it.
        uid: User the agent becomes if it starts as root; None leaves it what it is.
        soft_disk: Whether the agent has to watch the size of the workspace.
    """
    lease_ms = min(round(spec.ttl * 1000), _LONGEST_LEASE_MS)
    command = [*program, "--workspace", WORKSPACE, "--lease-ms", str(lease_ms)]
    if uid is not None:
        command += ["--uid", str(uid)]
    if soft_disk and spec.disk_mb:
        command += ["--disk-mb", str(spec.disk_mb)]
    return command
