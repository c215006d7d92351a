"""``stacyvm doctor``."""

import asyncio
import socket
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from shutil import disk_usage

import click

from stacyvm.cli.errors import ExitCode
from stacyvm.cli.machine import commands, engine, runtimes
from stacyvm.cli.machine.engine import Engine
from stacyvm.cli.settings import read_settings
from stacyvm.cli.tables import print_json, print_table
from stacyvm.cli.text import size
from stacyvm.config import Settings
from stacyvm.domain.errors import StacyError
from stacyvm.providers.images.builder import Status, states
from stacyvm.providers.images.engine import connected
from stacyvm.store.connect import connect
from stacyvm.store.sandboxes import SandboxStore

_LITTLE_DISK = 2 * 2**30  # bytes; the images and a few workspaces
_NO_DISK = 200 * 2**20  # bytes; Redis could not write its file


class Verdict(StrEnum):
    """What a check found."""

    OK = "ok"
    WARN = "warn"  # it works, with less
    FAIL = "fail"  # the server or its sandboxes will not work


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: what was found, and what to do about it."""

    check: str
    verdict: Verdict
    found: str
    todo: str = ""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(as_json: bool) -> None:
    """Check this machine and say what to do.

    Looks at what a server with these settings stands on. Exit status 1 when something fails.
    """
    settings = read_settings({})
    findings = [check(settings) for check in CHECKS]
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        print_table(
            ("CHECK", "", "FOUND", "TO DO"),
            [(one.check, one.verdict, one.found, one.todo or "-") for one in findings],
        )
    if any(finding.verdict is Verdict.FAIL for finding in findings):
        sys.exit(ExitCode.FAILED)


def check_engine(settings: Settings) -> Finding:
    """Look for the Docker engine."""
    missing = Verdict.FAIL if settings.provider == "docker" else Verdict.WARN
    match engine.state(settings.docker_host):
        case Engine.ANSWERS:
            with connected(settings.docker_host, timeout=10) as client:
                version = client.version()
            found = f"Docker {version['Version']}, API {version['ApiVersion']}"
            return Finding("engine", Verdict.OK, found)
        case Engine.DENIED:
            todo = "run `stacyvm setup`, or join the group docker and log in again"
            return Finding("engine", missing, "it is there, but not for this user", todo)
        case Engine.ABSENT:
            todo = "run `stacyvm setup`, or use `--provider local` for code you trust"
            return Finding("engine", missing, "no Docker engine answers", todo)


def check_images(settings: Settings) -> Finding:
    """Compare the images in the engine with their recipes."""
    needed = settings.provider == "docker"
    try:
        with connected(settings.docker_host, timeout=10) as client:
            found = states(client)
    except StacyError:
        verdict = Verdict.FAIL if needed else Verdict.WARN
        return Finding("images", verdict, "unknown without an engine", "see engine")
    text = ", ".join(f"{state.image} {state.status}" for state in found)
    if any(state.status is Status.MISSING for state in found):
        verdict = Verdict.FAIL if needed else Verdict.WARN
        return Finding("images", verdict, text, "run `stacyvm images build`")
    if any(state.status is Status.OUTDATED for state in found):
        return Finding("images", Verdict.WARN, text, "run `stacyvm images build`")
    return Finding("images", Verdict.OK, text)


def check_redis(settings: Settings) -> Finding:
    """Reach the Redis of the settings, or look for a server to start."""
    if settings.redis_url:
        return asyncio.run(_ping_redis(settings.redis_url))
    found = commands.find("redis-server", "valkey-server")
    if found:
        return Finding("redis", Verdict.OK, f"{found}, started by the server")
    todo = "run `stacyvm setup`, install redis-server or valkey-server, or set STACYVM_REDIS_URL"
    return Finding("redis", Verdict.FAIL, "no Redis or Valkey server is installed", todo)


async def _ping_redis(url: str) -> Finding:
    redis = connect(url)
    try:
        seconds = await SandboxStore(redis, instance="doctor", retention=1).ping()
    except StacyError as error:
        return Finding("redis", Verdict.FAIL, error.message, "see STACYVM_REDIS_URL")
    finally:
        await redis.aclose()
    return Finding("redis", Verdict.OK, f"STACYVM_REDIS_URL answers in {seconds * 1000:.1f} ms")


def check_disk(settings: Settings) -> Finding:
    """Look at the space left where the server and the engine keep things."""
    folders = {str(_existing(settings.data_dir)), str(_existing(Path("/var/lib/docker")))}
    free = {folder: disk_usage(folder).free for folder in sorted(folders)}
    text = ", ".join(f"{size(left)} free in {folder}" for folder, left in free.items())
    least = min(free.values())
    if least < _NO_DISK:
        return Finding("disk", Verdict.FAIL, text, "make space")
    if least < _LITTLE_DISK:
        return Finding("disk", Verdict.WARN, text, "make space")
    return Finding("disk", Verdict.OK, text)


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.is_dir())


def check_gvisor(settings: Settings) -> Finding:
    """Look for gVisor among the engine's runtimes."""
    try:
        with connected(settings.docker_host, timeout=10) as client:
            known = client.info().get("Runtimes", {})
    except StacyError:
        return Finding("gvisor", Verdict.WARN, "unknown without an engine", "see engine")
    if "runsc" in known:
        return Finding("gvisor", Verdict.OK, "the engine has the runtime runsc")
    todo = "for `runtime: runsc`, install gVisor and run `stacyvm setup --dev`"
    return Finding("gvisor", Verdict.WARN, "the engine has no runtime runsc", todo)


def check_bubblewrap(settings: Settings) -> Finding:
    """Look for what fences in sandboxes of the local provider."""
    if found := commands.find("bwrap"):
        return Finding("bubblewrap", Verdict.OK, found)
    text = "not installed; the local provider's sandboxes have no fence"
    return Finding("bubblewrap", Verdict.WARN, text, "install the package bubblewrap")


def check_runtimes(settings: Settings) -> Finding:
    """Look for the JavaScript engines the local provider runs."""
    if lacking := runtimes.missing():
        verdict = Verdict.FAIL if settings.provider == "local" else Verdict.WARN
        todo = "run `STACYVM_PROVIDER=local stacyvm setup`"
        text = f"{', '.join(lacking)} not installed; only the local provider needs it"
        return Finding("runtimes", verdict, text, todo)
    return Finding("runtimes", Verdict.OK, "Node and QuickJS for the local provider")


def check_port(settings: Settings) -> Finding:
    """Try to listen where the server would."""
    where = f"{settings.host}:{settings.port}"
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as listener:
        # As the server does: an address that was in use a moment ago is free.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((settings.host, settings.port))
        except OSError as error:
            todo = "if that is not a running stacyvm, choose another with STACYVM_PORT"
            return Finding("port", Verdict.WARN, f"{where}: {error.strerror}", todo)
    return Finding("port", Verdict.OK, f"{where} is free")


CHECKS: tuple[Callable[[Settings], Finding], ...] = (
    check_engine,
    check_images,
    check_redis,
    check_disk,
    check_gvisor,
    check_bubblewrap,
    check_runtimes,
    check_port,
)
