import asyncio
import base64
import time

import pytest

from stacyvm.agent.frames import DEFAULT_WINDOW, MAX_CHUNK
from stacyvm.channel.channel import Channel
from stacyvm.channel.events import Data
from stacyvm.domain.errors import ChannelClosedError, LimitExceededError, StorageFullError
from tests.unit.channel.scripted_agent import ScriptedAgent, channel_and_agent


async def test_credit_goes_back_in_halves_of_the_window_as_the_consumer_takes() -> None:
    async with (
        channel_and_agent() as (channel, agent),
        channel.stream("exec", argv=["x"], window=1000) as stream,
    ):
        request = await agent.receive()
        assert request["window"] == 1000
        for _ in range(10):
            await agent.send_data(request["id"], b"x" * 100)
        events = aiter(stream)
        for _ in range(6):
            await anext(events)
        assert await agent.receive() == {"op": "credit", "to": request["id"], "bytes": 500}
        await agent.send(id=request["id"], ev="ok")
        assert len([event async for event in events]) == 4


async def test_a_window_overrun_is_a_violation() -> None:
    async with (
        channel_and_agent() as (channel, agent),
        channel.stream("exec", argv=["x"], window=1000),
    ):
        request = await agent.receive()
        await agent.send_data(request["id"], b"x" * 1000)
        await agent.send_data(request["id"], b"x")
        assert "window overrun" in await channel.wait_closed()


async def test_data_for_a_request_without_a_window_is_a_violation() -> None:
    async with channel_and_agent() as (channel, agent), channel.stream("list", path="."):
        request = await agent.receive()
        assert "window" not in request
        await agent.send_data(request["id"], b"x")
        assert "window overrun" in await channel.wait_closed()


async def test_a_chunk_above_the_limit_is_a_violation() -> None:
    async with channel_and_agent() as (channel, agent), channel.stream("exec", argv=["x"]):
        request = await agent.receive()
        await agent.send_data(request["id"], b"x" * (MAX_CHUNK + 1))
        assert "chunk" in await channel.wait_closed()


async def test_a_slow_consumer_never_delays_another_stream() -> None:
    async with (
        channel_and_agent() as (channel, agent),
        channel.stream("exec", argv=["slow"]) as slow,
    ):
        slow_id = (await agent.receive())["id"]
        for _ in range(4):
            await agent.send_data(slow_id, b"x" * MAX_CHUNK)
        async with channel.stream("exec", argv=["quick"]) as quick:
            quick_id = (await agent.receive())["id"]
            await agent.send_data(quick_id, b"here")
            await agent.send(id=quick_id, ev="ok")
            assert [event async for event in quick] == [Data(1, b"here")]
        await agent.send(id=slow_id, ev="ok")
        taken = [event async for event in slow]
        assert sum(len(e.data) for e in taken if isinstance(e, Data)) == DEFAULT_WINDOW


async def test_many_tiny_alternating_chunks_are_kept_in_few_objects() -> None:
    async with (
        channel_and_agent() as (channel, agent),
        channel.stream("exec", argv=["x"]) as stream,
    ):
        request_id = (await agent.receive())["id"]
        for n in range(20_000):
            agent.writer.write(
                b'{"id":%d,"ev":"data","fd":%d,"data":"%s"}\n'
                % (request_id, n % 2 + 1, base64.b64encode(b"ab"[n % 2 : n % 2 + 1]))
            )
        await agent.send(id=request_id, ev="ok")
        await _wait_for_end(channel, request_id)
        events = [event async for event in stream]
        assert len(events) < 3000
        text = {
            fd: b"".join(e.data for e in events if isinstance(e, Data) and e.fd == fd)
            for fd in (1, 2)
        }
        assert text == {1: b"a" * 10_000, 2: b"b" * 10_000}


async def test_a_listing_beyond_all_measure_ends_its_request_alone() -> None:
    async with channel_and_agent() as (channel, agent):
        async with channel.stream("list", path=".") as stream:
            request_id = (await agent.receive())["id"]
            for _ in range(70):
                await agent.send(id=request_id, ev="items", items=["x" * 1_000_000])
            assert await agent.receive() == {"op": "cancel", "to": request_id}
            with pytest.raises(LimitExceededError):
                [event async for event in stream]
        assert not channel.closed


async def test_leaving_early_cancels_and_waits_for_the_end() -> None:
    async with channel_and_agent() as (channel, agent):
        ended = asyncio.Event()

        async def die_slowly() -> None:
            request = await agent.receive()
            await agent.send_data(request["id"], b"x")
            assert await agent.receive() == {"op": "cancel", "to": request["id"]}
            for _ in range(20):  # the rest of its output, more than its window
                await agent.send_data(request["id"], b"x" * MAX_CHUNK)
                while (await agent.receive())["op"] != "credit" and not ended.is_set():
                    pass
            ended.set()
            await agent.send(id=request["id"], ev="ok")

        dying = asyncio.create_task(die_slowly())
        async with channel.stream("exec", argv=["x"], window=MAX_CHUNK + 1) as stream:
            await anext(aiter(stream))
        assert ended.is_set()
        await dying
        assert not channel._live


async def test_leaving_early_waits_only_so_long_and_late_frames_do_no_harm() -> None:
    async with channel_and_agent() as (channel, agent):
        start = time.monotonic()
        async with channel.stream("exec", argv=["x"], grace_ms=-2900):
            request = await agent.receive()
        assert time.monotonic() - start < 2
        for _ in range(8):
            await agent.send_data(request["id"], b"x" * MAX_CHUNK)
        call = asyncio.create_task(channel.call("ping"))
        while (frame := await agent.receive())["op"] != "ping":
            pass
        await agent.send(id=frame["id"], ev="ok")
        await call


async def test_a_cancelled_consumer_cancels_at_the_agent() -> None:
    async with channel_and_agent() as (channel, agent):

        async def consume() -> None:
            async with channel.stream("exec", argv=["x"]) as stream:
                async for _ in stream:
                    pass

        consumer = asyncio.create_task(consume())
        request = await agent.receive()
        consumer.cancel()
        assert await agent.receive() == {"op": "cancel", "to": request["id"]}
        await agent.send(id=request["id"], ev="ok")
        with pytest.raises(asyncio.CancelledError):
            await consumer
        assert not channel._live


async def test_input_is_cut_into_chunks_and_waits_for_credit() -> None:
    async with (
        channel_and_agent() as (channel, agent),
        channel.stream("write", path="a") as stream,
    ):
        body = bytes(range(256)) * 8192  # 2 MiB
        sending = asyncio.create_task(stream.send(body, eof=True))
        request = await agent.receive()
        got = await _receive_input(agent, DEFAULT_WINDOW)
        await asyncio.sleep(0.05)
        assert not sending.done()
        await agent.send(id=request["id"], ev="credit", bytes=2 * DEFAULT_WINDOW)
        got += await _receive_input(agent, DEFAULT_WINDOW, eof=True)
        await sending
        assert got == body
        await agent.send(id=request["id"], ev="ok", size=len(body))
        assert [event async for event in stream] == []


async def test_an_end_without_data_is_sent() -> None:
    async with (
        channel_and_agent() as (channel, agent),
        channel.stream("exec", argv=["x"], stdin=True) as stream,
    ):
        request = await agent.receive()
        await stream.send(b"")
        await stream.send(b"", eof=True)
        frame = await agent.receive()
        assert frame == {"op": "input", "to": request["id"], "data": "", "eof": True}
        await agent.send(id=request["id"], ev="ok")


async def test_a_sender_waiting_for_credit_learns_of_the_failure() -> None:
    async with (
        channel_and_agent() as (channel, agent),
        channel.stream("write", path="a") as stream,
    ):
        sending = asyncio.create_task(stream.send(b"x" * 2 * DEFAULT_WINDOW))
        request = await agent.receive()
        await agent.send(id=request["id"], ev="error", code="no_space", message="full")
        with pytest.raises(StorageFullError):
            await sending


async def test_input_for_a_process_that_ended_well_is_dropped() -> None:
    async with (
        channel_and_agent() as (channel, agent),
        channel.stream("exec", argv=["true"], stdin=True) as stream,
    ):
        request = await agent.receive()
        await agent.send(id=request["id"], ev="ok", exit_code=0)
        assert [event async for event in stream] == []
        await stream.send(b"x" * 3 * DEFAULT_WINDOW, eof=True)


async def test_an_upload_stops_when_the_agent_reads_no_more() -> None:
    async with (
        channel_and_agent() as (channel, agent),
        channel.stream("write", path="a") as stream,
    ):
        request = await agent.receive()
        await agent.send(id=request["id"], ev="credit", bytes=2**30)
        sending = asyncio.create_task(stream.send(b"x" * 2**26))
        await asyncio.sleep(0.2)
        assert not sending.done()
        assert channel._writer._size < 3 * 2**20
        await channel.close("enough")
        with pytest.raises(ChannelClosedError, match="enough"):
            await sending


async def test_a_signal_is_a_call_of_its_own() -> None:
    async with (
        channel_and_agent() as (channel, agent),
        channel.stream("exec", argv=["x"]) as stream,
    ):
        request = await agent.receive()
        signalling = asyncio.create_task(stream.signal("SIGINT"))
        frame = await agent.receive()
        assert (frame["op"], frame["to"], frame["signal"]) == (
            "signal",
            request["id"],
            "SIGINT",
        )
        await agent.send(id=frame["id"], ev="ok")
        await signalling
        await agent.send(id=request["id"], ev="ok")


async def _receive_input(agent: ScriptedAgent, size: int, *, eof: bool = False) -> bytes:
    got = b""
    while len(got) < size:
        frame = await agent.receive()
        assert frame["op"] == "input"
        piece = base64.b64decode(frame["data"])
        assert len(piece) <= MAX_CHUNK
        got += piece
        assert frame["eof"] is (eof and len(got) == size)
    return got


async def _wait_for_end(channel: Channel, request_id: int) -> None:
    async with asyncio.timeout(10):
        await channel._live[request_id].ended.wait()
