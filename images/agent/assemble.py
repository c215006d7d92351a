"""Lay out the runtime volume; runs in the image's build stage, with its Python.

Usage: python3 -I assemble.py CONTEXT TARGET

TARGET gets ``bin/`` (python3, qjs), ``lib/`` (the loader, shared objects, the standard library with
its bytecode), ``agent.pyz`` and ``kernels/``. The programs run in any image, wherever TARGET is mounted,
as ``TARGET/lib/<loader> --library-path TARGET/lib TARGET/bin/<program>``; ``qjs`` also by its plain path
where TARGET is mounted at its own name.
"""

import compileall
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from py_compile import PycInvalidationMode

PROGRAMS = {"python3": Path(os.path.realpath(sys.executable)), "qjs": Path("/usr/bin/qjs")}
STDLIB = Path(sysconfig.get_path("stdlib"))

# Of no use to a program without a terminal, a user or packages to install.
LEFT_OUT = frozenset(
    """
    __pycache__ __phello__ __phello__.foo.py _pyrepl curses dbm dist-packages ensurepip
    idlelib lib-dynload lib2to3 pydoc_data pydoc.py site-packages sitecustomize.py sqlite3 test
    tkinter turtle.py turtledemo unittest venv wsgiref xmlrpc
    """.split()
)
# What Debian does not build into the interpreter and an agent may use.
EXTENSIONS = frozenset(
    """
    _asyncio _contextvars _ctypes _decimal _hashlib _multiprocessing _posixshmem _queue _uuid
    _zoneinfo mmap resource termios
    """.split()
)


def shared_objects(files: list[Path]) -> dict[str, Path]:
    """Return the loader and all shared objects that ``files`` need, by file name."""
    found: dict[str, Path] = {}
    for file in files:
        listing = subprocess.run(["ldd", file], check=True, capture_output=True, text=True).stdout
        if "not found" in listing:
            sys.exit(f"{file} lacks shared objects:\n{listing}")
        for name in re.findall(r"(/\S+) \(0x", listing):
            found[Path(name).name] = Path(name)
    return found


def copy_stdlib(target: Path) -> None:
    """Copy the standard library, with bytecode that is never checked against its source.

    The volume is read-only: bytecode that is missing or stale would be made anew at every start.
    """
    shutil.copytree(STDLIB, target, ignore=_left_out, symlinks=False)
    (target / "lib-dynload").mkdir()
    for name in EXTENSIONS:
        [extension] = (STDLIB / "lib-dynload").glob(f"{name}.*.so")
        shutil.copy2(extension, target / "lib-dynload")
    compiled = compileall.compile_dir(
        target, quiet=1, workers=1, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH
    )
    if not compiled:
        sys.exit("The standard library does not compile.")


def _left_out(folder: str, names: list[str]) -> list[str]:
    at_top = Path(folder) == STDLIB
    return [
        name
        for name in names
        if name == "__pycache__"
        or (at_top and (name in LEFT_OUT or name.startswith(("config-", "_sysconfigdata"))))
        or not (Path(folder) / name).exists()
    ]


def main() -> None:
    """Lay out everything."""
    context, target = Path(sys.argv[1]), Path(sys.argv[2])
    binaries, libraries = target / "bin", target / "lib"
    binaries.mkdir(parents=True)
    libraries.mkdir()
    stdlib = libraries / STDLIB.name
    copy_stdlib(stdlib)

    needed = shared_objects([*PROGRAMS.values(), *stdlib.glob("lib-dynload/*.so")])
    for name, path in needed.items():
        shutil.copy2(path.resolve(), libraries / name)
    [loader] = (name for name in needed if name.startswith("ld-linux"))
    for name, path in PROGRAMS.items():
        shutil.copy2(path, binaries / name)
    # patchelf breaks the interpreter, which is not position independent; it needs no plain path.
    patched = ["--set-interpreter", libraries / loader, "--set-rpath", libraries, binaries / "qjs"]
    subprocess.run(["patchelf", *patched], check=True)

    python = [libraries / loader, "--library-path", libraries, binaries / "python3", "-I", "-S"]
    build = context / "stacyvm/agent/build.py"
    subprocess.run([*python, build, target / "agent.pyz"], check=True)
    shutil.copytree(context / "kernels", target / "kernels")


main()
