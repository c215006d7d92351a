"""``make bench``: stacyvm against the plain Docker SDK doing the same, in one run.

Writes ``docs/performance.json`` and ``docs/performance.svg`` and prints a table. Needs an engine
and the images (``stacyvm setup``). Systems take turns, the first round is dropped.
"""

import argparse
import io
import json
import os
import platform
import statistics
import tarfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import docker
from docker.models.containers import Container
from rich.console import Console
from rich.table import Table
from stacyvm_sdk import Client

from tests.bench.chart import draw
from tests.bench.measure import Row, in_turns, timed
from tests.bench.server import Http, Server, running_server

IMAGE = "stacyvm/node:latest"
DOCS = Path(__file__).parents[2] / "docs"
LINE = "the quick brown fox jumps over the lazy dog, again and again, until it is done."
MB = 1_000_000
BLOCK = 12  # samples of a short call in one turn


class Reference:
    """The plain Docker SDK, asked for a container with the same limits and the same wall."""

    def __init__(self) -> None:
        self.client = docker.from_env(timeout=120)

    def create(self) -> Container:
        return self.client.containers.create(
            IMAGE,
            ["sleep", "3600"],
            labels={"stacyvm.bench": "reference"},
            mem_limit="1024m",
            memswap_limit="1024m",
            nano_cpus=1_000_000_000,
            pids_limit=512,
            network_mode="none",
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            init=True,
            tmpfs={"/tmp": "size=64m"},  # noqa: S108 - the container's own
        )

    def spawn(self) -> Container:
        container = self.create()
        container.start()
        return container

    def clean(self) -> None:
        for left in self.client.containers.list(
            all=True, filters={"label": "stacyvm.bench=reference"}
        ):
            left.remove(force=True)


def spawn_cold(http: Http, reference: Reference, rounds: int) -> tuple[Row, Row, Row]:
    spawn = Row(
        "spawn cold, to agent hello",
        "SDK create + start",
        "at most 1.25 x the time",
        holds=lambda row: row.ours_p50 <= 1.25 * row.reference_p50,
    )
    request = Row(
        "destroy, request",
        "SDK remove(force)",
        "at most 10 ms",
        holds=lambda row: row.ours_p50 <= 10,
    )
    gone = Row(
        "destroy, really gone",
        "SDK remove(force)",
        "under 1 s",
        holds=lambda row: row.ours_p50 < 1000,
    )

    def ours() -> float:
        started = time.perf_counter()
        sandbox_id = http.call("POST", "/sandboxes", {"image": IMAGE})["id"]
        spawned = time.perf_counter()
        http.call("DELETE", f"/sandboxes/{sandbox_id}")
        answered = time.perf_counter()
        while reference.client.api.containers(all=True, filters={"name": sandbox_id}):
            time.sleep(0.01)
        request.ours.append((answered - spawned) * 1000)
        gone.ours.append((time.perf_counter() - spawned) * 1000)
        return (spawned - started) * 1000

    def theirs() -> float:
        started = time.perf_counter()
        container = reference.spawn()
        spawned = time.perf_counter()
        container.remove(force=True)
        took = (time.perf_counter() - spawned) * 1000
        request.reference.append(took)
        gone.reference.append(took)
        return (spawned - started) * 1000

    in_turns(spawn, ours, theirs, rounds=rounds)
    for row in (request, gone):
        del row.ours[0], row.reference[0]
    return spawn, request, gone


def spawn_together(server: Server, reference: Reference, rounds: int) -> Row:
    row = Row(
        "10 cold spawns at once, wall",
        "SDK, 10 threads",
        "at most 1.15 x the time",
        holds=lambda row: row.ours_p50 <= 1.15 * row.reference_p50,
    )

    def one(_: int) -> str:
        http = Http(server.host, server.port)
        try:
            return str(http.call("POST", "/sandboxes", {"image": IMAGE})["id"])
        finally:
            http.close()

    def ours() -> float:
        ids: list[str] = []
        took = timed(lambda: ids.extend(pool.map(one, range(10))))
        http = Http(server.host, server.port)
        for sandbox_id in ids:
            http.call("DELETE", f"/sandboxes/{sandbox_id}")
        http.close()
        while reference.client.api.containers(
            all=True, filters={"label": f"stacyvm.instance={server.instance}"}
        ):
            time.sleep(0.05)
        return took

    def theirs() -> float:
        made: list[Container] = []
        took = timed(lambda: made.extend(pool.map(lambda _: reference.spawn(), range(10))))
        list(pool.map(lambda c: c.remove(force=True), made))
        return took

    with ThreadPoolExecutor(10) as pool:
        return in_turns(row, ours, theirs, rounds=rounds)


def hot_path(
    http: Http, client: Client, sandbox_id: str, container: Container, rounds: int
) -> list[Row]:
    sandbox = client.get(sandbox_id)
    kilobyte = b"x" * 1024
    holds_25 = lambda row: row.faster >= 25  # noqa: E731
    return [
        in_turns(
            Row("exec true, over HTTP", "exec_run", "25 x faster", holds=holds_25),
            lambda: timed(
                lambda: http.call(
                    "POST", f"/sandboxes/{sandbox_id}/exec", {"command": "true", "mode": "argv"}
                )
            ),
            lambda: timed(lambda: container.exec_run(["true"])),
            rounds=rounds,
            block=BLOCK,
        ),
        in_turns(
            Row("exec sh -c true, over HTTP", "exec_run(sh -c)", ""),
            lambda: timed(
                lambda: http.call("POST", f"/sandboxes/{sandbox_id}/exec", {"command": "true"})
            ),
            lambda: timed(lambda: container.exec_run(["sh", "-c", "true"])),
            rounds=rounds,
            block=BLOCK,
        ),
        in_turns(
            Row("exec sh -c true, Python SDK", "exec_run(sh -c)", ""),
            lambda: timed(lambda: sandbox.exec("true")),
            lambda: timed(lambda: container.exec_run(["sh", "-c", "true"])),
            rounds=rounds // 2,
            block=BLOCK,
        ),
        in_turns(
            Row("write 1 KiB file, over HTTP", "put_archive", "25 x faster", holds=holds_25),
            lambda: timed(
                lambda: http.call(
                    "PUT", f"/sandboxes/{sandbox_id}/files?path=/workspace/k", kilobyte
                )
            ),
            lambda: timed(lambda: container.put_archive("/", _tar("k", kilobyte))),
            rounds=rounds,
            block=BLOCK,
        ),
        in_turns(
            Row("read 1 KiB file, over HTTP", "get_archive", ""),
            lambda: timed(
                lambda: http.call("GET", f"/sandboxes/{sandbox_id}/files?path=/workspace/k")
            ),
            lambda: timed(lambda: b"".join(container.get_archive("/k")[0])),
            rounds=rounds,
            block=BLOCK,
        ),
    ]


def streaming(
    http: Http, sandbox_id: str, container: Container, server_pid: int, rounds: int
) -> tuple[Row, Row]:
    command = f"yes '{LINE}' | head -c {100 * MB}"
    row = Row(
        "stream 100 MB of stdout to a client",
        "exec_run(stream=True)",
        "at least 0.5 x its MB/s",
        unit="MB/s",
        holds=lambda row: row.ours_p50 >= 0.5 * row.reference_p50,
    )
    memory = Row(
        "server's memory grown while 100 MB pass",
        "",
        "flat: at most 32 MB",
        unit="MB",
        holds=lambda row: max(row.ours[1:] or row.ours) <= 32,
    )

    def ours() -> float:
        before = _resident(server_pid)
        took = timed(
            lambda: http.drain(
                f"/sandboxes/{sandbox_id}/exec", {"command": command, "stream": True}
            )
        )
        memory.ours.append(max(_resident(server_pid) - before, 0) / MB)
        return 100 / (took / 1000)

    def theirs() -> float:
        def drain() -> None:
            output = cast(
                "Iterator[bytes]", container.exec_run(["sh", "-c", command], stream=True).output
            )
            total = sum(len(piece) for piece in output)
            if total != 100 * MB:
                raise RuntimeError(f"the reference streamed {total} bytes")

        return 100 / (timed(drain) / 1000)

    return in_turns(row, ours, theirs, rounds=rounds), memory


def idle_memory(reference: Reference, sandbox_id: str, container: Container) -> Row:
    """Compare proportional set sizes: a page that processes share counts once, not in each."""
    row = Row(
        "resident memory of an idle sandbox",
        "`sleep` container",
        "at most +18 MB",
        unit="MB",
        holds=lambda row: row.ours_p50 - row.reference_p50 <= 18,
    )
    for name, kept in ((sandbox_id, row.ours), (str(container.id), row.reference)):
        processes = reference.client.api.top(name, "-eo pid,args")["Processes"]
        kept.append(sum(_proportional(int(process[0])) for process in processes) / MB)
    return row


def _proportional(pid: int) -> int:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(rollup.split("\nPss:")[1].split()[0]) * 1024


def _tar(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _resident(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


def run(rounds: int) -> list[Row]:
    reference = Reference()
    with running_server(log_level="WARNING") as server:
        try:
            return _rows(server, reference, rounds)
        finally:
            reference.clean()
            _end_all(server)


def _rows(server: Server, reference: Reference, rounds: int) -> list[Row]:
    http = Http(server.host, server.port)
    spawn, request, gone = spawn_cold(http, reference, rounds)
    together = spawn_together(server, reference, max(rounds // 3, 3))
    sandbox_id = http.call("POST", "/sandboxes", {"image": IMAGE, "ttl": "1h"})["id"]
    container = reference.spawn()
    with Client(f"http://{server.host}:{server.port}") as client:
        hot = hot_path(http, client, sandbox_id, container, rounds)
    stream, memory = streaming(http, sandbox_id, container, server.pid, max(rounds // 3, 3))
    fresh = http.call("POST", "/sandboxes", {"image": IMAGE})["id"]
    idle = idle_memory(reference, fresh, reference.spawn())
    return [spawn, together, *hot, request, gone, stream, memory, idle]


def _end_all(server: Server) -> None:
    """Destroy what is left: a stopped server would let its sandboxes live for its next start."""
    http = Http(server.host, server.port)
    for sandbox in http.call("GET", "/sandboxes"):
        http.call("DELETE", f"/sandboxes/{sandbox['id']}")
    http.close()


def machine() -> dict[str, Any]:
    engine = docker.from_env()
    version = engine.version()["Version"]
    engine.close()
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cores": os.cpu_count(),
        "engine": version,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def show(rows: list[Row]) -> None:
    table = Table(title="stacyvm against the plain Docker SDK, medians")
    for column in ("operation", "stacyvm", "p95", "reference", "ratio", "to reach", "reached"):
        table.add_column(column)
    for row in rows:
        data = row.as_json()
        ours = data["ours"]
        assert isinstance(ours, dict)
        reference = f"{row.reference_p50:.1f} {row.unit}" if row.reference else ""
        table.add_row(
            row.name,
            f"{ours['p50']:.2f} {row.unit}",
            f"{ours['p95']:.2f}",
            f"{reference}  {row.reference_name}",
            f"{row.faster:.2f}" if row.reference else "",
            row.target,
            "" if not row.target else "yes" if data["reached"] else "NO",
        )
    Console(width=150).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=12, help="samples of the slow rows")
    parser.add_argument("--out", type=Path, default=DOCS, help="folder for the results")
    options = parser.parse_args()
    rows = run(options.rounds)
    show(rows)
    options.out.mkdir(parents=True, exist_ok=True)
    results = {"machine": machine(), "rows": [row.as_json() for row in rows]}
    (options.out / "performance.json").write_text(json.dumps(results, indent=2) + "\n")
    draw(results, options.out / "performance.svg")
    print(f"written: {options.out}/performance.json, performance.svg")
    print("median of medians of the ratios:", round(statistics.median(r.faster for r in rows), 2))


if __name__ == "__main__":
    main()
