"""Python client of stacyvm, self-hosted sandboxes.

::

    from stacyvm_sdk import Client

    with Client() as client, client.with_sandbox() as sandbox:
        print(sandbox.exec("echo hello").stdout)
"""

from stacyvm_sdk.client import Client
from stacyvm_sdk.exceptions import StacyVMError
from stacyvm_sdk.sandbox import Sandbox

__all__ = ["Client", "Sandbox", "StacyVMError"]
