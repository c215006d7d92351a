"""What the sandbox uses, from the control group files a container can see of itself."""

from __future__ import annotations

import time

from stacyvm.agent.frames import Frame
from stacyvm.agent.loop import Loop, Timer
from stacyvm.agent.requests import Live, Reply, override

NO_STATS: Frame = {"supported": False, "cpu_pct": 0.0, "mem_bytes": 0, "mem_limit_bytes": 0}

_SAMPLE = 0.1  # seconds over which CPU use is measured
_NO_LIMIT = 1 << 60  # version 1 writes a number near 2**63 for none


class Sampling(Live):
    """Measures CPU use over a tenth of a second, then answers."""

    def __init__(self, reply: Reply, loop: Loop) -> None:
        super().__init__(reply)
        self._before = _try_cpu()
        self._timer: Timer = loop.later(_SAMPLE, lambda: self.guarded(self._answer))

    @override
    def release(self) -> None:
        """Forget the question."""
        self._timer.cancel()

    def _answer(self) -> None:
        now = _try_cpu()
        try:
            used, limit = memory()
        except (OSError, ValueError):
            self.reply.ok(NO_STATS)
            return
        percent = 0.0
        if now and self._before:
            percent = 100 * (now[1] - self._before[1]) / (now[0] - self._before[0])
        self.reply.ok(
            {
                "supported": True,
                "cpu_pct": round(max(0.0, percent), 2),
                "mem_bytes": used,
                "mem_limit_bytes": limit,
            }
        )


def _try_cpu() -> tuple[float, float] | None:
    try:
        return cpu()
    except (OSError, ValueError):
        return None


def memory() -> tuple[int, int]:
    """Return the bytes used without reclaimable file cache, and the limit, 0 for none.

    Raises:
        OSError, ValueError: There are no such files here.
    """
    for folder, used, limit, cache in (
        ("/sys/fs/cgroup", "memory.current", "memory.max", "inactive_file"),
        (
            "/sys/fs/cgroup/memory",
            "memory.usage_in_bytes",
            "memory.limit_in_bytes",
            "total_inactive_file",
        ),
    ):
        try:
            now = int(_read(f"{folder}/{used}"))
        except FileNotFoundError:
            continue
        most = _read(f"{folder}/{limit}").strip()
        limited = int(most) if most != "max" and int(most) < _NO_LIMIT else 0
        return max(0, now - _entry(f"{folder}/memory.stat", cache)), limited
    raise OSError("no memory control group")


def cpu() -> tuple[float, float]:
    """Return the time on the clock and the CPU time used, both in seconds.

    Raises:
        OSError, ValueError: There are no such files here.
    """
    try:
        used = _entry("/sys/fs/cgroup/cpu.stat", "usage_usec") / 1e6
    except FileNotFoundError:
        used = int(_read("/sys/fs/cgroup/cpuacct/cpuacct.usage")) / 1e9
    return time.monotonic(), used


def _read(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read(1 << 16)


def _entry(path: str, name: str) -> int:
    for line in _read(path).splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return 0
