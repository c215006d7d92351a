"""The first moments: make the workspace, then give up root for good."""

from __future__ import annotations

import os


class StartError(Exception):
    """The agent cannot run here."""


def close_inherited() -> None:
    """Keep descriptors that were left open to the agent away from the guest's processes."""
    try:
        names = os.listdir("/proc/self/fd")
    except OSError:
        names = [str(number) for number in range(256)]
    for number in (int(name) for name in names):
        if number > 2:
            try:
                os.set_inheritable(number, False)
            except OSError:
                continue  # the listing's own, closed by now


def enter(workspace: bytes, uid: int | None) -> None:
    """Make ``workspace`` and go there; as root with a ``uid``, own it by that and become it.

    Raises:
        StartError: The workspace cannot be made, or root cannot be given up.
    """
    drop = uid is not None and os.getuid() == 0
    os.umask(0o022)
    try:
        os.makedirs(workspace, exist_ok=True)
        if drop and uid is not None:
            os.chown(workspace, uid, uid)
    except OSError as error:
        raise StartError(f"cannot make the workspace: {error}") from error
    if drop and uid is not None:
        become(uid)
    try:
        os.chdir(workspace)
    except OSError as error:
        raise StartError(f"cannot enter the workspace: {error}") from error


def become(uid: int) -> None:
    """Give up root for ``uid``, with no way back.

    Raises:
        StartError: Root is not there to be given up, or could be taken back.
    """
    try:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    except OSError as error:
        raise StartError(f"cannot become uid {uid}: {error}") from error
    try:
        os.setuid(0)
    except PermissionError:
        return
    raise StartError("root could be taken back")


def initial_environment() -> dict[bytes, bytes]:
    """Return the variables this process was started with; to be called before root is given up.

    ``os.environ`` may hold one more by now: Python sets LC_CTYPE where no locale is set.
    """
    try:
        with open("/proc/self/environ", "rb", buffering=0) as file:
            pairs = [entry.partition(b"=") for entry in file.readall().split(b"\0") if entry]
    except OSError:
        return dict(os.environb)
    return {name: value for name, _, value in pairs}


def guest_environment(initial: dict[bytes, bytes], home: bytes) -> dict[bytes, bytes]:
    """Return what every command inherits: the image's own variables, nothing of the agent's."""
    found = {k: v for k, v in initial.items() if k and not k.startswith(b"STACYVM_")}
    if found.get(b"HOME", b"") in {b"", b"/"} or (found[b"HOME"] == b"/root" and os.geteuid() != 0):
        found[b"HOME"] = home
    found.setdefault(b"PATH", b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    return found
