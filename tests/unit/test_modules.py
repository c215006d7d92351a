"""Every module can be imported on its own, whichever comes first, and warns of nothing."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

# Forks once per module from an interpreter that has imported nothing of ours yet.
SCRIPT = """
import importlib, os, sys, traceback
failed = []
for name in sys.argv[1:]:
    child = os.fork()
    if not child:
        try:
            importlib.import_module(name)
        except BaseException:
            print(f"--- {name}", file=sys.stderr)
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        failed.append(name)
sys.exit(", ".join(failed) or 0)
"""


def names(folder: Path) -> list[str]:
    found = []
    for file in sorted(folder.rglob("*.py")):
        parts = list(file.relative_to(folder.parent).with_suffix("").parts)
        if parts[-1] in {"__main__", "__init__"}:
            parts.pop()
        found.append(".".join(parts))
    return sorted(set(found))


def test_every_module_imports_alone() -> None:
    modules = names(ROOT / "stacyvm") + names(ROOT / "sdk/python/stacyvm_sdk")
    assert len(modules) > 100
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT, *modules],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
