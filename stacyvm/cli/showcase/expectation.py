"""The result the example program must come to, worked out a second time, in Python.

Written from the data files' own documentation, not from the program.
"""

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

_MOST = 10  # entries in each list of the result


def expected(data: Path) -> dict[str, Any]:
    """Return the result for the data files in a folder."""
    lines = (data / "tzdata.zi").read_text("utf-8").splitlines()
    zones = dict(_zones(lines))
    links = {alias: target for tag, target, alias in _records(lines, 3) if tag == "L"}
    present = {name: offsets[-1] for name, offsets in zones.items()}
    count = Counter(present.values())
    return {
        "version": next(line.split()[2] for line in lines if line.startswith("# version")),
        "zones": len(zones),
        "links": len(links),
        "rules": sum(line.startswith("R ") for line in lines),
        "offsets": [
            {"offset": _shown(seconds), "zones": count[seconds]} for seconds in sorted(count)
        ],
        "restless": _restless(zones),
        "countries": _countries(
            data, present | {alias: present[to] for alias, to in links.items()}
        ),
    }


def _zones(lines: list[str]) -> Iterator[tuple[str, list[int]]]:
    """Give each zone with the offset of each of its eras, in seconds."""
    records = [line.split() for line in lines if line and line[0] not in "#RL"]
    starts = [at for at, record in enumerate(records) if record[0] == "Z"]
    for start, end in zip(starts, [*starts[1:], len(records)], strict=True):
        _, name, first, *_ = records[start]
        yield name, [_seconds(text) for text in (first, *(r[0] for r in records[start + 1 : end]))]


def _restless(zones: dict[str, list[int]]) -> list[dict[str, Any]]:
    found = [
        {
            "zone": name,
            "eras": len(offsets),
            "changes": sum(a != b for a, b in pairwise(offsets)),
        }
        for name, offsets in zones.items()
    ]
    return sorted(found, key=lambda zone: (-int(str(zone["changes"])), zone["zone"]))[:_MOST]


def _countries(data: Path, present: dict[str, int]) -> list[dict[str, Any]]:
    names = dict(_table(data / "iso3166.tab"))
    zones: dict[str, list[str]] = {}
    for codes, _, zone in ((*row, "")[:3] for row in _table(data / "zone1970.tab")):
        for code in codes.split(","):
            zones.setdefault(code, []).append(zone)
    found = []
    for code in sorted(zones, key=lambda code: (-len(zones[code]), code))[:_MOST]:
        offsets = [present[zone] for zone in zones[code]]
        span = (max(offsets) - min(offsets)) / 3600
        found.append({"code": code, "name": names[code], "zones": len(offsets), "spanHours": span})
    return found


def _records(lines: list[str], length: int) -> Iterator[list[str]]:
    return (fields for line in lines if len(fields := line.split(" ")) == length)


def _table(file: Path) -> Iterator[list[str]]:
    lines = file.read_text("utf-8").splitlines()
    return (line.split("\t") for line in lines if line and not line.startswith("#"))


def _seconds(text: str) -> int:
    if text == "-":
        return 0
    parts = [int(part) for part in text.lstrip("-").split(":")]
    total = sum(part * unit for part, unit in zip(parts, (3600, 60, 1), strict=False))
    return -total if text.startswith("-") else total


def _shown(seconds: int) -> str:
    sign = "-" if seconds < 0 else "+"
    return f"UTC{sign}{abs(seconds) // 3600:02d}:{abs(seconds) % 3600 // 60:02d}"
