"""The agent: reads frames, hands requests to operations, and keeps the lease."""

from __future__ import annotations

import os
import sys

from stacyvm.agent import fields
from stacyvm.agent.failure import Failure
from stacyvm.agent.frames import (
    PROTOCOL,
    VERSION,
    Frame,
    LineSplitter,
    decode,
    encode,
)
from stacyvm.agent.loop import ENDED, READ, Loop, Timer
from stacyvm.agent.options import Options
from stacyvm.agent.outbox import ClientGoneError, Outbox
from stacyvm.agent.paths import Paths
from stacyvm.agent.privileges import StartError
from stacyvm.agent.requests import Live, Reply

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from stacyvm.agent.guardian import Guardian
    from stacyvm.agent.operations import Operations

_MOST_LIVE = 1024
# Requests are not read while this many bytes of answers wait: a client that asks and never reads
# fills its own pipe and not the agent's memory.
_STALLED = 16 << 20
_LONGEST_LEASE_MS = 1 << 45
_WARM_UP = 0.3  # seconds after the first hello
LEASE_OVER = 124
TERMINATED = 143


class Agent:
    """One agent process. ``run`` returns its exit status."""

    def __init__(
        self,
        options: Options,
        paths: Paths,
        environment: dict[bytes, bytes],
        guardian: Guardian | None,
    ) -> None:
        """Serve with ``environment`` as what commands inherit.

        With a ``guardian`` it is told of every lease, and may ask for the end.
        """
        self.loop = Loop()
        self.outbox = Outbox(self.loop, 1)
        self.boot = os.urandom(8).hex()
        self._options = options
        self._paths = paths
        self._environment = environment
        self._guardian = guardian
        self._splitter = LineSplitter()
        self._live: dict[int, Live] = {}
        self._last_id = 0
        self._status: int | None = None
        self._paused = False
        self._operations: Operations | None = None
        self._lease: Timer | None = None
        self._core: dict[str, Callable[[Frame, Reply], Live | None]] = {
            "hello": self._hello,
            "ping": self._ping,
            "lease": self._renew,
        }
        self._notes: dict[str, Callable[[Live, Frame], None]] = {
            "input": self._input,
            "credit": self._credit,
            "cancel": lambda live, _: live.cancel(),
        }

    def run(self) -> int:
        """Serve until the client, the lease or a signal ends it; then kill everything."""
        self._set_lease(self._options.lease_ms)
        if self._guardian is not None:
            self.loop.watch(self._guardian.stop, lambda _: self.stop(TERMINATED))
        for fd in (0, 1):
            os.set_blocking(fd, False)
        try:
            self.loop.watch(0, self._readable)
        except PermissionError as error:
            raise StartError("stdin and stdout must be pipes or sockets") from error
        while self._status is None:
            try:
                self.loop.turn()
                self.outbox.flush()
            except ClientGoneError:
                self._status = 0
            if self._paused and self.outbox.size < _STALLED:
                self._pause(on=False)
        self._kill_all()
        return self._status

    def stop(self, status: int) -> None:
        """Make ``run`` return ``status`` soon."""
        self._status = status

    def operations(self) -> Operations:
        """Return everything beyond hello, loaded after the first answer: that one is urgent."""
        if self._operations is None:
            from stacyvm.agent.operations import Operations

            self._operations = Operations(
                self.loop, self._options, self._paths, self._environment, self.boot
            )
            self._operations.on_terminate(lambda: self.stop(TERMINATED))
        return self._operations

    def _kill_all(self) -> None:
        for live in list(self._live.values()):
            live.reply.mute()
            live.release()
        if self._operations is not None:
            self._operations.kill_all()

    def _readable(self, mask: int) -> None:
        if self._paused:
            if mask & ENDED:
                self.stop(0)
            return
        try:
            data = os.read(0, 1 << 18)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        if data:
            self._feed(data)
        else:
            self.stop(0)

    def _feed(self, data: bytes) -> None:
        for line in self._splitter.feed(data):
            if line != b"":
                self._take(line)
        if self.outbox.size >= _STALLED:
            self._pause(on=True)

    def _pause(self, *, on: bool) -> None:
        self._paused = on
        self.loop.watch(0, self._readable, 0 if on else READ)

    def _take(self, line: bytes | None) -> None:
        try:
            frame, op = _parse(line)
            if note := self._notes.get(op):
                self._note(note, frame)
            else:
                self._request(op, frame)
        except ValueError as error:
            said = {"code": "protocol", "message": str(error)[:200]}
            self.outbox.put(encode({"id": 0, "ev": "error", **said}))

    def _request(self, op: str, frame: Frame) -> None:
        request_id = frame.get("id")
        if type(request_id) is not int or not 0 < request_id < 1 << 53:
            raise ValueError("id must be a positive integer")
        if op != "hello" and request_id <= self._last_id:
            raise ValueError(f"id {request_id} is not above all used before")
        self._last_id = request_id
        reply = Reply(request_id, self.outbox, self._forget)
        try:
            live = self._handler(op)(frame, reply)
        except Exception as error:  # noqa: BLE001 - the edge: it is answered
            reply.fail(error)
            return
        if live is not None and reply.open:
            self._live[request_id] = live

    def _handler(self, op: str) -> Callable[[Frame, Reply], Live | None]:
        if handler := self._core.get(op):
            return handler
        if len(self._live) >= _MOST_LIVE:
            raise Failure("busy", f"{_MOST_LIVE} requests are live already")
        handler = self.operations().table.get(op)
        if handler is None:
            raise Failure("invalid", f"unknown op {op[:40]!r}")
        return handler

    def _forget(self, request_id: int) -> None:
        self._live.pop(request_id, None)

    def _note(self, note: Callable[[Live, Frame], None], frame: Frame) -> None:
        to = frame.get("to")
        live = self._live.get(to) if type(to) is int else None
        if live is not None:
            live.guarded(lambda: note(live, frame))

    @staticmethod
    def _input(live: Live, frame: Frame) -> None:
        try:
            data, eof = fields.data(frame), fields.boolean(frame, "eof")
        except Failure as failure:
            raise Failure("protocol", failure.message) from failure
        live.take_input(data, eof=eof)

    @staticmethod
    def _credit(live: Live, frame: Frame) -> None:
        live.credit(fields.required(frame, "bytes", 1, 1 << 40))

    def _hello(self, frame: Frame, reply: Reply) -> None:
        nonce = fields.text(frame, "nonce")
        if len(nonce) > 200:
            raise Failure("invalid", "nonce must have at most 200 characters")
        lease_ms = fields.required(frame, "lease_ms", 1, _LONGEST_LEASE_MS)
        former, self._live = self._live, {}
        for live in former.values():
            live.reply.mute()
            live.guarded(live.abandon)
        self.outbox.drop()
        self._set_lease(lease_ms)
        reply.ok(
            {
                "nonce": nonce,
                "protocol": PROTOCOL,
                "agent": VERSION,
                "pid": os.getpid(),
                "uid": os.geteuid(),
                "workspace": self._paths.workspace,
                "boot": self.boot,
            }
        )
        if self._operations is None:
            # A request right behind the hello loads what it needs; otherwise that is left to a
            # quieter moment than that in which other sandboxes may be starting too.
            self.loop.later(_WARM_UP, self._warm_up)

    def _warm_up(self) -> None:
        """Load early what the first request would otherwise wait for."""
        self.operations()

    @staticmethod
    def _ping(_: Frame, reply: Reply) -> None:
        reply.ok()

    def _renew(self, frame: Frame, reply: Reply) -> None:
        self._set_lease(fields.required(frame, "ttl_ms", 1, _LONGEST_LEASE_MS))
        reply.ok()

    def _set_lease(self, milliseconds: int) -> None:
        if self._guardian is not None:
            self._guardian.renew(milliseconds)
        if self._lease is not None:
            self._lease.cancel()
        self._lease = self.loop.later(milliseconds / 1000, self._lease_over)

    def _lease_over(self) -> None:
        sys.stderr.write("stacyvm agent: the lease is over\n")
        self.stop(LEASE_OVER)


def _parse(line: bytes | None) -> tuple[Frame, str]:
    if line is None:
        raise ValueError("a line of more than 1 MiB")
    frame = decode(line)
    op = frame.get("op")
    if type(op) is not str:
        raise ValueError("op must be a string")
    return frame, op
