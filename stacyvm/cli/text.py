"""Text that came from elsewhere, made safe and short for a terminal."""

from datetime import UTC, datetime


def clean(text: str) -> str:
    """Return the text on one line without control characters, which could drive the terminal."""
    return "".join(char if char.isprintable() else _shown(char) for char in text.strip())


def _shown(char: str) -> str:
    return " " if char.isspace() else f"\\x{ord(char):02x}"


def span(seconds: float) -> str:
    """Write a duration in its two largest units: ``42s``, ``3m5s``, ``2h13m``, ``1d4h``."""
    left = max(int(seconds), 0)
    parts: list[str] = []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m"), (1, "s")):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{unit}")
        elif parts:
            break  # 1d0h5m is more than a reader wants; 1d is enough
    return "".join(parts[:2]) or "0s"


def since(timestamp: str, now: datetime | None = None) -> float | None:
    """Return the seconds from an RFC 3339 timestamp until now; None when it is not one."""
    try:
        moment = datetime.fromisoformat(timestamp)
    except ValueError:
        return None
    return ((now or datetime.now(UTC)) - moment.astimezone(UTC)).total_seconds()


def size(count: float) -> str:
    """Write a number of bytes with a binary unit: ``512 B``, ``1.5 MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
