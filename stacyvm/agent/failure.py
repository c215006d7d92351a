"""Why a request failed, in the protocol's words."""

from __future__ import annotations

import errno

_CODES = {
    errno.ENOENT: "not_found",
    errno.ENOTDIR: "not_a_directory",
    errno.EISDIR: "is_a_directory",
    errno.ENOTEMPTY: "not_empty",
    errno.EEXIST: "exists",
    errno.EACCES: "permission",
    errno.EPERM: "permission",
    errno.EROFS: "permission",
    errno.ENOSPC: "no_space",
    errno.EDQUOT: "no_space",
    errno.EFBIG: "no_space",
    errno.ELOOP: "invalid_path",
    errno.ENAMETOOLONG: "invalid_path",
    errno.ENXIO: "not_a_file",
}
_LONGEST = 1000


class Failure(Exception):  # noqa: N818 - an outcome of the protocol, not a fault of the program
    """Ends a request with an ``error`` frame."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def failure_of(error: BaseException) -> Failure:
    """Return what to tell the client about ``error``."""
    if isinstance(error, Failure):
        return error
    if not isinstance(error, OSError):
        return Failure("internal", f"{type(error).__name__}: {error}"[:_LONGEST])
    name = error.filename
    shown = name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name or "")
    said = error.strerror or type(error).__name__
    message = f"{shown}: {said}" if shown else said
    return Failure(_CODES.get(error.errno or 0, "io"), message[:_LONGEST])
