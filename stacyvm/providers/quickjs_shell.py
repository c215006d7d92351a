"""A small ``qjs`` over the PyPI package quickjs-ng, for machines that have no other.

Usage: quickjs_shell.py EXTENSION [--std] [-m] (-e CODE | FILE) [ARGUMENT…]

It runs scripts and modules with relative imports, and has the common part of ``std`` and ``os``
and timers. Import and export statements have to start their line, and modules must not import each
other in a circle. Runs inside the sandbox by itself: standard library only.
"""

import importlib.machinery
import importlib.util
import os
import re
import sys
import time
from pathlib import Path
from typing import IO, Any, NoReturn

_PRELUDE = Path(__file__).with_name("quickjs_prelude.js")
_OPTIONS = frozenset({"--std", "-m", "--module", "--script"})
_BUILTIN = re.compile(r"(?:qjs:)?(std|os)")
_IMPORT = re.compile(
    r"^import\s+(?:(?P<what>[\w$\s{},*]+?)\s+from\s+)?(?P<quote>['\"])(?P<name>[^'\"]+)(?P=quote);?",
    re.MULTILINE,
)
_EXPORT_DECLARATION = re.compile(
    r"^export\s+(?=(?:async\s+function|function|class|const|let|var)\b[\s*]*(?P<name>[\w$]+))",
    re.MULTILINE,
)
_EXPORT_LIST = re.compile(r"^export\s*\{(?P<what>[^}]*)\};?", re.MULTILINE)
_EXPORT_DEFAULT = re.compile(r"^export\s+default\s+", re.MULTILINE)


class ModuleError(Exception):
    """A module cannot be loaded."""


class Modules:
    """Turns modules into functions, as the engine's binding cannot load any itself."""

    def __init__(self) -> None:
        self.sources: list[str] = []
        self._known: dict[Path, str] = {}
        self._loading: list[Path] = []

    def add(self, path: Path) -> str:
        """Add a module after all it imports; return its name."""
        path = path.resolve()
        if path in self._loading:
            raise ModuleError(f"modules import each other: {path}")
        if path not in self._known:
            try:
                source = path.read_text("utf-8")
            except OSError as error:
                raise ModuleError(f"could not load module '{path}': {error.strerror}") from error
            self._loading.append(path)
            body = self.link(source, path.parent)
            self._loading.pop()
            self._known[path] = f"m{len(self._known)}"
            self.sources.append(f"__modules.{self._known[path]} = (async () => {{{body}\n}})()")
        return self._known[path]

    def link(self, source: str, folder: Path) -> str:
        """Return the body of an async function that does what the module does."""
        exports: list[str] = []

        def take_import(found: re.Match[str]) -> str:
            return self._import(found["what"] or "", found["name"], folder)

        def take_list(found: re.Match[str]) -> str:
            for part in filter(None, (piece.strip() for piece in found["what"].split(","))):
                local, _, outer = (word.strip() for word in part.partition(" as "))
                exports.append(f"{outer or local}: {local}")
            return ""

        source = _IMPORT.sub(take_import, source)
        exports += _EXPORT_DECLARATION.findall(source)
        source = _EXPORT_LIST.sub(take_list, _EXPORT_DECLARATION.sub("", source))
        source, defaults = _EXPORT_DEFAULT.subn("const __default = ", source)
        if defaults:
            exports.append("default: __default")
        return f"{source}\nreturn {{{', '.join(exports)}}}"

    def _import(self, what: str, name: str, folder: Path) -> str:
        if builtin := _BUILTIN.fullmatch(name):
            value = f"globalThis.__{builtin[1]}"
        elif name.startswith((".", "/")):
            value = f"await __modules.{self.add(folder / name)}"
        else:
            raise ModuleError(f"could not load module '{name}'")
        what = what.strip()
        if not what:
            return f"{value};"
        if what.startswith("*"):
            return f"const {what.rpartition(' ')[2]} = {value};"
        if what.startswith("{"):
            return f"const {what.replace(' as ', ': ')} = {value};"
        return f"const {{default: {what}}} = {value};"


class Host:
    """What the prelude calls for files, output and time."""

    def __init__(self) -> None:
        self._files: dict[int, IO[str]] = {0: sys.stdin, 1: sys.stdout, 2: sys.stderr}

    def open(self, path: str, mode: str) -> int:
        """Return a handle, or -1."""
        try:
            file = Path(path).open(mode.replace("b", ""), encoding="utf-8", newline="")  # noqa: SIM115
        except (OSError, ValueError):
            return -1
        self._files[handle := max(self._files) + 1] = file
        return handle

    def write(self, handle: int, text: str) -> None:
        """Write text."""
        self._files[handle].write(text)

    def read(self, handle: int) -> str:
        """Return the rest of the file."""
        return str(self._files[handle].read())

    def line(self, handle: int) -> str | None:
        """Return the next line without its end, or None at the end of the file."""
        line = self._files[handle].readline()
        return line.removesuffix("\n") if line else None

    def close(self, handle: int) -> None:
        """Write out what is buffered, and close the file unless it is a standard one."""
        self._files[handle].flush()
        if handle > 2:
            self._files.pop(handle).close()

    def exit(self, code: int) -> NoReturn:
        """End the program."""
        for file in self._files.values():
            if file.writable():
                file.flush()
        os._exit(code & 0xFF)

    def getenv(self, name: str) -> str | None:
        """Return a variable of the environment."""
        return os.environ.get(name)


def main(arguments: list[str]) -> int:
    """Run a program; return its exit status."""
    extension, *rest = arguments
    while rest and rest[0] in _OPTIONS:
        rest.pop(0)
    if not rest or (rest[0] == "-e" and len(rest) < 2):
        sys.stderr.write("usage: qjs [--std] [-m] (-e CODE | FILE) [ARGUMENT...]\n")
        return 2
    quickjs, host, modules = _load(extension), Host(), Modules()
    context = quickjs.Context()
    context.set_max_stack_size(4 * 2**20)
    for name in ("open", "write", "read", "line", "close", "exit", "getenv"):
        context.add_callable(f"__host_{name}", getattr(host, name))
    context.set("__arguments", "\0".join(rest[2:] if rest[0] == "-e" else rest))
    try:
        context.eval(_PRELUDE.read_text("utf-8"))
        for source in _program(rest, modules):
            context.eval(source)
        return _run(context)
    except (quickjs.JSException, quickjs.StackOverflow, ModuleError) as error:
        sys.stdout.flush()
        sys.stderr.write(f"{error}\n")
        return 1
    finally:
        sys.stdout.flush()


def _program(rest: list[str], modules: Modules) -> list[str]:
    if rest[0] == "-e":
        return [rest[1]]
    path = Path(rest[0])
    try:
        source = path.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise ModuleError(f"{path}: {error}") from error
    if path.suffix != ".mjs" and not re.search(r"^(import|export)\s", source, re.MULTILINE):
        return [source]
    main_module = modules.add(path)
    return [*modules.sources, f"__modules.{main_module}.catch(__fail)"]


def _run(context: Any) -> int:
    """Run what is pending, and timers, until nothing is left."""
    while True:
        while context.execute_pending_job():
            pass
        wait = context.eval("__due()")
        if wait is None:
            return 0
        sys.stdout.flush()
        time.sleep(wait / 1000)


def _load(extension: str) -> Any:
    loader = importlib.machinery.ExtensionFileLoader("_quickjs", extension)
    spec = importlib.util.spec_from_loader("_quickjs", loader)
    if spec is None:
        raise ModuleError(f"cannot load {extension}")
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
