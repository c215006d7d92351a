"""The first exchange with an agent."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stacyvm.agent.frames import PROTOCOL
from stacyvm.channel.agent_errors import agent_error
from stacyvm.channel.events import parse_frame
from stacyvm.channel.lines import LineSplitter
from stacyvm.channel.violation import ProtocolViolationError
from stacyvm.channel.writer import encode_frame
from stacyvm.domain.errors import AgentError
from stacyvm.domain.pipe import Pipe

HELLO_ID = 1
_LONGEST_TEXT = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentInfo:
    """What an agent says about itself. Claims, not facts: the sandbox may be hostile."""

    protocol: int
    agent: str  # version
    pid: int
    uid: int
    workspace: str
    boot: str  # random per agent process: another value means another process


async def greet(
    pipe: Pipe, splitter: LineSplitter, *, lease: float
) -> tuple[AgentInfo, Sequence[bytes]]:
    """Say hello and read until the echo of a fresh nonce; all before it is thrown away.

    Returns:
        The agent's answer, and the lines that came right behind it.

    Raises:
        AgentError: The pipe ended, or the agent speaks another protocol.
    """
    nonce = secrets.token_hex(16)
    hello = {"id": HELLO_ID, "op": "hello", "nonce": nonce, "lease_ms": round(lease * 1000)}
    await pipe.write(b"\n" + encode_frame(hello))
    needle = nonce.encode()
    while data := await pipe.read():
        lines = splitter.feed(data)
        for index, line in enumerate(lines):
            if needle in line and (answer := _echo(line, nonce)):
                splitter.strict()
                return _parse_info(answer), lines[index + 1 :]
    raise AgentError("the agent ended before it answered")


def _echo(line: bytes, nonce: str) -> dict[str, Any] | None:
    try:
        frame = parse_frame(line)
    except ProtocolViolationError:  # half a line of a former client's output may hold anything
        return None
    if frame["id"] != HELLO_ID or frame.get("nonce") != nonce:
        return None
    if frame["ev"] != "ok":
        raise agent_error(frame)
    return frame


def _parse_info(frame: dict[str, Any]) -> AgentInfo:
    if frame.get("protocol") != PROTOCOL:
        raise AgentError(
            f"the agent speaks protocol {frame.get('protocol')!r:.20}, this server {PROTOCOL}"
        )
    try:
        return AgentInfo(
            protocol=PROTOCOL,
            agent=_text(frame["agent"]),
            pid=_number(frame["pid"]),
            uid=_number(frame["uid"]),
            workspace=_text(frame["workspace"]),
            boot=_text(frame["boot"]),
        )
    except (KeyError, TypeError) as error:
        raise AgentError(f"the agent's greeting is malformed: {error}") from error


def _text(value: Any) -> str:
    if type(value) is not str or len(value) > _LONGEST_TEXT:
        raise TypeError("a text is missing")
    return value


def _number(value: Any) -> int:
    if type(value) is not int:
        raise TypeError("a number is missing")
    return value
