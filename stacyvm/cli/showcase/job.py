"""The main job in one sandbox: spawn, upload, exec with streamed output, read, check, destroy."""

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import click
from stacyvm_sdk import Client, Sandbox
from stacyvm_sdk.streaming import StreamChunk

from stacyvm.cli.errors import CommandError
from stacyvm.cli.text import clean

TTL = "5m"  # should the demo be killed, its sandboxes are gone then
RESULT = "result.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Engine:
    """A JavaScript engine the job runs on."""

    name: str
    image: str
    command: str


ENGINES = (
    Engine(
        name="Node",
        image="stacyvm/node",
        command=f"node program/main.node.js data {RESULT}",
    ),
    Engine(
        name="QuickJS",
        image="stacyvm/quickjs",
        command=f"qjs --module program/main.qjs.js data {RESULT}",
    ),
)


@dataclass(slots=True)
class Timings:
    """Seconds each step took, in the order they were done."""

    steps: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time the block."""
        began = time.perf_counter()
        yield
        self.steps[name] = time.perf_counter() - began


def example() -> Path:
    """Return the example's folder, in a checkout or an installed package."""
    package = Path(str(files("stacyvm")))
    installed = package / "_examples"
    return (installed if installed.is_dir() else package.parent / "examples") / "timezones"


def do_job(client: Client, engine: Engine, wanted: dict[str, Any]) -> Timings:
    """Do the whole job on one engine and return how long each step took.

    Raises:
        CommandError: The program failed, or came to another result.
        StacyVMError: A call failed.
    """
    timings, folder = Timings(), example()
    with timings.step("spawn"):
        sandbox = client.spawn(image=engine.image, ttl=TTL)
    with sandbox:
        click.echo(f"\n{engine.name} in sandbox {sandbox.id}\n  $ {engine.command}")
        with timings.step("upload program and data"):
            sandbox.upload(folder / "program", "program")
            sandbox.upload(folder / "data", "data")
        _run(sandbox, engine.command, timings)
        with timings.step("read the result"):
            content = sandbox.read_file(RESULT)
        check(engine.name, json.loads(content), wanted)
        click.echo(f"  {RESULT}: {len(content)} bytes, equal to what Python works out")
        with timings.step("destroy"):
            sandbox.destroy()
    return timings


def _run(sandbox: Sandbox, command: str, timings: Timings) -> None:
    began = time.perf_counter()
    first: float | None = None
    with sandbox.exec_stream(command, timeout="60s") as output:
        for line in lines(output):
            first = first or time.perf_counter() - began
            click.echo(f"  | {clean(line)}")
    timings.steps["first line of output"] = first or 0.0
    timings.steps["whole run"] = time.perf_counter() - began
    if not output.ok:
        raise CommandError(f"`{command}` ended with exit code {output.exit_code}")


def lines(chunks: Iterable[StreamChunk]) -> Iterator[str]:
    """Give whole lines as they come; each stream keeps its own unfinished one."""
    rest: dict[str, str] = {}
    for chunk in chunks:
        *whole, rest[chunk.stream] = (rest.get(chunk.stream, "") + chunk.data).split("\n")
        yield from whole
    yield from filter(None, rest.values())


def check(engine: str, result: Any, wanted: dict[str, Any]) -> None:
    """Compare a result with what Python works out.

    Raises:
        CommandError: They differ; says where.
    """
    if not isinstance(result, dict):
        raise CommandError(f"{engine} wrote {result!r:.80}, not an object")
    wrong = [key for key in wanted.keys() | result.keys() if result.get(key) != wanted.get(key)]
    if wrong:
        raise CommandError(f"{engine} and Python differ in {', '.join(sorted(wrong))}")
