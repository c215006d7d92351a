"""Times of two ways of doing the same, taken in turns in one run."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

Step = Callable[[], float]


@dataclass
class Row:
    """One operation: ours against a reference, sample by sample.

    ``unit`` is that of the samples; ``target`` says in words what ``holds`` decides.
    """

    name: str
    reference_name: str
    target: str
    unit: str = "ms"
    ours: list[float] = field(default_factory=list)
    reference: list[float] = field(default_factory=list)
    holds: Callable[["Row"], bool] = lambda row: True

    @property
    def ours_p50(self) -> float:
        return statistics.median(self.ours)

    @property
    def reference_p50(self) -> float:
        return statistics.median(self.reference) if self.reference else float("nan")

    @property
    def faster(self) -> float:
        """How many times the reference's median is ours."""
        return self.reference_p50 / self.ours_p50 if self.ours_p50 else float("inf")

    def as_json(self) -> dict[str, object]:
        return {
            "name": self.name,
            "reference": self.reference_name,
            "unit": self.unit,
            "target": self.target,
            "reached": self.holds(self),
            "ours": _summary(self.ours),
            "reference_values": _summary(self.reference) if self.reference else None,
            "reference_over_ours": round(self.faster, 3) if self.reference else None,
        }


def _summary(values: list[float]) -> dict[str, float | int]:
    ordered = sorted(values)
    p95 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]
    return {
        "n": len(values),
        "p50": round(statistics.median(values), 3),
        "p95": round(p95, 3),
        "min": round(ordered[0], 3),
        "max": round(ordered[-1], 3),
    }


def in_turns(
    row: Row, ours: Step, reference: Step, *, rounds: int, drop: int = 1, block: int = 1
) -> Row:
    """Take turns in alternating order, ``block`` samples a turn; the first ``drop`` do not count.

    Calls of a few milliseconds are taken in blocks: one alone after a pause mostly measures how
    long the machine takes to wake up.
    """
    for number in range(rounds + drop):
        steps = [(row.ours, ours), (row.reference, reference)]
        for kept, step in steps if number % 2 == 0 else reversed(steps):
            values = [step() for _ in range(block)]
            if number >= drop:
                kept.extend(values)
    return row


def timed(work: Callable[[], object]) -> float:
    """Return how long ``work`` takes, in milliseconds."""
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1000
