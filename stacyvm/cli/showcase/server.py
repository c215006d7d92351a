"""A server of the demo's own: a free port, a key nobody else has, a folder that goes away."""

import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from stacyvm.cli.connection import Connection
from stacyvm.cli.errors import CommandError

_START_LIMIT = 60.0  # seconds
_STOP_LIMIT = 30.0  # seconds
_ADDRESS = re.compile(r"listening on (http://\S+)")


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoServer:
    """A running server and where it keeps its state."""

    connection: Connection
    data_dir: Path

    @property
    def instance(self) -> str:
        """What the server labels its containers with."""
        return (self.data_dir / "instance").read_text().strip()


@contextmanager
def running_server(provider: str) -> Iterator[DemoServer]:
    """Run ``stacyvm serve`` while the block runs.

    Raises:
        CommandError: It does not come up, or does not stop; its log has been shown.
    """
    with tempfile.TemporaryDirectory(prefix="stacyvm-demo-") as folder:
        log, data_dir, key = Path(folder) / "serve.log", Path(folder) / "data", secrets.token_hex()
        process = _start(provider, data_dir, key, log)
        try:
            url = _address(process, log)
            yield DemoServer(connection=Connection(url=url, api_key=key), data_dir=data_dir)
        finally:
            _stop(process, log)


def _start(provider: str, data_dir: Path, key: str, log: Path) -> "subprocess.Popen[bytes]":
    environment = {
        **os.environ,
        "STACYVM_HOST": "127.0.0.1",
        "STACYVM_PORT": "0",
        "STACYVM_PROVIDER": provider,
        "STACYVM_DATA_DIR": str(data_dir),
        "STACYVM_API_KEY": key,
    }
    with log.open("wb") as output:
        # In a session of its own: Ctrl-C is for the demo, which then stops the server in order.
        return subprocess.Popen(
            [sys.executable, "-P", "-c", "from stacyvm.cli.main import main; main()", "serve"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _address(process: "subprocess.Popen[bytes]", log: Path) -> str:
    deadline = time.monotonic() + _START_LIMIT
    while time.monotonic() < deadline and process.poll() is None:
        if found := _ADDRESS.search(log.read_text(errors="replace")):
            return found[1]
        time.sleep(0.05)
    _show(log)
    raise CommandError("the server does not come up")


def _stop(process: "subprocess.Popen[bytes]", log: Path) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        status = process.wait(_STOP_LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        status = -signal.SIGKILL
    if status:
        _show(log)
        if sys.exception() is None:  # what went wrong before says more
            raise CommandError(f"the server ended with status {status}")


def _show(log: Path) -> None:
    for line in log.read_text(errors="replace").splitlines()[-30:]:
        click.echo(f"  | {line}", err=True)
