"""A file inside a sandbox, as the agent describes it, and the rule for paths."""

from dataclasses import dataclass
from datetime import datetime

from stacyvm.domain.errors import InvalidPathError

MAX_PATH_BYTES = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class FileInfo:
    """One file. ``path`` may hold surrogate escapes where its name is not UTF-8."""

    path: str
    size: int  # bytes
    mode: int  # permission bits
    is_dir: bool
    mod_time: datetime  # aware, UTC
    kind: str = "file"  # file, dir, symlink, other

    @property
    def name(self) -> str:
        """The last component of the path."""
        return self.path.rstrip("/").rpartition("/")[2] or "/"


def check_path(path: str) -> str:
    """Return ``path`` when it may be sent to the agent.

    Relative paths mean the workspace. ``..`` is refused rather than resolved, so that what a path
    names never depends on links; the agent refuses what only it can see.

    Raises:
        InvalidPathError: Empty, too long, not encodable, or with NUL or a ``..`` component.
    """
    if not path:
        raise InvalidPathError("invalid input: path is empty")
    if "\0" in path:
        raise InvalidPathError("invalid input: path contains NUL")
    try:
        size = len(path.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError as error:
        raise InvalidPathError("invalid input: path is not valid text") from error
    if size > MAX_PATH_BYTES:
        raise InvalidPathError(f"invalid input: path has {size} bytes, limit {MAX_PATH_BYTES}")
    if ".." in path.split("/"):
        raise InvalidPathError(f'invalid input: path "{path}" contains ".."')
    return path
