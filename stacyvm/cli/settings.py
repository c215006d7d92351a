"""The settings as commands get them: options first, then the environment, then the defaults."""

from typing import Any

from pydantic import ValidationError

from stacyvm.cli.errors import CommandError, ExitCode
from stacyvm.config import Settings, variable


def read_settings(given: dict[str, Any]) -> Settings:
    """Return the settings: ``given`` first, then the environment, then the defaults.

    Raises:
        CommandError: A value cannot be used; names each option or variable, never the value,
            which may be a secret.
    """
    try:
        return Settings(**given)
    except ValidationError as error:
        problems = [
            f"{_source(str(problem['loc'][0]), given)}: {problem['msg']}"
            for problem in error.errors(include_input=False, include_url=False)
        ]
        raise CommandError("bad settings: " + "; ".join(problems), code=ExitCode.USAGE) from error


def _source(name: str, given: dict[str, Any]) -> str:
    return f"--{name.replace('_', '-')}" if name in given else variable(name)
