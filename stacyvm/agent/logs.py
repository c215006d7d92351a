"""The last output of all commands of a sandbox."""

from __future__ import annotations

from stacyvm.agent.frames import text_size

_KEPT = 256 << 10
_LONGEST_LINE = 4096  # characters
_LARGEST_ANSWER = 900 << 10  # bytes of the frame, escapes included


class Logs:
    """A ring of the last 256 KiB, in the order in which it was read."""

    def __init__(self) -> None:
        self._ring = bytearray()

    def add(self, data: bytes) -> None:
        """Keep ``data``."""
        self._ring += data[-_KEPT:]
        # Trimmed in big steps: every trim moves all that stays.
        if len(self._ring) > 2 * _KEPT:
            del self._ring[:-_KEPT]

    def lines(self, count: int) -> list[str]:
        """Return the last lines, oldest first: at most ``count``, and as many as fit a frame."""
        text = self._ring[-_KEPT:].decode("utf-8", "replace")
        kept: list[str] = []
        size = 0
        for line in reversed(text.rstrip("\n").split("\n")[-count:] if count and text else []):
            shown = line[:_LONGEST_LINE]
            size += text_size(shown) + 1
            if size > _LARGEST_ANSWER:
                break
            kept.append(shown)
        return kept[::-1]
