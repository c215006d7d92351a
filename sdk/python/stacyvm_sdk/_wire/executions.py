"""Commands on the wire."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from stacyvm_sdk._duration import seconds_of, write_duration
from stacyvm_sdk._wire.call import (
    Body,
    Call,
    Reply,
    encode,
    integer,
    nothing,
    obj,
    sandbox_path,
    some,
    text,
    url,
)
from stacyvm_sdk.exceptions import InvalidResponse, StreamInterrupted, make_error
from stacyvm_sdk.models import Duration, ExecOutcome, ExecResult
from stacyvm_sdk.streaming import LineSplitter, StreamChunk

T = TypeVar("T")

# Above a command's own limit: how long starting, killing and answering may take, in seconds.
SLACK = 30.0
# The longest limit a server grants by default, in seconds; waited where the caller names none.
LONGEST = 600.0
# A stream without output has a heartbeat every 10 s by default.
STREAM_SILENCE = 60.0


def request(
    command: str,
    args: Sequence[str] | None,
    mode: str | None,
    env: Mapping[str, str] | None,
    workdir: str | None,
    timeout: Duration | None,
) -> dict[str, Any]:
    """Return the body that says what to run."""
    return {"command": command} | some(
        args=list(args or []),
        mode=mode,
        env=dict(env or {}),
        workdir=workdir,
        timeout=None if timeout is None else write_duration(timeout),
    )


def head(body: dict[str, Any], *, stdin: bool) -> bytes:
    """Return the first part of the HTTP body; after it the bytes for stdin follow as they are."""
    return encode(body | {"stdin": True}) + b"\n" if stdin else encode(body)


def run(sandbox_id: str, content: Body, timeout: Duration | None) -> Call[ExecResult]:
    """Run a command to its end."""
    limit = seconds_of(timeout) if timeout is not None else None
    return _post(sandbox_id, content, _read_result, (limit or LONGEST) + SLACK)


def stream(sandbox_id: str, content: Body) -> Call[None]:
    """Run a command; the answer is a stream of lines, for :class:`EventReader`."""
    return _post(sandbox_id, content, nothing, STREAM_SILENCE)


class EventReader:
    """Turns the bytes of an exec stream into chunks and one outcome."""

    def __init__(self) -> None:
        self._lines = LineSplitter()
        self.outcome: ExecOutcome | None = None

    def feed(self, data: bytes) -> Iterator[StreamChunk]:
        """Yield the chunks that ``data`` completes; to be exhausted before the next call.

        What came before an error is yielded before the error is raised.

        Raises:
            StacyVMError: The server reports an error of the execution.
            InvalidResponse: A line is not what the contract says.
        """
        for line in self._lines.feed(data):
            chunk = self._read(line) if line.strip() else None
            if chunk is not None:
                yield chunk

    def finish(self) -> None:
        """Tell that the stream has ended.

        Raises:
            StreamInterrupted: It has no outcome.
        """
        if self.outcome is None:
            raise StreamInterrupted("the stream ended before the outcome of the command")

    def _read(self, line: bytes) -> StreamChunk | None:
        try:
            event = json.loads(line)
            kind = event["stream"]
            if kind in {"stdout", "stderr"}:
                return StreamChunk(kind, text(event, "data"))
            if kind == "exit":
                self.outcome = _read_outcome(event)
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidResponse(f"a line of the stream makes no sense: {line[:100]!r}") from error
        if kind == "error":
            raise make_error(event, status=0)
        return None  # a kind this client does not know yet


def _post(sandbox_id: str, content: Body, read: Callable[[Reply], T], patience: float) -> Call[T]:
    return Call(
        method="POST",
        url=url(sandbox_path(sandbox_id, "/exec")),
        read=read,
        content=content,
        headers={"Content-Type": "application/json"},
        patience=patience,
    )


def _read_result(reply: Reply) -> ExecResult:
    data = obj(reply)
    return ExecResult(
        exit_code=integer(data, "exit_code"),
        stdout=text(data, "stdout"),
        stderr=text(data, "stderr"),
        duration=data.get("duration", ""),
        truncated=data.get("truncated", False),
        signal=data.get("signal", ""),
    )


def _read_outcome(data: Mapping[str, Any]) -> ExecOutcome:
    return ExecOutcome(
        exit_code=integer(data, "exit_code"),
        duration=data.get("duration", ""),
        timed_out=data.get("timed_out", False),
        truncated=data.get("truncated", False),
        signal=data.get("signal", ""),
    )
