"""Every Python example of the README runs as it stands."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import stacyvm_sdk
from stacyvm_sdk import Client

from tests.live_server import LiveServer

README = Path(stacyvm_sdk.__path__[0]).parent / "README.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


def test_the_readme_has_examples() -> None:
    assert len(EXAMPLES) >= 7


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_every_example_runs(
    example: str, live_server: LiveServer, client: Client, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", example],
        env={"STACYVM_URL": live_server.url, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stderr) == (0, "")
