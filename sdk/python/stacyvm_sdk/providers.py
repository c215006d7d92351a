"""Providers, for synchronous code."""

import builtins
from typing import Any

import httpx

from stacyvm_sdk._http import run
from stacyvm_sdk._wire import server


class ProviderManager:
    """The providers of a server."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def list(self) -> builtins.list[dict[str, Any]]:
        """List the providers with their health."""
        return run(self._http, server.providers())

    def test(self) -> dict[str, bool]:
        """Look at every provider's health now."""
        return run(self._http, server.test_providers())
