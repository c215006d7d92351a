"""From the command line to a running agent."""

from __future__ import annotations

import os
import sys

from stacyvm.agent.agent import Agent
from stacyvm.agent.options import OptionError, Options
from stacyvm.agent.paths import Paths
from stacyvm.agent.privileges import StartError, close_inherited, enter, initial_environment

_USAGE = 64
_CANNOT_START = 70


def main(arguments: list[str]) -> int:
    """Run an agent on stdin and stdout; return its exit status."""
    try:
        options = Options(arguments)
    except OptionError as error:
        return _refuse(_USAGE, error)
    paths = Paths(options.workspace, options.path_map)
    close_inherited()
    environment = initial_environment()
    try:
        enter(paths.home, options.uid)
        agent = Agent(options, paths, environment)
        return agent.run()
    except StartError as error:
        return _refuse(_CANNOT_START, error)


def run() -> None:
    """Be the process: ends it at once, as worker threads may still be waiting for something."""
    status = main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(status)


def _refuse(status: int, error: Exception) -> int:
    sys.stderr.write(f"stacyvm agent: {error}\n")
    return status
