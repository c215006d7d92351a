"""Builds the agent as one file: ``python3 build.py TARGET``, with the interpreter that will run it.

Standard library only and free of imports of ours, so that an image's build can run it as a script.
"""

import importlib.util
import marshal
import sys
import zipfile
from pathlib import Path

_SOURCES = Path(__file__).parent
_NOT_PACKED = {"build.py", "__main__.py"}
_MAIN = "from stacyvm.agent.main import run\n\nrun()\n"
_LONG_AGO = (1980, 1, 1, 0, 0, 0)
_UNCHECKED_HASH = 1  # of the formats of bytecode the one that never looks at its source


def build_zipapp(target: Path) -> None:
    """Write the agent to ``target``, with bytecode for this interpreter beside the sources.

    Another version of Python runs it too, from the sources and slower. The same sources and
    interpreter give the same bytes.
    """
    # Stored, not compressed: unpacking would need zlib, which is slow to load.
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name, source in _modules().items():
            # Bytecode first: it is what is looked for first.
            archive.writestr(zipfile.ZipInfo(name + "c", _LONG_AGO), _bytecode(name, source))
            archive.writestr(zipfile.ZipInfo(name, _LONG_AGO), source)


def _modules() -> dict[str, bytes]:
    """Return the archive's modules: name and source."""
    found = {"__main__.py": _MAIN.encode(), "stacyvm/__init__.py": b""}
    for path in sorted(_SOURCES.glob("*.py")):
        if path.name not in _NOT_PACKED:
            found[f"stacyvm/agent/{path.name}"] = path.read_bytes()
    return found


def _bytecode(name: str, source: bytes) -> bytes:
    code = compile(source, name, "exec", dont_inherit=True, optimize=2)
    head = importlib.util.MAGIC_NUMBER + _UNCHECKED_HASH.to_bytes(4, "little")
    return head + importlib.util.source_hash(source) + marshal.dumps(code)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: build.py TARGET")
    build_zipapp(Path(sys.argv[1]))
