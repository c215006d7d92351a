"""From the command line to a running agent."""

from __future__ import annotations

import os
import sys

from stacyvm.agent.guardian import Guardian, fork_guardian
from stacyvm.agent.options import OptionError, Options
from stacyvm.agent.privileges import StartError, close_inherited, enter, initial_environment

_USAGE = 64
_CANNOT_START = 70


def main(arguments: list[str]) -> int:
    """Run an agent on stdin and stdout; return its exit status."""
    try:
        options = Options(arguments)
    except OptionError as error:
        return _refuse(_USAGE, error)
    try:
        return _serve(options, _guarded(options))
    except StartError as error:
        return _refuse(_CANNOT_START, error)


def _guarded(options: Options) -> Guardian | None:
    """Get a guardian where the agent is about to become the guest's own user.

    It ends a sandbox by its own end, so it is of use only where all depends on this process.
    """
    if options.contained and options.uid is not None and os.getuid() == 0:
        return fork_guardian(options.uid, options.lease_ms)
    return None


def _serve(options: Options, guardian: Guardian | None) -> int:
    # Loaded only now: the guardian has no use for it.
    from stacyvm.agent.agent import Agent
    from stacyvm.agent.paths import Paths

    paths = Paths(options.workspace, options.path_map)
    close_inherited()
    environment = initial_environment()
    enter(paths.home, options.uid)
    return Agent(options, paths, environment, guardian).run()


def run() -> None:
    """Be the process: ends it at once, as worker threads may still be waiting for something."""
    status = main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(status)


def _refuse(status: int, error: Exception) -> int:
    sys.stderr.write(f"stacyvm agent: {error}\n")
    return status
