"""The border where Redis' own errors become ours."""

from collections.abc import Iterator
from contextlib import contextmanager

from redis import exceptions

from stacyvm.domain.errors import StacyError, UnavailableError

# Answers of a Redis that is there but cannot serve now: full, a replica, or failing over.
_NOT_NOW = (
    exceptions.OutOfMemoryError,
    exceptions.ReadOnlyError,
    exceptions.ClusterDownError,
    exceptions.TryAgainError,
)
# It refuses writes because it cannot keep them (disk full); redis-py has no class for this one.
_CANNOT_KEEP = "MISCONF"


@contextmanager
def redis_errors() -> Iterator[None]:
    """Translate whatever redis-py raises inside the block.

    redis-py's messages name the host or the socket, never user or password, so they may be shown.

    Raises:
        UnavailableError: Redis does not answer, refuses the credentials, or cannot serve now.
        StacyError: It answered with any other error: a bug, or keys that are not ours.
    """
    try:
        yield
    except (exceptions.ConnectionError, exceptions.TimeoutError, OSError) as error:
        # While connecting, redis-py wraps what went wrong.
        if isinstance(error.__cause__ or error, exceptions.AuthenticationError):
            raise UnavailableError("Redis refuses the credentials in STACYVM_REDIS_URL") from error
        raise UnavailableError(f"Redis does not answer: {error}") from error
    except _NOT_NOW as error:
        raise UnavailableError(f"Redis cannot serve now: {error}") from error
    except exceptions.ResponseError as error:
        if str(error).startswith(_CANNOT_KEEP):
            raise UnavailableError(f"Redis cannot serve now: {error}") from error
        raise StacyError(f"Redis refused a command: {error}") from error
    except exceptions.RedisError as error:
        raise StacyError(f"Redis failed: {error}") from error
