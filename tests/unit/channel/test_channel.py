import asyncio
import json
from typing import Any

import pytest

from stacyvm.channel.channel import Channel
from stacyvm.channel.events import Data, Info, Items
from stacyvm.domain.errors import (
    AgentError,
    ChannelClosedError,
    ConflictError,
    DeadlineExceededError,
    FileMissingError,
    ForbiddenError,
    InvalidPathError,
    InvalidRequestError,
    LimitExceededError,
    NotADirectoryError_,
    NotAFileError,
    StacyError,
    StorageFullError,
)
from tests.unit.channel.scripted_agent import (
    INFO,
    ScriptedAgent,
    channel_and_agent,
    pipe_and_agent,
)


async def test_open_says_hello_with_the_lease_and_keeps_the_answer() -> None:
    async with pipe_and_agent() as (pipe, agent):
        greeting = asyncio.create_task(agent.greet())
        channel = await Channel.open(pipe, lease=1.5, timeout=5)
        hello = await greeting
        assert (hello["id"], hello["op"], hello["lease_ms"]) == (1, "hello", 1500)
        assert (channel.info.pid, channel.info.workspace, channel.info.boot) == (7, "/w", "b0")
        await channel.close()


async def test_everything_before_the_echo_of_the_nonce_is_thrown_away() -> None:
    async with pipe_and_agent() as (pipe, agent):
        opening = asyncio.create_task(Channel.open(pipe, lease=60, timeout=5))
        hello = await agent.receive()
        await agent.send_raw(b'alf a line"}\n\xff\x00\n' + b"x" * 3_000_000 + b"\n[]\n")
        await agent.send(id=1, ev="ok", nonce="another", **INFO)
        await agent.send(id=9, ev="data", data=hello["nonce"])
        await agent.send_raw(b"}" + hello["nonce"].encode() + b"\n")
        await agent.send(id=1, ev="ok", nonce=hello["nonce"], **INFO)
        channel = await opening
        assert not channel.closed
        await channel.close()


async def test_open_fails_in_time_when_nobody_answers_and_closes_the_pipe() -> None:
    async with pipe_and_agent() as (pipe, agent):
        with pytest.raises(DeadlineExceededError, match="did not answer within"):
            await Channel.open(pipe, lease=60, timeout=0.05)
        assert await agent.gone()


async def test_open_fails_when_the_agent_ends_first() -> None:
    async with pipe_and_agent() as (pipe, agent):
        await agent.close()
        with pytest.raises(AgentError):
            await Channel.open(pipe, lease=60, timeout=5)


@pytest.mark.parametrize(
    "change",
    [{"protocol": 2}, {"protocol": None}, {"pid": "7"}, {"boot": 1}, {"workspace": "w" * 5000}],
)
async def test_open_refuses_a_strange_greeting(change: dict[str, Any]) -> None:
    async with pipe_and_agent() as (pipe, agent):
        opening = asyncio.create_task(Channel.open(pipe, lease=60, timeout=5))
        hello = await agent.receive()
        await agent.send(**{"id": 1, "ev": "ok", "nonce": hello["nonce"], **INFO, **change})
        with pytest.raises(AgentError):
            await opening
        assert await agent.gone()


async def test_answers_find_their_callers_in_any_order() -> None:
    async with channel_and_agent() as (channel, agent):
        calls = [asyncio.create_task(channel.call("stat", path=str(n))) for n in range(20)]
        requests = [await agent.receive() for _ in calls]
        assert [request["id"] for request in requests] == list(range(2, 22))
        for request in reversed(requests):
            await agent.send(id=request["id"], ev="ok", n=request["path"])
        assert [(await call)["n"] for call in calls] == [str(n) for n in range(20)]


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("invalid_path", InvalidPathError),
        ("invalid", InvalidRequestError),
        ("not_found", FileMissingError),
        ("not_a_file", NotAFileError),
        ("is_a_directory", NotAFileError),
        ("not_a_directory", NotADirectoryError_),
        ("not_empty", ConflictError),
        ("exists", ConflictError),
        ("permission", ForbiddenError),
        ("no_space", StorageFullError),
        ("too_many", LimitExceededError),
        ("busy", LimitExceededError),
        ("cancelled", AgentError),
        ("io", AgentError),
        ("protocol", AgentError),
        ("never heard of", AgentError),
        (None, AgentError),
        ({}, AgentError),
    ],
)
async def test_error_codes_become_domain_errors(code: Any, kind: type[StacyError]) -> None:
    async with channel_and_agent() as (channel, agent):
        call = asyncio.create_task(channel.call("stat", path="a"))
        request = await agent.receive()
        await agent.send(id=request["id"], ev="error", code=code, message="said so")
        with pytest.raises(kind) as caught:
            await call
        assert type(caught.value) is kind
        assert not channel.closed


async def test_a_call_that_takes_too_long_is_cancelled_and_its_late_answer_ignored() -> None:
    async with channel_and_agent() as (channel, agent):
        with pytest.raises(DeadlineExceededError):
            await channel.call("ping", timeout=0.05)
        ping, cancel = await agent.receive(), await agent.receive()
        assert cancel == {"op": "cancel", "to": ping["id"]}
        await agent.send(id=ping["id"], ev="ok")
        await agent.send(id=ping["id"], ev="nonsense")
        assert await _ping(channel, agent)
        assert not channel._live


async def test_a_cancelled_caller_cancels_at_the_agent() -> None:
    async with channel_and_agent() as (channel, agent):
        call = asyncio.create_task(channel.call("ping"))
        ping = await agent.receive()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await agent.receive() == {"op": "cancel", "to": ping["id"]}


async def test_the_end_of_the_pipe_ends_every_live_request() -> None:
    async with channel_and_agent() as (channel, agent):
        call = asyncio.create_task(channel.call("ping"))
        await agent.receive()
        async with channel.stream("exec", argv=["x"]) as stream:
            request = await agent.receive()
            await agent.send_data(request["id"], b"last words")
            await agent.close()
            assert await anext(aiter(stream)) == Data(1, b"last words")
            with pytest.raises(ChannelClosedError, match="is gone"):
                await anext(aiter(stream))
            with pytest.raises(ChannelClosedError):
                await stream.send(b"more")
        with pytest.raises(ChannelClosedError):
            await call
        assert "is gone" in await channel.wait_closed()
        with pytest.raises(ChannelClosedError):
            await channel.call("ping")


async def test_close_is_idempotent_and_keeps_the_first_reason() -> None:
    async with channel_and_agent() as (channel, agent):
        call = asyncio.create_task(channel.call("ping"))
        await agent.receive()
        await asyncio.gather(channel.close("first"), channel.close("second"))
        assert (channel.closed, channel.reason, await channel.wait_closed()) == (
            True,
            "first",
            "first",
        )
        with pytest.raises(ChannelClosedError, match="first"):
            await call
        assert await agent.gone()
        assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize(
    "line",
    [
        b"not json",
        b'"text"',
        b"[]",
        b"{}",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"id":NaN,"ev":"ok"}',
        b'{"id":true,"ev":"ok"}',
        b'{"id":-1,"ev":"ok"}',
        b'{"id":2,"ev":3}',
        b'{"id":3,"ev":"ok"}',
        b'{"id":' + b"9" * 5000 + b',"ev":"ok"}',
        b'{"id":2,"ev":"data","data":"*"}',
        b'{"id":2,"ev":"data","data":"\xc3\xa9"}',
        b'{"id":2,"ev":"data","data":"YQ==","fd":3}',
        b'{"id":2,"ev":"data","data":"YQ==","fd":true}',
        b'{"id":2,"ev":"data","data":7}',
        b'{"id":2,"ev":"items","items":{}}',
        b'{"id":2,"ev":"credit","bytes":-1}',
        b'{"id":2,"ev":"credit","bytes":1e3}',
        b'{"id":2,"ev":"surprise"}',
        b"x" * 2**20,
    ],
)
async def test_junk_closes_the_channel_as_a_violation(line: bytes) -> None:
    async with channel_and_agent() as (channel, agent):
        async with channel.stream("exec", argv=["x"]) as stream:
            await agent.receive()
            await agent.send_raw(line + b"\n")
            with pytest.raises(ChannelClosedError, match="protocol violation"):
                await anext(aiter(stream))
        assert (await channel.wait_closed()).startswith("protocol violation: ")
        assert await agent.gone()


async def test_a_call_gets_no_events() -> None:
    async with channel_and_agent() as (channel, agent):
        call = asyncio.create_task(channel.call("write", path="a"))
        request = await agent.receive()
        await agent.send(id=request["id"], ev="credit", bytes=10)
        await agent.send(id=request["id"], ev="items", items=[])
        with pytest.raises(ChannelClosedError, match="in answer to write"):
            await call


async def test_an_agent_that_never_reads_is_given_up() -> None:
    async with channel_and_agent() as (channel, _):
        calls = [
            asyncio.create_task(channel.call("write", path="a", data="A" * 900_000))
            for _ in range(30)
        ]
        for call in calls:
            with pytest.raises(ChannelClosedError, match="does not read"):
                await call


async def test_a_request_too_large_for_a_frame_is_refused_and_harms_nobody() -> None:
    async with channel_and_agent() as (channel, agent):
        with pytest.raises(InvalidRequestError, match="limit 1048576"):
            await channel.call("exec", argv=["x" * 2**20])
        with pytest.raises(InvalidRequestError):
            await channel.call("exec", argv=[float("nan")])
        assert await _ping(channel, agent)


async def test_a_second_terminal_frame_is_ignored() -> None:
    async with channel_and_agent() as (channel, agent), channel.stream("stat") as stream:
        request = await agent.receive()
        await agent.send(id=request["id"], ev="ok", n=1)
        await agent.send(id=request["id"], ev="error", code="io")
        assert await _ping(channel, agent)
        assert [event async for event in stream] == []
        assert stream.result["n"] == 1


async def test_bytes_that_are_not_text_pass_both_ways() -> None:
    async with channel_and_agent() as (channel, agent):
        call = asyncio.create_task(channel.call("stat", path="a\udcff"))
        request = await agent.receive()
        assert request["path"] == "a\udcff"
        line = json.dumps({"id": request["id"], "ev": "ok", "path": "a\udcff"})
        await agent.send_raw(line.encode() + b"\n")
        assert (await call)["path"] == "a\udcff"


async def test_listings_and_facts_come_in_order() -> None:
    async with channel_and_agent() as (channel, agent), channel.stream("read", path="a") as stream:
        request = await agent.receive()
        await agent.send(id=request["id"], ev="info", info={"size": 3}, offset=0)
        await agent.send(id=request["id"], ev="items", items=[1, 2])
        await agent.send_data(request["id"], b"abc")
        await agent.send(id=request["id"], ev="ok", bytes=3)
        assert [event async for event in stream] == [
            Info({"info": {"size": 3}, "offset": 0}),
            Items([1, 2]),
            Data(1, b"abc"),
        ]
        assert stream.result["bytes"] == 3


async def _ping(channel: Channel, agent: ScriptedAgent) -> bool:
    call = asyncio.create_task(channel.call("ping"))
    while (request := await agent.receive())["op"] != "ping":
        pass
    await agent.send(id=request["id"], ev="ok", pong=True)
    return bool((await call)["pong"])


async def test_an_error_about_a_path_names_it_once() -> None:
    async with channel_and_agent() as (channel, agent):
        for said, heard in (("it is a folder", "/a/b: it is a folder"), ("/a/b: no", "/a/b: no")):
            call = asyncio.create_task(channel.call("read", path="/a/b"))
            request = await agent.receive()
            await agent.send(id=request["id"], ev="error", code="is_a_directory", message=said)
            with pytest.raises(NotAFileError, match=f"^{heard}$"):
                await call
