"""The agent's command line; by hand, as argparse alone takes longer to load than the agent."""

from __future__ import annotations


class OptionError(Exception):
    """The command line makes no sense."""


class Options:
    """How this agent runs. Sizes and times carry their unit in the name."""

    def __init__(self, arguments: list[str]) -> None:
        """Read ``--name value`` pairs and flags.

        Raises:
            OptionError: An unknown option, or a value out of range.
        """
        self.workspace = "/workspace"
        self.uid: int | None = None
        self.lease_ms = 60_000
        self.disk_mb = 0  # 0: no limit
        self.contained = False  # in a PID namespace of its own, where everything may be killed
        self.path_map: tuple[str, str] | None = None
        rest = iter(arguments)
        for name in rest:
            if name == "--contained":
                self.contained = True
                continue
            value = next(rest, None)
            if value is None:
                raise OptionError(f"{name} is unknown or needs a value")
            self._set(name, value)

    def _set(self, name: str, value: str) -> None:
        match name:
            case "--workspace":
                self.workspace = _absolute(value)
            case "--uid":
                self.uid = _number(name, value, 1, (1 << 32) - 2)
            case "--lease-ms":
                self.lease_ms = _number(name, value, 1, 1 << 53)
            case "--disk-mb":
                self.disk_mb = _number(name, value, 0, 1 << 40)
            case "--path-map":
                outer, _, inner = value.partition("=")
                self.path_map = (_absolute(outer), _absolute(inner))
            case _:
                raise OptionError(f"unknown option {name}")


def _absolute(path: str) -> str:
    if not path.startswith("/") or "\0" in path:
        raise OptionError(f"{path!r} is not an absolute path")
    return path.rstrip("/") or "/"


def _number(name: str, value: str, low: int, high: int) -> int:
    number = int(value) if value.isascii() and value.isdigit() and len(value) < 20 else -1
    if not low <= number <= high:
        raise OptionError(f"{name} must be an integer from {low} to {high}, not {value!r}")
    return number
