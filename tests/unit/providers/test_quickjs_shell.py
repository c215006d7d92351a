import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from stacyvm.providers import quickjs_shell
from stacyvm.providers.local_runtimes import find_runtime
from tests.conftest import skip_or_fail

EXAMPLE = Path(__file__).parents[3] / "examples" / "timezones"


@pytest.fixture
def qjs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The launcher as a sandbox gets it."""
    if importlib.util.find_spec("_quickjs") is None:
        skip_or_fail("the package quickjs-ng is not installed")
    monkeypatch.setenv("PATH", "/nowhere")
    return find_runtime("stacyvm/quickjs", tmp_path / "bin").folder / "qjs"


def run(qjs: Path, *arguments: str, cwd: Path | None = None, stdin: str = "") -> tuple[int, str]:
    done = subprocess.run(
        [qjs, *arguments], cwd=cwd, input=stdin, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_the_example_gives_the_same_result_as_node(qjs: Path, tmp_path: Path) -> None:
    code, said = run(
        qjs,
        "--module",
        str(EXAMPLE / "program" / "main.qjs.js"),
        str(EXAMPLE / "data"),
        str(tmp_path / "out.json"),
    )
    assert code == 0, said
    assert (tmp_path / "out.json").stat().st_size > 100


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        ("print(scriptArgs, 1, null)", 0, '["a"] 1 null\n'),
        ("std.out.puts('x'); std.exit(7)", 7, "x"),
        ("nope()", 1, "ReferenceError: nope is not defined\n    at <eval> (<input>:1:1)\n\n"),
        ("setTimeout(() => print('later'), 10); print('first')", 0, "first\nlater\n"),
        ("Promise.resolve(1).then(print)", 0, "1\n"),
        ("print(std.in.getline()); print(std.in.readAsString())", 0, "one\ntwo\n\n"),
        ("print(std.open('/nowhere/x', 'w'), std.loadFile('/nowhere'))", 0, "null null\n"),
        ("std.exit(std.getenv('NOPE') === undefined ? 3 : 0)", 3, ""),
    ],
)
def test_scripts_have_what_qjs_gives_them(qjs: Path, code: str, status: int, said: str) -> None:
    assert run(qjs, "-e", code, "a", stdin="one\ntwo\n") == (status, said)


def test_modules_import_each_other_s_names(qjs: Path, tmp_path: Path) -> None:
    (tmp_path / "a.js").write_text(
        "import def from './b.js'\nimport { one, two as zwei, f } from './b.js'\n"
        "import * as b from './b.js'\n"
        "import * as std from 'qjs:std'\nimport './c.js'\n"
        "print(def, one, zwei, f(), b.one, await 5)\nstd.out.puts('end\\n')\n"
    )
    (tmp_path / "b.js").write_text(
        "export const one = 1\nlet second = 2\nexport { second as two }\n"
        "export async function g() {}\nexport function f() { return second + 1 }\n"
        "export default 'default'\n"
    )
    (tmp_path / "c.js").write_text("print('side effect')\n")
    assert run(qjs, "a.js", cwd=tmp_path) == (0, "side effect\ndefault 1 2 3 1 5\nend\n")


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("import './nope.js'\n", "could not load module"),
        ("import x from 'left-pad'\n", "could not load module 'left-pad'"),
        ("import './a.js'\n", "import each other"),
        ("export const x = nope()\n", "nope is not defined"),
        ("throw new Error('mine')\nexport {}\n", "Error: mine"),
    ],
)
def test_what_cannot_be_run_says_why(qjs: Path, tmp_path: Path, source: str, why: str) -> None:
    (tmp_path / "a.js").write_text(source)
    code, said = run(qjs, "a.js", cwd=tmp_path)
    assert code == 1
    assert why in said


def test_no_arguments_is_a_usage_error() -> None:
    shell = Path(quickjs_shell.__file__)
    done = subprocess.run([sys.executable, "-IS", shell, "x"], capture_output=True, check=False)
    assert done.returncode == 2
    assert b"usage" in done.stderr
