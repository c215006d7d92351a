"""How client commands reach the server: ``--url``, ``--api-key``, ``--user``."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, TypeVar

import click
from stacyvm_sdk.client import Client
from stacyvm_sdk.exceptions import StacyVMError

from stacyvm.cli.errors import CommandError

DEFAULT_URL = "http://127.0.0.1:7423"

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True, slots=True)
class Connection:
    """Where the server is and who asks."""

    url: str
    api_key: str | None = field(default=None, repr=False)
    user: str | None = None

    @contextmanager
    def client(self) -> Iterator[Client]:
        """Give an SDK client; its errors leave the block as command errors.

        Raises:
            CommandError: A call in the block failed in an expected way.
        """
        with (
            self.errors(),
            Client(self.url, api_key=self.api_key, user_id=self.user) as client,
        ):
            yield client

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn the SDK's errors into command errors."""
        try:
            yield
        except StacyVMError as error:
            raise CommandError.from_wire(error.code or "", error.message) from error

    def headers(self) -> dict[str, str]:
        """Return the headers that say who asks, for requests made without the SDK."""
        headers = {"X-API-Key": self.api_key, "X-User-ID": self.user}
        return {name: value for name, value in headers.items() if value}


def client_options(function: F) -> F:
    """Add the connection's options to a command and pass them as ``connection``."""

    @click.option(
        "--url",
        envvar="STACYVM_URL",
        default=DEFAULT_URL,
        show_default=True,
        show_envvar=True,
        help="The server.",
    )
    @click.option(
        "--api-key",
        envvar="STACYVM_API_KEY",
        metavar="KEY",
        show_envvar=True,
        help="The server's key. Better in the variable: other users can see the options.",
    )
    @click.option("--user", metavar="NAME", help="Act as this owner (X-User-ID).")
    @wraps(function)
    def wrapper(*args: Any, url: str, api_key: str | None, user: str | None, **kwargs: Any) -> Any:
        connection = Connection(url=url, api_key=api_key or None, user=user or None)
        return function(*args, connection=connection, **kwargs)

    return wrapper  # type: ignore[return-value]
