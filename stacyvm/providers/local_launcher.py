"""How an agent is started on this machine: in bubblewrap where that works, else bare."""

import asyncio
from pathlib import Path

import stacyvm.agent
from stacyvm.domain.errors import InvalidRequestError, ProviderError
from stacyvm.domain.sandbox import SandboxSpec
from stacyvm.providers.agent_command import agent_command
from stacyvm.providers.bubblewrap import (
    GUEST_UID,
    Cage,
    bubblewrap_path,
    cage_command,
    interpreter,
    probe,
)
from stacyvm.providers.local_process import AgentProcess
from stacyvm.providers.local_runtimes import Runtime, find_runtime

_AGENT = Path(stacyvm.agent.__path__[0]).resolve()
_PROGRAM = (interpreter(), "-I", "-S", str(_AGENT / "__main__.py"))

_PATH = "/usr/local/bin:/usr/bin:/bin"


class Launcher:
    """Starts agents. ``prepare`` first: it looks at the machine, once."""

    def __init__(self, root: Path, *, bubblewrap: bool | None) -> None:
        self._root = root
        self._wanted = bubblewrap
        self._lock = asyncio.Lock()
        self._bwrap: str | None = None  # None until looked for; empty when it is not used
        self.why_bare = ""

    @property
    def caged(self) -> bool:
        """True if sandboxes are in bubblewrap."""
        return bool(self._bwrap)

    async def prepare(self) -> None:
        """Find out what this machine can do.

        Raises:
            ProviderError: Bubblewrap is insisted on and unusable.
            OSError: The root folder cannot be made.
        """
        async with self._lock:
            if self._bwrap is None:
                await self._look_for_bubblewrap()
            if self._wanted and not self.caged:
                raise ProviderError(f"bubblewrap cannot be used: {self.why_bare}")
            await asyncio.to_thread(self._root.mkdir, mode=0o700, parents=True, exist_ok=True)

    def check(self, spec: SandboxSpec) -> None:
        """Raise unless ``spec`` can be had here. Blocking; for a thread.

        Raises:
            ImageNotFoundError: The image is not one of the runtimes of this machine.
            InvalidRequestError: It asks for a container runtime, or for memory without bubblewrap.
        """
        if spec.runtime:
            raise InvalidRequestError("the local provider has no container runtimes")
        if spec.workspace == "memory" and not self.caged:
            raise InvalidRequestError("a memory workspace needs bubblewrap on the local provider")
        self._runtime(spec)

    async def start(self, spec: SandboxSpec, folder: Path) -> AgentProcess:
        """Start the agent of a sandbox whose folder exists.

        Raises:
            ProviderError: It cannot be started.
        """
        command, env = await asyncio.to_thread(self._describe, spec, folder)
        return await AgentProcess.start(command, env=env, cwd=folder / "workspace")

    def _describe(self, spec: SandboxSpec, folder: Path) -> tuple[list[str], dict[str, str]]:
        runtime = self._runtime(spec)
        command = self._caged(spec, folder, runtime) if self.caged else self._bare(spec, folder)
        return command, self._environment(spec, folder, runtime)

    def _runtime(self, spec: SandboxSpec) -> Runtime:
        return find_runtime(spec.image, self._root / ".bin")

    def _bare(self, spec: SandboxSpec, folder: Path) -> list[str]:
        command = agent_command(_PROGRAM, spec, uid=None, soft_disk=True)
        return [*command, "--path-map", f"/workspace={folder / 'workspace'}"]

    def _caged(self, spec: SandboxSpec, folder: Path, runtime: Runtime) -> list[str]:
        in_memory = spec.workspace == "memory"
        cage = Cage(
            hostname=spec.id,
            workspace=folder / "workspace",
            memory_mb=(spec.disk_mb or spec.memory_mb) if in_memory else 0,
            etc=folder / "etc",
            network=spec.network,
            read_only=(_AGENT, *runtime.needs),
        )
        command = agent_command(_PROGRAM, spec, uid=GUEST_UID, soft_disk=not in_memory)
        return [*cage_command(self._bwrap or "", cage), *command, "--contained"]

    def _environment(self, spec: SandboxSpec, folder: Path, runtime: Runtime) -> dict[str, str]:
        """Return the agent's whole environment: nothing of the server's is in it."""
        home = "/workspace" if self.caged else str(folder / "workspace")
        tmp = {} if self.caged else {"TMPDIR": str(folder / "tmp")}
        path = f"{runtime.folder}:{_PATH}"
        return {"PATH": path, "LANG": "C.UTF-8", "HOME": home, **tmp, **spec.env}

    async def _look_for_bubblewrap(self) -> None:
        if self._wanted is False:
            self._bwrap, self.why_bare = "", "switched off"
            return
        path = await asyncio.to_thread(bubblewrap_path)
        self.why_bare = await probe(path)
        self._bwrap = "" if self.why_bare else path
