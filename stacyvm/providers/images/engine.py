"""A connection to the Docker engine for set-up work: synchronous, with long time limits."""

from collections.abc import Iterator
from contextlib import contextmanager

import docker
from docker.errors import APIError, DockerException

from stacyvm.domain.errors import UnavailableError

# Seconds without a sign of life from the engine; an import of 100 MB on a busy disk is one silence.
SILENCE = 600.0


@contextmanager
def connected(docker_host: str = "", *, timeout: float = SILENCE) -> Iterator[docker.DockerClient]:
    """Give a client of an engine that answers.

    Args:
        docker_host: As in ``DOCKER_HOST``; empty means that variable, else the local socket.
        timeout: Longest silence of the engine, in seconds.

    Raises:
        UnavailableError: No engine answers there; its cause says why.
    """
    try:
        client = _client(docker_host, timeout)
    except DockerException as error:
        raise UnavailableError(f"The Docker engine does not answer: {reason(error)}.") from error
    try:
        yield client
    finally:
        client.close()


def _client(docker_host: str, timeout: float) -> docker.DockerClient:
    seconds = max(1, round(timeout))
    if docker_host:
        return docker.DockerClient(base_url=docker_host, version="auto", timeout=seconds)
    return docker.from_env(version="auto", timeout=seconds)


def reason(error: BaseException) -> str:
    """Return the engine's own words, else the innermost cause, which says most."""
    if isinstance(error, APIError) and error.explanation:
        return str(error.explanation).rstrip(".")
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__ or error
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).rstrip(".")
