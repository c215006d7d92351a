"""``python3 -I -S <this folder>/__main__.py``: the agent from its sources, as tests run it."""

import sys

if not __package__:
    # Isolated mode leaves the project's folder out of the path; and the package's own __init__
    # serves the client library, which an agent has no use for.
    _package = type(sys)("stacyvm")
    _package.__path__ = [__file__.rsplit("/", 2)[0]]
    sys.modules["stacyvm"] = _package

from stacyvm.agent.main import run

run()
