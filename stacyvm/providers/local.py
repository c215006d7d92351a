"""Sandboxes as processes of this machine, in bubblewrap where that works.

With bubblewrap it isolates the file system (system folders read-only, a workspace of its own),
processes, and the network unless that is ``open``. Without bubblewrap it isolates nothing.
It never limits memory, CPU and the number of processes; the disk only softly, by the agent.
Sandboxes live no longer than the server.
"""

import asyncio
import time
from pathlib import Path

from stacyvm.domain.errors import ProviderError
from stacyvm.domain.pipe import Pipe
from stacyvm.domain.sandbox import SandboxSpec, is_sandbox_id
from stacyvm.providers.base import BASE_CAPABILITIES, Found, Health
from stacyvm.providers.local_folders import Folders
from stacyvm.providers.local_launcher import Launcher
from stacyvm.providers.local_process import AgentProcess
from stacyvm.providers.local_removal import delete_folder, kill_tree

_KILL_TIMEOUT = 10.0


class LocalProvider:
    """Runs agents as child processes; see the module for what that isolates and what not."""

    def __init__(self, *, instance: str, root: Path, bubblewrap: bool | None = None) -> None:
        """Keep sandboxes in folders below ``root``.

        Args:
            instance: This server's identity; other servers' sandboxes below ``root`` are not seen.
            root: Made when missing.
            bubblewrap: None uses it where it works, True insists on it, False does without.
        """
        self._root = root
        self._folders = Folders(root, instance=instance)
        self._launcher = Launcher(root, bubblewrap=bubblewrap)
        self._specs: dict[str, SandboxSpec] = {}
        self._processes: dict[str, AgentProcess] = {}

    @property
    def name(self) -> str:
        """``local``."""
        return "local"

    @property
    def capabilities(self) -> tuple[str, ...]:
        """What ``GET /providers`` lists."""
        caged = self._launcher.caged
        return (*BASE_CAPABILITIES, "userspace_isolation") if caged else BASE_CAPABILITIES

    @property
    def config(self) -> dict[str, str]:
        """Say what is isolated and what is not."""
        caged = self._launcher.caged
        return {
            "root": str(self._root),
            "isolation": "bubblewrap" if caged else "none",
            "bubblewrap": "in use" if caged else self._launcher.why_bare or "not looked for yet",
            "network": "none unless open" if caged else "the machine's own, always",
            "not_limited": "memory, cpu, pids",
            "disk": "soft limit",
        }

    async def create(self, spec: SandboxSpec) -> None:
        """Make the sandbox's folder.

        Raises:
            ImageNotFoundError: The image is not one of the runtimes of this machine.
            InvalidRequestError: The spec asks for what cannot be had here.
            ProviderError: The folder cannot be made, or bubblewrap is insisted on and unusable.
        """
        try:
            await self._launcher.prepare()
        except OSError as error:
            raise ProviderError(f"cannot use {self._root}: {error}") from error
        await asyncio.to_thread(self._launcher.check, spec)
        self._specs[spec.id] = spec
        await asyncio.to_thread(self._folders.create, spec)

    async def start(self, sandbox_id: str) -> Pipe:
        """Start the agent.

        Raises:
            ProviderError: The sandbox was not created here, or the agent cannot be started.
        """
        spec = self._specs.get(sandbox_id)
        if spec is None or sandbox_id in self._processes:
            raise ProviderError(f"sandbox {sandbox_id} is not waiting to be started")
        process = await self._launcher.start(spec, self._folders.path(sandbox_id))
        self._processes[sandbox_id] = process
        return await process.attach()

    async def attach(self, sandbox_id: str) -> Pipe:
        """Return a new pipe to the agent; the former one is closed.

        Raises:
            ProviderError: It is not running.
        """
        process = self._processes.get(sandbox_id)
        if process is None or process.exit_code is not None:
            raise ProviderError(f"sandbox {sandbox_id} is not running")
        return await process.attach()

    async def remove(self, sandbox_id: str) -> None:
        """Kill the sandbox's processes and delete its folder. Idempotent.

        Raises:
            ProviderError: The folder cannot be deleted, or a process does not die.
        """
        if await self.find(sandbox_id) is None:
            self._specs.pop(sandbox_id, None)
            return
        process = self._processes.get(sandbox_id)
        folder = self._folders.path(sandbox_id)
        pid = process.pid if process and process.exit_code is None else None
        await asyncio.to_thread(kill_tree, pid, folder)
        if process is not None:
            await _wait_for_death(process, sandbox_id)
        await delete_folder(folder)
        self._processes.pop(sandbox_id, None)
        self._specs.pop(sandbox_id, None)

    async def list(self) -> list[Found]:
        """Return the sandboxes of this instance, also what a server before left behind."""
        ids = await asyncio.to_thread(self._folders.ids)
        found = [await self.find(sandbox_id) for sandbox_id in ids]
        return [one for one in found if one is not None]

    async def find(self, sandbox_id: str) -> Found | None:
        """Return one sandbox of this instance, or None."""
        if not is_sandbox_id(sandbox_id):
            return None
        facts = await asyncio.to_thread(self._folders.facts, sandbox_id)
        if facts is None:
            return None
        process = self._processes.get(sandbox_id)
        exit_code = process.exit_code if process else None
        return Found(
            id=sandbox_id,
            running=process is not None and exit_code is None,
            exit_code=exit_code,
            image=facts["image"],
            metadata=facts["metadata"],
        )

    async def healthy(self) -> Health:
        """Check that agents can be started in the way that is wanted. Never raises."""
        start = time.monotonic()
        try:
            await self._launcher.prepare()
        except (ProviderError, OSError) as error:
            return Health(healthy=False, latency=time.monotonic() - start, error=str(error))
        return Health(healthy=True, latency=time.monotonic() - start)

    async def close(self) -> None:
        """Remove all sandboxes: they cannot live without the server."""
        await asyncio.gather(*(self.remove(sandbox_id) for sandbox_id in [*self._specs]))


async def _wait_for_death(process: AgentProcess, sandbox_id: str) -> None:
    try:
        async with asyncio.timeout(_KILL_TIMEOUT):
            await process.wait()
    except TimeoutError as error:
        raise ProviderError(f"the agent of {sandbox_id} does not die") from error
    await process.close()
