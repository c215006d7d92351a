"""Where sandboxes come from."""

from typing import Any


def __getattr__(name: str) -> Any:
    # StacyVM's own Python client had its ProviderManager in a module of this name. Late, because
    # the server needs no client.
    if name == "ProviderManager":
        from stacyvm_sdk.providers import ProviderManager

        return ProviderManager
    raise AttributeError(f"module 'stacyvm.providers' has no attribute {name!r}")
