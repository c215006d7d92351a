"""Bubblewrap: namespaces for a sandbox without an engine and without root."""

import asyncio
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stacyvm.domain.sandbox import Network

GUEST_UID = 1000
_PROBE_TIMEOUT = 10.0
# What programs need to run and to speak TLS; nothing that tells of the machine's users.
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_ETC = (
    "alternatives",
    "ca-certificates",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "mime.types",
    "nsswitch.conf",
    "pki",
    "protocols",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
)
_ETC_OPEN = ("hosts", "resolv.conf")


@dataclass(frozen=True, kw_only=True, slots=True)
class Cage:
    """Where one sandbox's files are, and what else it may see."""

    hostname: str
    workspace: Path
    etc: Path  # a folder with passwd and group for the guest
    network: Network
    memory_mb: int = 0  # above 0 the workspace is in memory, of this size
    read_only: Sequence[Path] = ()  # seen at their own paths


def bubblewrap_path() -> str:
    """Return the path of ``bwrap``, or an empty string."""
    return shutil.which("bwrap") or ""


async def probe(bwrap: str) -> str:
    """Return why ``bwrap`` cannot be used here, or an empty string if it can.

    It may be installed and still not be permitted: user namespaces are often switched off.
    """
    if not bwrap:
        return "bubblewrap is not installed"
    command = [bwrap, *_namespaces("none"), "--ro-bind", "/", "/", "--proc", "/proc", "/bin/true"]
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_PROBE_TIMEOUT):
            _, said = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return f"bubblewrap did not end within {_PROBE_TIMEOUT:g}s"
    return "" if process.returncode == 0 else said.decode("utf-8", "replace").strip()[:200]


def cage_command(bwrap: str, cage: Cage) -> list[str]:
    """Return the command line before the program to run in ``cage``."""
    command = [bwrap, *_namespaces(cage.network), "--hostname", cage.hostname]
    for path in _SYSTEM:
        command += (
            ["--symlink", str(Path(path).readlink()), path]
            if Path(path).is_symlink()
            else ["--ro-bind-try", path, path]
        )
    for name in (*_ETC, *(_ETC_OPEN if cage.network == "open" else ())):
        command += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    for name in ("passwd", "group"):
        command += ["--ro-bind", str(cage.etc / name), f"/etc/{name}"]
    command += ["--proc", "/proc", "--dev", "/dev", *_in_memory("/tmp", 64, "1777")]  # noqa: S108
    for needed in (*interpreter_paths(), *cage.read_only):
        if not any(needed.is_relative_to(system) for system in _SYSTEM):
            command += ["--ro-bind", str(needed), str(needed)]
    command += (
        _in_memory("/workspace", cage.memory_mb, "0755")
        if cage.memory_mb
        else ["--bind", str(cage.workspace), "/workspace"]
    )
    return [*command, "--remount-ro", "/", "--chdir", "/workspace", "--"]


def write_etc(folder: Path) -> None:
    """Write the guest's ``passwd`` and ``group`` into ``folder``."""
    folder.mkdir(mode=0o755)
    user = f"user:x:{GUEST_UID}:{GUEST_UID}::/workspace:/bin/sh\n"
    (folder / "passwd").write_text(f"root:x:0:0::/:/bin/sh\n{user}")
    (folder / "group").write_text(f"root:x:0:\nuser:x:{GUEST_UID}:\n")


def interpreter() -> str:
    """Return the path of the running interpreter itself, outside any virtual environment."""
    return str(Path(sys.executable).resolve())


def interpreter_paths() -> tuple[Path, ...]:
    """Return the folders the running interpreter needs; they may lie in somebody's home."""
    return tuple({Path(sys.base_prefix).resolve(), Path(sys.base_exec_prefix).resolve()})


def _namespaces(network: Network) -> list[str]:
    apart = ["--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts"]
    if network == "none":
        apart.append("--unshare-net")
    return [
        *apart,
        "--unshare-cgroup-try",
        "--uid",
        str(GUEST_UID),
        "--gid",
        str(GUEST_UID),
        "--cap-drop",
        "ALL",
        "--die-with-parent",
        "--new-session",
    ]


def _in_memory(path: str, size_mb: int, mode: str) -> list[str]:
    return ["--perms", mode, "--size", str(size_mb * 2**20), "--tmpfs", path]
