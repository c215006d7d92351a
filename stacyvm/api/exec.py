"""``POST /sandboxes/{id}/exec``: a command, answered at its end or as a stream of lines."""

import codecs
import json
import logging
from collections.abc import AsyncIterable, AsyncIterator
from typing import Any

from aiohttp import web

from stacyvm.api.body import JsonReader, decode
from stacyvm.api.context import services_of
from stacyvm.api.query import owner_of
from stacyvm.api.schemas import ExecBody, check_env, validate
from stacyvm.api.streams import LineWriter, ndjson
from stacyvm.api.wire import json_response
from stacyvm.config import Settings
from stacyvm.domain.duration import format_duration, parse_duration
from stacyvm.domain.errors import InvalidRequestError, LimitExceededError, StacyError
from stacyvm.domain.execution import Command, Outcome, build_argv
from stacyvm.domain.file import check_path
from stacyvm.services.executions import RunningExecution

log = logging.getLogger(__name__)

MAX_ARG = 128 * 1024 - 1  # bytes of one argument or variable: what the kernel takes
MAX_COMMAND = (
    768 * 1024
)  # bytes of arguments and environment as JSON: what a frame to the agent takes
# Characters that fit however they are spelled: 4 bytes in UTF-8, up to 12 in JSON.
_SURELY_FITS = 32 * 1024

Stdin = AsyncIterable[bytes] | None


async def exec_command(request: web.Request) -> web.StreamResponse:
    """Run a command; whoever goes away meanwhile kills it."""
    settings = services_of(request).settings
    reader = JsonReader(request)
    body = validate(ExecBody, decode(await reader.value()))
    stdin = await _stdin(body, reader)
    command = Command(
        argv=build_argv(body.command, body.args, body.mode),
        env=check_env(body.env),
        workdir=check_path(body.workdir) if body.workdir else "",
        timeout=_timeout(body.timeout, settings),
        stdin=stdin is not None,
    )
    _check_size(command)
    answer = _stream if body.stream else _run
    return await answer(request, command, stdin)


async def _run(request: web.Request, command: Command, stdin: Stdin) -> web.StreamResponse:
    result = await services_of(request).executions.run(
        request.match_info["id"], command, stdin=stdin, owner_id=owner_of(request)
    )
    return json_response(
        {
            "exit_code": result.outcome.exit_code,
            "stdout": result.stdout,
            "stderr": result.stderr,
            "duration": format_duration(result.outcome.duration),
            **_marks(result.outcome),
        }
    )


async def _stream(request: web.Request, command: Command, stdin: Stdin) -> web.StreamResponse:
    services = services_of(request)
    opened = services.executions.stream(
        request.match_info["id"], command, stdin=stdin, owner_id=owner_of(request)
    )
    async with (
        opened as execution,
        ndjson(request, heartbeat=services.settings.heartbeat_interval) as writer,
    ):
        await writer.send(await _relay(execution, writer))
    return writer.response


async def _relay(execution: RunningExecution, writer: LineWriter) -> dict[str, Any]:
    """Send the output and return the last line: the outcome, or why there is none."""
    decoders = {name: codecs.getincrementaldecoder("utf-8")("replace") for name in _STREAMS}
    try:
        async for output in execution:
            await writer.send_output(output.stream, output.data, decoders[output.stream])
        for name, decoder in decoders.items():
            if text := decoder.decode(b"", final=True):
                await writer.send({"stream": name, "data": text})
    except StacyError as error:
        log.warning("stream of %s failed: %s", execution.sandbox_id, error)
        return {"stream": "error", "data": "", "code": error.code, "message": error.message}
    outcome = execution.outcome
    return {
        "stream": "exit",
        "data": "",
        "exit_code": outcome.exit_code,
        "duration": format_duration(outcome.duration),
        **({"timed_out": True} if outcome.timed_out else {}),
        **_marks(outcome),
    }


_STREAMS = ("stdout", "stderr")


async def _stdin(body: ExecBody, reader: JsonReader) -> Stdin:
    """Return what the command reads: given text, the rest of the HTTP body, or nothing."""
    if body.stdin is True:
        return reader.raw()
    await reader.rest()
    return _text(body.stdin) if isinstance(body.stdin, str) else None


async def _text(text: str) -> AsyncIterator[bytes]:
    if text:
        yield text.encode()


def _timeout(text: str, settings: Settings) -> float:
    """Return a command's time limit in seconds; ``0s`` means the longest there is."""
    if not text:
        return min(settings.default_exec_timeout, settings.max_exec_timeout)
    timeout = parse_duration(text)
    if timeout < 0:
        raise InvalidRequestError(f"timeout must not be negative, got {text}")
    if timeout > settings.max_exec_timeout:
        longest = format_duration(settings.max_exec_timeout)
        raise LimitExceededError(f"exec timeout {text} is above max_exec_timeout {longest}")
    return timeout or settings.max_exec_timeout


def _check_size(command: Command) -> None:
    texts = [*command.argv, *(f"{name}={value}" for name, value in command.env.items())]
    if sum(map(len, texts)) < _SURELY_FITS and len(texts) < _SURELY_FITS // 10:
        return
    for text in texts:
        if len(text.encode()) > MAX_ARG:
            raise InvalidRequestError(
                f"invalid input: an argument or variable is over {MAX_ARG} bytes; "
                "send it as stdin or as a file"
            )
    if len(json.dumps([command.argv, command.env])) > MAX_COMMAND:
        raise InvalidRequestError(
            f"invalid input: command, args and env are over {MAX_COMMAND} bytes together"
        )


def _marks(outcome: Outcome) -> dict[str, Any]:
    marks: dict[str, Any] = {}
    if outcome.truncated:
        marks["truncated"] = True
    if outcome.signal:
        marks["signal"] = outcome.signal
    return marks
