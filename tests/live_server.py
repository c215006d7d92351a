"""A real ``stacyvm serve`` in a process of its own, to be killed and started again."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from stacyvm_sdk import Client

START_TIMEOUT = 60.0  # seconds
STOP_TIMEOUT = 30.0


class LiveServer:
    """One data directory, and a server on it that may come and go."""

    def __init__(self, folder: Path, instance: str, **settings: str) -> None:
        self.data_dir = folder / "data"
        self.log = folder / "serve.log"
        self.settings = settings
        self.url = ""
        self.process: subprocess.Popen[bytes] | None = None
        self.data_dir.mkdir(mode=0o700, parents=True)
        (self.data_dir / "instance").write_text(instance)

    def start(self) -> None:
        """Start the server and wait until it says where it listens."""
        environment = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "STACYVM_DATA_DIR": str(self.data_dir),
            "STACYVM_PORT": "0",
            **{f"STACYVM_{name.upper()}": value for name, value in self.settings.items()},
        }
        start = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [Path(sys.executable).with_name("stacyvm"), "serve"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline and self.process.poll() is None:
            if found := re.search(r"http://127\.0\.0\.1:\d+", self.text()[start:]):
                self.url = found[0]
                return
            time.sleep(0.05)
        raise AssertionError(f"the server did not start:\n{self.text()[start:]}")

    def text(self) -> str:
        """Return all that the server has printed."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def kill(self) -> None:
        """``kill -9``: nothing is tidied up."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.process = None

    def stop(self) -> int:
        """Ask the server to stop, and return its exit status. Idempotent."""
        if self.process is None:
            return 0
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the server did not stop:\n{self.text()[-4000:]}") from None
        finally:
            self.process = None

    def client(self) -> Client:
        """Return a client of the running server."""
        return Client(self.url)

    def destroy_all(self) -> None:
        """Destroy every sandbox on record; starts the server first where it is down."""
        if self.process is None:
            self.start()
        with self.client() as client:
            for info in client.list():
                client.get(info.id).destroy()
