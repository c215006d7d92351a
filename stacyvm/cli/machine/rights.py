"""The right to change the machine: being root, or sudo."""

import os
import sys

from stacyvm.cli.errors import CommandError, ExitCode
from stacyvm.cli.machine import commands


class MissingRightsError(CommandError):
    """Something needs root and there is no way to become it."""

    def __init__(self, wanted: str, by_hand: list[str]) -> None:
        super().__init__(
            f"{wanted} needs root rights; this is neither root nor a user of sudo",
            code=ExitCode.DENIED,
            hint="As root, run:" + "".join(f"\n    {line}" for line in by_hand),
        )


def root_prefix(wanted: str, by_hand: list[str]) -> list[str]:
    """Return what to put before a command so that it runs as root; nothing when we are root.

    Args:
        wanted: What it is for, as ``Installing docker.io``.
        by_hand: The commands to show to a user who has to find a root for them.

    Raises:
        MissingRightsError: There is no root, no sudo, or nobody to type its password.
    """
    if os.geteuid() == 0:
        return []
    if commands.find("sudo"):
        if commands.succeeds(["sudo", "-n", "true"]):
            return ["sudo", "-n"]
        if sys.stdin.isatty():
            return ["sudo"]
    raise MissingRightsError(wanted, by_hand)
