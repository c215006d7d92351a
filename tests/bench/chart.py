"""The picture of a benchmark run."""

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "stacyvm"  # the same results give the same file

import matplotlib.pyplot as plt  # noqa: E402 - the back end is chosen first


def draw(results: dict[str, Any], target: Path) -> None:
    """Draw ours beside the reference for every timed row, on a logarithmic scale."""
    rows = [r for r in results["rows"] if r["unit"] == "ms" and r["reference_values"]]
    figure, axes = plt.subplots(figsize=(9, 0.62 * len(rows) + 1.4))
    for place, row in enumerate(rows):
        for offset, key, colour in (
            (-0.19, "ours", "#2a6fdb"),
            (0.19, "reference_values", "#b8bcc4"),
        ):
            value = row[key]["p50"]
            axes.barh(place + offset, value, height=0.36, color=colour)
            axes.text(value * 1.06, place + offset, f"{value:.3g} ms", va="center", fontsize=8)
    axes.set_yticks(
        range(len(rows)), [f"{r['name']}\n(vs {r['reference']})" for r in rows], fontsize=8
    )
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlim(right=axes.get_xlim()[1] * 2.2)
    axes.set_xlabel("median, milliseconds (shorter is better)")
    machine = results["machine"]
    axes.set_title(
        f"stacyvm (blue) and the plain Docker SDK (grey), {machine['cores']} cores, "
        f"engine {machine['engine']}, {machine['date']}",
        fontsize=9,
    )
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.tight_layout()
    figure.savefig(target, metadata={"Date": None})
    plt.close(figure)
