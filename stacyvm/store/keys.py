"""The names of the store's keys, and numbers as its indexes want them."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Keys:
    """Key names of one instance. ``{instance}`` is the hash tag: all lie in one cluster slot."""

    instance: str

    def __post_init__(self) -> None:
        if not self.instance or set(self.instance) & set("{}"):
            raise ValueError(f"an instance must be a name without braces, got {self.instance!r}")

    @property
    def live(self) -> str:
        """Index of live sandboxes by creation."""
        return self._named("live")

    @property
    def expiry(self) -> str:
        """Index of live sandboxes by expiry."""
        return self._named("expiry")

    @property
    def ended(self) -> str:
        """Index of ended sandboxes by end."""
        return self._named("ended")

    def record(self, sandbox_id: str) -> str:
        """Record of one sandbox."""
        return self._named(f"sandbox:{_quoted(sandbox_id)}")

    def owned(self, owner_id: str) -> str:
        """Index of one owner's live sandboxes by creation; without an owner the live index."""
        if not owner_id:
            return self.live
        return self._named(f"owner:{_quoted(owner_id)}")

    def _named(self, name: str) -> str:
        return f"stacyvm:{{{self.instance}}}:{name}"


def _quoted(text: str) -> str:
    """Return ``text`` in ASCII: a header may bring characters that cannot be sent as UTF-8."""
    return quote(text, safe="", errors="surrogatepass")


def micros(time: datetime) -> int:
    """Return microseconds since 1970, exactly; as a score exact until the year 2255."""
    return (time - _EPOCH) // timedelta(microseconds=1)
