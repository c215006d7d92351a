"""The base image: pulled where a registry can be reached, else made from Debian's packages."""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import docker
import requests
from docker.errors import DockerException, ImageNotFound

from stacyvm.domain.errors import ProviderError, UnavailableError
from stacyvm.providers.images.engine import reason

BASE = "debian:trixie-slim"
SUITE = "trixie"
# What a registry behind a firewall gets before we make the image ourselves, in seconds.
PULL_SILENCE = 20
PULL_LIMIT = 300

# What makes the slim variant slim: no manuals, no translations, no documentation but copyrights.
_SLIM = (
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/man/*",
)

Report = Callable[[str], None]


def ensure_base(client: docker.DockerClient, report: Report) -> str:
    """Make sure the base image is there and return its id; one that is there is used as it is.

    Raises:
        UnavailableError: It cannot be pulled, and there is nothing to make it with.
        ProviderError: Making it failed.
    """
    try:
        return str(client.images.get(BASE).id)
    except ImageNotFound:
        report(f"Pulling {BASE}")
    problem = pull(client, report)
    if problem:
        report(f"No image registry can be used ({problem}); making {BASE} from Debian packages")
        make(client, report)
    return str(client.images.get(BASE).id)


def pull(client: docker.DockerClient, report: Report) -> str:
    """Pull the base image; return why it could not be pulled, or nothing on success."""
    repository, _, tag = BASE.partition(":")
    deadline = time.monotonic() + PULL_LIMIT
    patience = client.api.timeout
    client.api.timeout = PULL_SILENCE
    try:
        for event in client.api.pull(repository, tag=tag, stream=True, decode=True):
            if "error" in event:
                return str(event["error"])
            if time.monotonic() > deadline:
                return f"not done after {PULL_LIMIT} s"
            report(str(event.get("status", "")))
    except (DockerException, requests.RequestException) as error:
        return reason(error)
    finally:
        client.api.timeout = patience
    return ""


def make(client: docker.DockerClient, report: Report) -> None:
    """Make the base image with mmdebstrap and import it.

    Raises:
        UnavailableError: mmdebstrap is not installed.
        ProviderError: It failed.
    """
    program = shutil.which("mmdebstrap")
    if program is None:
        raise UnavailableError(
            f"{BASE} is not in the engine, cannot be pulled, and mmdebstrap is not there to make "
            "it; run `stacyvm setup`, or install the packages mmdebstrap and "
            "debian-archive-keyring."
        )
    with tempfile.TemporaryDirectory(prefix="stacyvm-base-") as folder:
        # mmdebstrap gives up root for apt's own user, who has to get through here.
        Path(folder).chmod(0o755)
        archive = Path(folder) / "base.tar"
        options = [f"--dpkgopt={option}" for option in _SLIM]
        command = [program, "--variant=minbase", "--include=ca-certificates", *options, SUITE]
        _run([*command, str(archive)], report)
        repository, _, tag = BASE.partition(":")
        report(f"Importing {BASE} into the engine")
        try:
            client.api.import_image_from_file(
                str(archive), repository=repository, tag=tag, changes='CMD ["bash"]'
            )
        except DockerException as error:
            raise ProviderError(f"The engine does not import {BASE}: {reason(error)}.") from error


def _run(command: list[str], report: Report) -> None:
    with subprocess.Popen(  # noqa: S603 - our own command line, nothing of a user's in it
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    ) as process:
        if process.stderr is not None:
            for line in process.stderr:
                report(line.rstrip())
    if process.returncode:
        raise ProviderError(f"mmdebstrap failed with status {process.returncode}.")
