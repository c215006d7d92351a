"""The folders of local sandboxes: all that is on record about them here. Blocking; for a thread."""

import json
from pathlib import Path
from typing import Any

from stacyvm.domain.errors import ProviderError
from stacyvm.domain.sandbox import SandboxSpec, is_sandbox_id
from stacyvm.providers.bubblewrap import write_etc


class Folders:
    """Makes and reads ``<root>/<id>``; folders of other instances are not seen."""

    def __init__(self, root: Path, *, instance: str) -> None:
        self._root = root
        self._instance = instance

    def path(self, sandbox_id: str) -> Path:
        """Return where the sandbox's folder is, or would be."""
        return self._root / sandbox_id

    def create(self, spec: SandboxSpec) -> None:
        """Make the folder of a new sandbox.

        Raises:
            ProviderError: It exists, or cannot be made.
        """
        folder = self.path(spec.id)
        facts = {"instance": self._instance, "image": spec.image, "metadata": spec.metadata}
        try:
            folder.mkdir(mode=0o700)
            (folder / "sandbox.json").write_text(json.dumps(facts))
            (folder / "workspace").mkdir(mode=0o755)
            (folder / "tmp").mkdir(mode=0o700)
            write_etc(folder / "etc")
        except OSError as error:
            raise ProviderError(f"cannot make the folder of {spec.id}: {error}") from error

    def ids(self) -> list[str]:
        """Return the ids of all sandboxes below the root, whosever they are."""
        if not self._root.is_dir():
            return []
        return sorted(entry.name for entry in self._root.iterdir() if is_sandbox_id(entry.name))

    def facts(self, sandbox_id: str) -> dict[str, Any] | None:
        """Return ``image`` and ``metadata`` of one of this instance's sandboxes, or None."""
        folder = self.path(sandbox_id)
        try:
            facts = json.loads((folder / "sandbox.json").read_text())
        except (OSError, ValueError):
            # Cut off by a crash while it was made, or half deleted: still to be cleaned away.
            unknown = {"instance": self._instance, "image": "", "metadata": {}}
            return unknown if folder.is_dir() else None
        return dict(facts) if facts["instance"] == self._instance else None
