"""The errors and ``handle_response`` under the module name StacyVM's own Python client had."""

from stacyvm_sdk import handle_response
from stacyvm_sdk.exceptions import (
    ConnectionError,  # noqa: A004 - the contract's name
    ProviderError,
    SandboxNotFound,
    StacyVMError,
)

__all__ = [
    "ConnectionError",
    "ProviderError",
    "SandboxNotFound",
    "StacyVMError",
    "handle_response",
]
