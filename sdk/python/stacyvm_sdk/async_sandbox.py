"""A sandbox, for asynchronous code."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from stacyvm_sdk import _content, _transfer
from stacyvm_sdk._cancel import shielded
from stacyvm_sdk._exec_stream import AsyncExecStream
from stacyvm_sdk._http import run_async
from stacyvm_sdk._wire import executions, files, sandboxes
from stacyvm_sdk.exceptions import ExecError, StacyVMError
from stacyvm_sdk.models import AsyncContent, Duration, ExecResult, FileInfo, SandboxInfo

log = logging.getLogger("stacyvm_sdk")


class AsyncSandbox:
    """One sandbox. As an async context manager it destroys the sandbox at the end.

    Made by ``AsyncClient.spawn`` and ``AsyncClient.get``.
    """

    def __init__(
        self, http: httpx.AsyncClient, sandbox_id: str, info: Mapping[str, Any] | None = None
    ) -> None:
        self._http = http
        self.id = sandbox_id
        self._info = dict(info or {})

    @property
    def state(self) -> str:
        """The state when the record was last fetched; ``refresh`` fetches it anew."""
        return str(self._info.get("state", "unknown"))

    @property
    def provider(self) -> str:
        """Where the sandbox came from."""
        return str(self._info.get("provider", ""))

    @property
    def image(self) -> str:
        """The image the sandbox runs."""
        return str(self._info.get("image", ""))

    @property
    def info(self) -> SandboxInfo:
        """The whole record, as it was last fetched."""
        known = {"id": self.id, "state": self.state, "provider": "", "image": ""}
        return sandboxes.to_info(known | self._info)

    async def exec(
        self,
        command: str,
        args: Sequence[str] | None = None,
        mode: str | None = None,
        env: Mapping[str, str] | None = None,
        workdir: str | None = None,
        timeout: Duration | None = None,
        *,
        check: bool = False,
        stdin: AsyncContent | None = None,
    ) -> ExecResult:
        """Run a command to its end and return its output.

        The client waits as long as the command may run and 30 s more, whatever its own timeout;
        without ``timeout`` the server's default holds and the client waits 630 s at most.

        Args:
            command: A shell command; in ``argv`` mode a program.
            args: Arguments, quoted for the shell where there is one.
            mode: ``shell`` (the default) or ``argv``.
            env: Variables beside the sandbox's own.
            workdir: Directory to run in; the workspace if not given.
            timeout: Time limit of the command; 0 is the longest the server grants.
            check: Raise where the exit code is not 0.
            stdin: What the command reads; without it, nothing.

        Raises:
            ExecTimeout: The time was up; holds the output until then.
            ExecError: ``check`` and a non-zero exit code; holds the result.
            StacyVMError: Any other error, see :mod:`stacyvm_sdk.exceptions`.
        """
        what = executions.request(command, args, mode, env, workdir, timeout)
        head = executions.head(what, stdin=stdin is not None)
        body = head if stdin is None else _content.async_body(stdin, head=head)
        result = await run_async(self._http, executions.run(self.id, body, timeout))
        if check and not result.ok:
            raise ExecError(result, command)
        return result

    def exec_stream(
        self,
        command: str,
        args: Sequence[str] | None = None,
        mode: str | None = None,
        env: Mapping[str, str] | None = None,
        workdir: str | None = None,
        timeout: Duration | None = None,
        *,
        stdin: AsyncContent | None = None,
    ) -> AsyncExecStream:
        """Run a command and iterate over its output as it comes.

        The arguments are those of ``exec``. All of ``stdin`` is sent before output is read.

        Returns:
            An iterator of :class:`StreamChunk`, which knows the outcome once it has been read to
            the end and kills the command when it is closed before.
        """
        what = executions.request(command, args, mode, env, workdir, timeout) | {"stream": True}
        head = executions.head(what, stdin=stdin is not None)
        body = head if stdin is None else _content.async_body(stdin, head=head)
        return AsyncExecStream(self._http, executions.stream(self.id, body))

    async def write_file(
        self, path: str, content: AsyncContent, mode: str | int | None = None
    ) -> None:
        """Write a file, whole or not at all; missing directories are made.

        Args:
            path: Where; relative to the workspace.
            content: Text (as UTF-8), bytes, a binary file or an iterable of bytes,
                asynchronous or not.
            mode: Permission bits, as a number or as octal digits; 0644 if not given.
        """
        if isinstance(content, str) and len(content) <= files.SHORT_TEXT:
            await run_async(self._http, files.write_text(self.id, path, content, mode))
            return
        body, size = _content.async_body(content), _content.size_of(content)
        await run_async(self._http, files.write_bytes(self.id, path, body, size, mode))

    async def read_file(self, path: str) -> str:
        """Read a text file; what is not UTF-8 becomes U+FFFD."""
        return (await self.read_bytes(path)).decode("utf-8", "replace")

    async def read_bytes(self, path: str, offset: int = 0, length: int | None = None) -> bytes:
        """Read a file, or ``length`` bytes of it from ``offset`` on; fewer where it ends."""
        return await run_async(self._http, files.read(self.id, path, offset, length))

    async def upload(self, local: str | Path, remote: str) -> None:
        """Copy a local file or directory into the sandbox; it is streamed.

        A directory's contents go into ``remote``, which is made, as ``cp -rT`` does; symbolic
        links stay links. A file goes to ``remote``, or into it where that ends with a slash.
        """
        await _transfer.upload_async(self._http, self.id, Path(local), remote)

    async def download(self, remote: str, local: str | Path) -> None:
        """Copy a file or directory out of the sandbox; it is streamed.

        A directory's contents go into ``local``, which is made, as ``cp -rT`` does. A file goes to
        ``local``, or into it where that is a directory. Every file appears whole or not at all,
        and nothing the sandbox sends can be written outside ``local``.

        Raises:
            InvalidResponse: The archive is damaged or holds an unsafe path.
            OSError: The local side fails.
        """
        await _transfer.download_async(self._http, self.id, remote, Path(local))

    async def list_files(self, path: str = "/") -> list[FileInfo]:
        """List a directory, not its subdirectories."""
        return await run_async(self._http, files.listing(self.id, path))

    async def delete_file(self, path: str, recursive: bool = False) -> None:
        """Delete a file, or with ``recursive`` a directory; no error where there is none."""
        await run_async(self._http, files.delete(self.id, path, recursive=recursive))

    async def move_file(self, old_path: str, new_path: str) -> None:
        """Move or rename a file or directory."""
        await run_async(self._http, files.move(self.id, old_path, new_path))

    async def chmod_file(self, path: str, mode: str | int) -> None:
        """Set permission bits, given as a number or as octal digits."""
        await run_async(self._http, files.chmod(self.id, path, mode))

    async def stat_file(self, path: str) -> FileInfo:
        """Describe one file.

        Raises:
            FileNotFound: There is none.
        """
        return await run_async(self._http, files.stat(self.id, path))

    async def glob_files(self, pattern: str) -> list[str]:
        """Return the paths that match; ``**`` goes through directories."""
        return await run_async(self._http, files.glob(self.id, pattern))

    async def extend_ttl(self, ttl: Duration = "30m") -> None:
        """Let the sandbox live ``ttl`` from now on; its life is never shortened."""
        self._info = await run_async(self._http, sandboxes.extend(self.id, ttl))

    async def logs(self, lines: int = 100) -> list[str]:
        """Return the last lines of the sandbox's log."""
        return await run_async(self._http, sandboxes.logs(self.id, lines))

    async def stats(self) -> dict[str, Any]:
        """Return what the sandbox uses now: ``supported``, ``cpu_pct``, ``mem_bytes`` and so on."""
        return await run_async(self._http, sandboxes.stats(self.id))

    async def destroy(self) -> None:
        """End the sandbox and all that runs in it; no error where it is gone already."""
        await run_async(self._http, sandboxes.destroy(self.id))
        self._info["state"] = "destroyed"

    async def refresh(self) -> None:
        """Fetch the record anew."""
        self._info = await run_async(self._http, sandboxes.get(self.id))

    def get_preview_url(self, port: int) -> str:
        """Return the address under which a port of the sandbox can be reached."""
        return f"http://{port}-{self.id}.{self._info.get('preview_domain') or 'localhost'}"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await shielded(self.destroy())
        except StacyVMError as failure:
            # Never hide what happened in the block; the sandbox's time to live ends it later.
            log.warning("sandbox %s could not be destroyed: %s", self.id, failure)

    def __repr__(self) -> str:
        return f"AsyncSandbox(id={self.id!r}, state={self.state!r}, image={self.image!r})"
