"""Whether a spawn would be let in now."""

from dataclasses import dataclass

from stacyvm.config import Settings


@dataclass(frozen=True, kw_only=True, slots=True)
class Admission:
    """The answer to "could I spawn this now?", with the counts it rests on.

    It promises nothing: another spawn may take the last place before the caller does.
    """

    reason: str  # which setting says no; empty when nothing does
    active: int  # live sandboxes
    most: int  # 0 is no limit, here and below
    active_owner: int  # those of the owner; 0 without one
    most_owner: int
    max_ttl: float  # seconds

    @property
    def allowed(self) -> bool:
        """True when a spawn would be let in."""
        return not self.reason


def decide(settings: Settings, *, ttl: float, active: int, active_owner: int) -> Admission:
    """Weigh a lifetime of ``ttl`` seconds and the present counts against the limits."""
    reason = ""
    if ttl > settings.max_ttl:
        reason = "max_ttl"
    elif 0 < settings.max_sandboxes <= active:
        reason = "max_sandboxes"
    elif 0 < settings.max_sandboxes_per_owner <= active_owner:
        reason = "max_sandboxes_per_owner"
    return Admission(
        reason=reason,
        active=active,
        most=settings.max_sandboxes,
        active_owner=active_owner,
        most_owner=settings.max_sandboxes_per_owner,
        max_ttl=settings.max_ttl,
    )
