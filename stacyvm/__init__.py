"""Self-hosted sandboxes for untrusted JavaScript and any other command.

The client is at hand here too: ``from stacyvm import Client``.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    import stacyvm_sdk  # late: the server, the agent and the CLI's start-up need no client

    if name in stacyvm_sdk.__all__:
        return getattr(stacyvm_sdk, name)
    raise AttributeError(f"module 'stacyvm' has no attribute {name!r}")


def __dir__() -> list[str]:
    import stacyvm_sdk

    return sorted({*globals(), *stacyvm_sdk.__all__})
