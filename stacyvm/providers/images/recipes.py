"""What goes into each image: files, their order, and the hash that tells when to build anew."""

import hashlib
import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

AGENT = "agent"
NAMES = (AGENT, "node", "quickjs")
IMAGE_HASH = "stacyvm.image.hash"
AGENT_HASH = "stacyvm.agent.hash"
AGENT_LOADER = "stacyvm.agent.loader"

# The dynamic loader's name is fixed by each architecture's ABI.
_LOADERS = {
    "x86_64": "ld-linux-x86-64.so.2",
    "amd64": "ld-linux-x86-64.so.2",
    "aarch64": "ld-linux-aarch64.so.1",
    "arm64": "ld-linux-aarch64.so.1",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """One image: its build context as ``(name in the context, content)``, sorted by name."""

    name: str
    context: tuple[tuple[str, bytes], ...]

    @property
    def image(self) -> str:
        """The name sandboxes ask for."""
        return f"stacyvm/{self.name}"

    @property
    def digest(self) -> str:
        """Return a hash of everything that is built from; the same on every machine."""
        digest = hashlib.sha256()
        for name, content in self.context:
            # Lengths first, so that no two contexts run together to the same bytes.
            digest.update(f"{len(name)}:{name}:{len(content)}:".encode())
            digest.update(content)
        return digest.hexdigest()

    def archive(self) -> bytes:
        """Return the build context as a tar; equal for equal contexts."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for name, content in self.context:
                member = tarfile.TarInfo(name)
                member.size = len(content)
                member.mode = 0o644
                archive.addfile(member, io.BytesIO(content))
        return buffer.getvalue()


def recipe(name: str) -> Recipe:
    """Return the recipe of one of ``NAMES``, from a checkout or an installed package."""
    context = dict(_read(_images() / name))
    if name == AGENT:
        agent = Path(str(files("stacyvm.agent")))
        context.update((f"stacyvm/agent/{path}", content) for path, content in _read(agent))
    return Recipe(name=name, context=tuple(sorted(context.items())))


def loader(architecture: str) -> str:
    """Return the file name of the agent's dynamic loader, in ``/.stacyvm/lib``.

    Args:
        architecture: As the engine names it, ``x86_64`` or ``amd64`` and the like.

    Raises:
        ValueError: The agent image is not made for that architecture.
    """
    if architecture not in _LOADERS:
        raise ValueError(f"There is no agent for {architecture}, only for x86-64 and aarch64.")
    return _LOADERS[architecture]


def _images() -> Path:
    package = Path(str(files("stacyvm")))
    installed = package / "_images"
    return installed if installed.is_dir() else package.parent / "images"


def _read(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path.relative_to(folder).as_posix(), path.read_bytes()
