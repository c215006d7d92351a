"""Make the virtual environment in .venv, or leave it as it is when nothing has changed.

Usage: python3 stacyvm/cli/machine/environment.py [--dev]

Runs on any Python from 3.7 on, so that one that is too old can say so.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin/python"
STAMP = VENV / ".stacyvm-installed"
OLDEST = 11  # of Python 3
NEWEST = 14  # to look for by name
EXTRAS = {"base": ".", "dev": ".[dev]"}


def main() -> None:
    """Bring the environment up to date."""
    kind = "dev" if "--dev" in sys.argv[1:] else "base"
    os.chdir(ROOT)
    if not PYTHON.exists() or not succeeds(PYTHON, "-c", "import pip"):
        make(find_python())
    # What development needs holds all that running does.
    if installed() in {fingerprint(kind), fingerprint("dev")}:
        return
    say("Installing the Python packages into .venv, a minute or two the first time ...")
    began = time.monotonic()
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    packages = ["-e", "sdk/python", "-e", EXTRAS[kind]]
    if subprocess.call([*pip, "--progress-bar=off", *packages]):
        sys.exit("The Python packages cannot be installed; pip's message is above.")
    STAMP.write_text(fingerprint(kind))
    say(f"Installed the Python packages in {time.monotonic() - began:.0f} s.")


def say(text: str) -> None:
    """Tell the user, at once and in order with what the tools print."""
    print(text, file=sys.stderr, flush=True)


def succeeds(*command: str | Path) -> bool:
    """Return whether a quick check succeeds; what it prints is dropped."""
    quiet = subprocess.DEVNULL
    return subprocess.call(command, stdin=quiet, stdout=quiet, stderr=quiet) == 0


def find_python() -> str:
    """Return a Python that is new enough: the one running this, else one found by name."""
    if sys.version_info >= (3, OLDEST):
        return sys.executable
    for minor in range(NEWEST, OLDEST - 1, -1):
        found = shutil.which(f"python3.{minor}")
        # A version manager's shim can be there without the version.
        if found and succeeds(found, "-c", ""):
            return found
    running = ".".join(str(part) for part in sys.version_info[:2])
    sys.exit(
        f"Python 3.{OLDEST} or newer is needed; python3 is {running} and no newer one is installed."
    )


def make(python: str) -> None:
    """Make .venv anew, first installing Debian's package for that where it is missing."""
    say(f"Making the virtual environment .venv with {python}")
    if not succeeds(python, "-c", "import ensurepip, venv"):
        code = "import sys; print('python%d.%d-venv' % sys.version_info[:2])"
        install(subprocess.check_output([python, "-c", code]).decode().strip())
    if subprocess.call([python, "-m", "venv", "--clear", VENV]):
        sys.exit("The virtual environment cannot be made; the reason is above.")


def install(package: str) -> None:
    """Install a Debian package, as root or through sudo."""
    steps = [["apt-get", "update"], ["apt-get", "install", "-y", package]]
    if shutil.which("apt-get") is None:
        sys.exit("This Python lacks the modules venv and ensurepip; install them.")
    root = [] if os.geteuid() == 0 else ["sudo"]
    if root and not (shutil.which("sudo") and (sys.stdin.isatty() or succeeds("sudo", "-n", "id"))):
        by_hand = "".join(f"\n    {' '.join(step)}" for step in steps)
        sys.exit(
            f"{package} is missing and installing it needs root rights. As root, run:{by_hand}"
        )
    say(f"Installing the package {package} ...")
    for step in steps:
        command = [*root, "env", "DEBIAN_FRONTEND=noninteractive", *step]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode:
            sys.exit(f"{done.stdout.decode(errors='replace')}\n`{' '.join(step)}` failed.")


def installed() -> str:
    """Return the fingerprint of what is in .venv."""
    return STAMP.read_text() if STAMP.exists() else ""


def fingerprint(kind: str) -> str:
    """Return a hash of all that decides what is installed."""
    digest = hashlib.sha256(f"{kind}\0{VENV}\0".encode())
    for file in [ROOT / "pyproject.toml", *sorted(ROOT.glob("sdk/*/pyproject.toml"))]:
        digest.update(file.read_bytes())
    return digest.hexdigest()


main()
