"""The Docker library's errors as domain errors."""

from collections.abc import Iterator
from contextlib import contextmanager

import requests
from docker.errors import APIError, DockerException
from urllib3.exceptions import HTTPError

from stacyvm.domain.errors import (
    ConflictError,
    InvalidRequestError,
    ProviderError,
    StacyError,
    UnavailableError,
)


@contextmanager
def translated(address: str) -> Iterator[None]:
    """Raise domain errors for what the Docker library raises inside the block.

    ``docker.errors.NotFound`` passes: what is missing only the caller knows.
    """
    try:
        yield
    except APIError as error:
        if error.status_code == requests.codes.not_found:
            raise
        raise _api_error(error) from error
    except requests.exceptions.Timeout as error:
        raise UnavailableError(f"Docker engine at {address} did not answer in time") from error
    except (requests.exceptions.RequestException, HTTPError, DockerException, OSError) as error:
        raise UnavailableError(does_not_answer(address)) from error


def does_not_answer(address: str) -> str:
    """Return the message for an engine that cannot be reached."""
    return (
        f"Docker engine does not answer at {address}: is dockerd running? "
        "`stacyvm doctor` tells more"
    )


def explanation(error: APIError) -> str:
    """Return what the engine says, for people."""
    return str(error.explanation or error.args[0] or "no explanation").strip()


def _api_error(error: APIError) -> StacyError:
    said = explanation(error)
    if error.status_code == requests.codes.bad_request:
        return InvalidRequestError(f"the Docker engine refuses: {said}")
    if error.status_code == requests.codes.conflict:
        return ConflictError(f"the Docker engine refuses: {said}")
    return ProviderError(f"the Docker engine failed: {said}")
