from collections.abc import Iterator

import pytest

from stacyvm.api.errors import STATUSES, BodyTooLargeError, status_of
from stacyvm.api.schemas import InvalidBodyError
from stacyvm.domain import errors


def _tree(base: type[errors.StacyError]) -> Iterator[type[errors.StacyError]]:
    yield base
    for sub in base.__subclasses__():
        yield from _tree(sub)


DOMAIN = [error for error in _tree(errors.StacyError) if error.__module__ == errors.__name__]


@pytest.mark.parametrize("error", DOMAIN)
def test_every_error_finds_its_status_before_the_last_resort(
    error: type[errors.StacyError],
) -> None:
    first = next(category for category, _ in STATUSES if issubclass(error, category))
    assert first is not errors.StacyError or error is errors.StacyError


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (InvalidBodyError([]), 400, "BAD_REQUEST"),
        (errors.InvalidPathError("x"), 400, "BAD_REQUEST"),
        (errors.UnauthorizedError("x"), 401, "UNAUTHORIZED"),
        (errors.ForbiddenError("x"), 403, "FORBIDDEN"),
        (errors.SandboxNotFoundError("sb-00000000"), 404, "NOT_FOUND"),
        (errors.DeadlineExceededError("x"), 408, "TIMEOUT"),
        (errors.ConflictError("x"), 409, "CONFLICT"),
        (BodyTooLargeError(5, "X"), 413, "PAYLOAD_TOO_LARGE"),
        (errors.LimitExceededError("x"), 429, "RESOURCE_LIMIT"),
        (errors.StorageFullError("x"), 507, "RESOURCE_LIMIT"),
        (errors.UnavailableError("x"), 503, "UNAVAILABLE"),
        (errors.ProviderError("x"), 502, "INTERNAL_ERROR"),
        (errors.AgentError("x"), 502, "INTERNAL_ERROR"),
        (errors.SandboxLostError("sb-00000000", "x"), 502, "SANDBOX_LOST"),
    ],
)
def test_statuses_and_codes_are_the_contracts(
    error: errors.StacyError, status: int, code: str
) -> None:
    assert (status_of(error), error.code) == (status, code)
