"""Paths: as the client writes them (text), and as the kernel gets them (bytes)."""

from __future__ import annotations

import os

from stacyvm.agent.failure import Failure
from stacyvm.agent.fields import raw

_LONGEST = 4096


def show(path: bytes) -> str:
    """Return ``path`` as text that ``encode`` of it undoes."""
    return path.decode("utf-8", "surrogateescape")


class Paths:
    """Where things are. ``mapping`` lets a folder of the host stand for one of the sandbox.

    That is for the provider that has no mount namespace; everywhere else both sides are the same.
    """

    def __init__(self, workspace: str, mapping: tuple[str, str] | None = None) -> None:
        outer, inner = mapping or ("", "")
        self.workspace = workspace
        self._outer = os.fsencode(outer.rstrip("/"))
        self._inner = os.fsencode(inner.rstrip("/"))
        self.home = self._swap(os.fsencode(workspace), self._outer, self._inner)

    def real(self, value: object) -> bytes:
        """Return the path to give to the kernel; relative ones start at the workspace.

        Raises:
            Failure: ``invalid_path``, when it can be no path.
        """
        try:
            path = raw(value, "path")
        except Failure as failure:
            raise Failure("invalid_path", failure.message) from failure
        if not path or len(path) > _LONGEST:
            raise Failure("invalid_path", f"a path has 1 to {_LONGEST} bytes, not {len(path)}")
        # Only what cannot change the meaning is tidied: `..` behind a link is the kernel's to say.
        parts = [part for part in path.split(b"/") if part not in {b"", b"."}]
        tidy = b"/".join(parts) + (b"/" if parts and path.endswith(b"/") else b"")
        if not path.startswith(b"/"):
            return os.path.join(self.home, tidy) if tidy else self.home
        path = b"/" + tidy
        return self._swap(path, self._outer, self._inner)

    def shown(self, path: bytes) -> str:
        """Return the client's text for a path of the kernel's side."""
        return show(self._swap(path, self._inner, self._outer))

    @staticmethod
    def _swap(path: bytes, old: bytes, new: bytes) -> bytes:
        if old and (path == old or path.startswith(old + b"/")):
            return new + path[len(old) :]
        return path
