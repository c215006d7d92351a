"""Requests: the way back to whoever asked, and what is live meanwhile."""

from __future__ import annotations

import sys

from stacyvm.agent.failure import Failure, failure_of
from stacyvm.agent.frames import Frame, encode, encode_data
from stacyvm.agent.loop import Loop, Timer
from stacyvm.agent.outbox import Outbox

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import override as override
else:

    def override(method):
        """Mark a method that replaces one of its base; the type checker looks after the rest."""
        return method


class Reply:
    """Sends the events of one request, and exactly one terminal frame."""

    __slots__ = ("_ended", "_held", "_timer", "id", "open", "outbox")

    def __init__(self, request_id: int, outbox: Outbox, ended: Callable[[int], None]) -> None:
        self.id = request_id
        self.outbox = outbox
        self.open = True
        self._ended = ended
        self._held = b""
        self._timer: Timer | None = None

    def send(self, ev: str, fields: Frame) -> None:
        """Send an event; nothing once the request is over."""
        if self.open:
            self.catch_up()
            self.outbox.put(encode({"id": self.id, "ev": ev, **fields}))

    def hold(self, ev: str, fields: Frame, loop: Loop, seconds: float) -> None:
        """Send an event with the next one, or after ``seconds``: one write instead of two."""
        self._held = encode({"id": self.id, "ev": ev, **fields})
        self._timer = loop.later(seconds, self.catch_up)

    def catch_up(self) -> None:
        """Send the event that was held, unless it has gone."""
        if self._timer is None:
            return
        self._timer.cancel()
        self._timer = None
        if self.open:
            self.outbox.put(self._held)

    def data(self, fd: int, data: bytes) -> None:
        """Send a ``data`` event."""
        if self.open:
            self.catch_up()
            self.outbox.put(encode_data(self.id, fd, data))

    def ok(self, fields: Frame | None = None) -> None:
        """End the request well."""
        self._end("ok", fields or {})

    def fail(self, error: BaseException) -> None:
        """End the request with ``error``; a bug's traceback goes to stderr too."""
        failure = failure_of(error)
        if failure.code == "internal" and not isinstance(error, Failure):
            sys.excepthook(type(error), error, error.__traceback__)
        self._end("error", {"code": failure.code, "message": failure.message})

    def mute(self) -> None:
        """Send nothing any more: the client that asked is gone."""
        self.open = False

    def _end(self, ev: str, fields: Frame) -> None:
        if self.open:
            self.send(ev, fields)
            self.open = False
            self._ended(self.id)


class Live:
    """A request that goes on after its handler has returned."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply

    def guarded(self, step: Callable[[], None]) -> None:
        """Run a step; if it fails the request does, and its resources go."""
        try:
            step()
        except Exception as error:  # noqa: BLE001 - the edge: one request's bug is not the agent's end
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """End with ``error``."""
        self.release()
        self.reply.fail(error)

    def take_input(self, data: bytes, *, eof: bool) -> None:
        """Take input from the client; an operation without input refuses it."""
        raise Failure("protocol", "this request takes no input")

    def credit(self, count: int) -> None:
        """Let ``count`` more bytes of data go to the client."""

    def cancel(self) -> None:
        """End at the client's wish."""
        self.fail(Failure("cancelled", "cancelled by the client"))

    def abandon(self) -> None:
        """End because the client is gone; the reply is muted already."""
        self.cancel()

    def release(self) -> None:
        """Give back what the request holds: descriptors, files, threads. Idempotent."""
