"""A tiny peer whose every byte the test decides, behind a real socket pair."""

import asyncio
import base64
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from stacyvm.channel.channel import Channel
from stacyvm.providers.stream_pipe import StreamPipe
from stacyvm.providers.tail import Tail

INFO = {"protocol": 1, "agent": "0.1.0", "pid": 7, "uid": 1000, "workspace": "/w", "boot": "b0"}


class ScriptedAgent:
    """The agent's end. ``send`` and ``send_raw`` say anything; ``receive`` returns one frame."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def receive(self) -> dict[str, Any]:
        while not (line := await self.reader.readline()).strip():
            assert line, "the channel went away"
        frame = json.loads(line)
        assert isinstance(frame, dict)
        return frame

    async def send(self, **frame: Any) -> None:
        await self.send_raw(json.dumps(frame).encode() + b"\n")

    async def send_raw(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def send_data(self, request_id: int, data: bytes, fd: int = 1) -> None:
        text = base64.b64encode(data).decode()
        await self.send(id=request_id, ev="data", fd=fd, data=text)

    async def greet(self) -> dict[str, Any]:
        hello = await self.receive()
        await self.send(id=hello["id"], ev="ok", nonce=hello["nonce"], **INFO)
        return hello

    async def gone(self) -> bool:
        """Wait until the channel has closed its end."""
        while await self.reader.read(65536):
            pass
        return True

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):  # the channel's end may have gone first
            await self.writer.wait_closed()


@asynccontextmanager
async def pipe_and_agent() -> AsyncIterator[tuple[StreamPipe, ScriptedAgent]]:
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=ours)
    agent = ScriptedAgent(*await asyncio.open_connection(sock=theirs, limit=2**23))
    pipe = StreamPipe(reader, writer, tail=Tail())
    try:
        yield pipe, agent
    finally:
        await pipe.close()
        await agent.close()


@asynccontextmanager
async def channel_and_agent() -> AsyncIterator[tuple[Channel, ScriptedAgent]]:
    async with pipe_and_agent() as (pipe, agent):
        greeting = asyncio.create_task(agent.greet())
        channel = await Channel.open(pipe, lease=60, timeout=5)
        await greeting
        try:
            yield channel, agent
        finally:
            await channel.close()
