"""Templates, for synchronous and asynchronous code."""

import builtins

import httpx

from stacyvm_sdk._http import run, run_async
from stacyvm_sdk._wire import server
from stacyvm_sdk.models import Template


class TemplateManager:
    """The templates of a server, as ``Client.templates``."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def list(self) -> builtins.list[Template]:
        """List all templates."""
        return run(self._http, server.templates())

    def get(self, name: str) -> Template:
        """Fetch a template.

        Raises:
            TemplateNotFound: There is none of that name.
        """
        return run(self._http, server.template(name))

    def save(self, template: Template) -> Template:
        """Create a template, or update the one of that name."""
        return run(self._http, server.save_template(template))

    def delete(self, name: str) -> None:
        """Delete a template.

        Raises:
            TemplateNotFound: There is none of that name.
        """
        run(self._http, server.delete_template(name))


class AsyncTemplateManager:
    """The templates of a server, as ``AsyncClient.templates``."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def list(self) -> builtins.list[Template]:
        """List all templates."""
        return await run_async(self._http, server.templates())

    async def get(self, name: str) -> Template:
        """Fetch a template.

        Raises:
            TemplateNotFound: There is none of that name.
        """
        return await run_async(self._http, server.template(name))

    async def save(self, template: Template) -> Template:
        """Create a template, or update the one of that name."""
        return await run_async(self._http, server.save_template(template))

    async def delete(self, name: str) -> None:
        """Delete a template.

        Raises:
            TemplateNotFound: There is none of that name.
        """
        await run_async(self._http, server.delete_template(name))
