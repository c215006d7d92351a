"""Debian packages: what is missing, and installing it."""

from collections.abc import Sequence

from stacyvm.cli.errors import CommandError
from stacyvm.cli.machine import commands
from stacyvm.cli.machine.rights import root_prefix

_ENVIRONMENT = ["env", "DEBIAN_FRONTEND=noninteractive"]
_INSTALL = ["apt-get", "install", "-y", "--no-install-recommends"]


def available(package: str) -> bool:
    """Return whether apt knows a version of the package that could be installed."""
    policy = commands.capture(["apt-cache", "policy", package]) or ""
    return "Candidate:" in policy and "Candidate: (none)" not in policy


def install(packages: Sequence[str]) -> None:
    """Install packages as root, showing progress.

    Raises:
        CommandError: There is no apt, no right to use it, or it failed.
    """
    names = " ".join(packages)
    if commands.find("apt-get") is None:
        raise CommandError(
            f"{names} cannot be installed: this system has no apt",
            hint="Install the Docker engine and Redis or Valkey by the means of your system.",
        )
    root = root_prefix(
        f"Installing {names}", ["apt-get update", f"{' '.join(_INSTALL[:3])} {names}"]
    )
    apt = [*root, *_ENVIRONMENT]
    commands.run([*apt, "apt-get", "update"], "Updating the list of packages")
    commands.run(
        [*apt, *_INSTALL, *packages],
        f"Installing {names}",
        headings=("The following NEW", "Need to get", "Setting up"),
    )
