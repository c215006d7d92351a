"""The one-file form."""

import ast
import subprocess
import sys
import zipfile
from pathlib import Path

from stacyvm.agent import build

AGENT = Path(build.__file__).parent


def test_the_build_runs_as_a_script_and_is_reproducible(tmp_path: Path) -> None:
    for name in ("one.pyz", "two.pyz"):
        script = [sys.executable, "-I", "-S", build.__file__, str(tmp_path / name)]
        subprocess.run(script, check=True)
    assert (tmp_path / "one.pyz").read_bytes() == (tmp_path / "two.pyz").read_bytes()


def test_every_module_is_in_it_with_its_bytecode(zipapp: Path) -> None:
    with zipfile.ZipFile(zipapp) as archive:
        names = archive.namelist()
    wanted = {p.name for p in AGENT.glob("*.py")} - {"build.py", "__main__.py"}
    for name in wanted:
        assert f"stacyvm/agent/{name}c" in names
    assert names[0] == "__main__.pyc"


def test_the_bytecode_is_what_runs(zipapp: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import stacyvm.agent.agent as a;"
        "print(a.__cached__, a.__doc__)"
    )
    command = [sys.executable, "-I", "-S", "-c", code, str(zipapp)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.split() == [f"{zipapp}/stacyvm/agent/agent.pyc", "None"]


def test_hello_loads_nothing_slow(zipapp: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]);"
        "import stacyvm.agent.main, stacyvm.agent.agent; print(*sys.modules)"
    )
    command = [sys.executable, "-I", "-S", "-c", code, str(zipapp)]
    loaded = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    slow = {"typing", "re", "enum", "json", "subprocess", "threading", "signal", "collections"}
    assert slow & set(loaded) == set()
    assert "stacyvm.agent.operations" not in loaded


def test_the_agent_imports_only_itself_and_the_standard_library() -> None:
    for path in AGENT.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            for module in modules:
                known = module.split(".")[0] in sys.stdlib_module_names | {"typing_extensions"}
                known = known or module in {"_sha2", "_sha256"}
                assert known or module.startswith("stacyvm.agent"), (path.name, module)
