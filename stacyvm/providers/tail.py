"""The end of a byte stream, kept for error messages."""

_KEPT = 4096
_SHOWN = 500


class Tail:
    """Keeps the last few KiB of what it is fed."""

    def __init__(self) -> None:
        self._data = b""

    def feed(self, data: bytes) -> None:
        """Add bytes, dropping the oldest."""
        self._data = (self._data + data[-_KEPT:])[-_KEPT:]

    def text(self) -> str:
        """Return the last 500 characters as printable text without outer white space."""
        text = self._data.decode("utf-8", "replace").strip()[-_SHOWN:]
        return "".join(char if char.isprintable() or char == "\n" else "?" for char in text)
