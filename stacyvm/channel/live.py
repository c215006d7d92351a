"""The server's memory of one request between its sending and its terminal frame."""

import asyncio
from collections import deque
from typing import Any

from stacyvm.agent.frames import DEFAULT_WINDOW
from stacyvm.channel.agent_errors import agent_error
from stacyvm.channel.events import Data, Event, is_terminal, parse_credit, parse_event
from stacyvm.channel.violation import ProtocolViolationError
from stacyvm.domain.errors import LimitExceededError, StacyError

# Above this many waiting events data is merged per descriptor, so that a process that prints single
# bytes to stdout and stderr in turn costs its window in memory and not a hundred times that.
_MERGE_ABOVE = 2048
# Listings have no window; this many bytes of frames may wait for a slow consumer.
_LARGEST_LISTING = 64 * 2**20


class LiveRequest:
    """Takes a request's frames as they come, without I/O, and keeps what nobody took yet.

    Memory is bounded: data by the window, listings by a limit that ends the request.
    """

    def __init__(self, request_id: int, op: str, *, path: str, window: int, streams: bool) -> None:
        """Begin with nothing received.

        Args:
            request_id: Its id on this attachment.
            op: The operation, for messages.
            path: The path it is about, for messages.
            window: Bytes the agent may send ahead of the consumer; 0 if it may send no data.
            streams: Whether any event but ``credit`` may come before the end.
        """
        self.id = request_id
        self.op = op
        self.ended = asyncio.Event()
        self.arrived = asyncio.Event()  # an event, or the end, is there to be taken
        self.credited = asyncio.Event()  # input may be sent, or the end is there
        self.credit = DEFAULT_WINDOW  # bytes of input the agent takes now
        self.unreturned = 0  # bytes taken by the consumer and not yet given back as credit
        self._path = path
        self._window = window
        self._streams = streams
        self._outstanding = 0  # bytes the agent has sent and not been given back
        self._listing = 0
        self._events: deque[tuple[Event, int]] = deque()
        self._merged: dict[int, bytearray] = {}
        self._outcome: dict[str, Any] | StacyError | None = None
        self.credited.set()

    def result(self) -> dict[str, Any]:
        """Return the ``ok`` frame; only once ``ended`` is set.

        Raises:
            StacyError: The request ended with an error, or the channel with it.
        """
        if isinstance(self._outcome, StacyError):
            raise self._outcome
        if self._outcome is None:
            raise RuntimeError("the request has not ended")
        return self._outcome

    def end(self, outcome: dict[str, Any] | StacyError) -> None:
        """Set the outcome, unless there is one, and wake everyone who waits."""
        if self._outcome is None:
            self._outcome = outcome
            self.ended.set()
            self.arrived.set()
            self.credited.set()

    def accept(self, frame: dict[str, Any], size: int) -> None:
        """Take one frame that came as ``size`` bytes.

        Raises:
            ProtocolViolationError: The frame is not one this request may get now.
        """
        if is_terminal(frame):
            ok = frame["ev"] == "ok"
            self.end(frame if ok else agent_error(frame, path=self._path))
        elif frame["ev"] == "credit":
            self.credit += parse_credit(frame)
            self.credited.set()
        elif not self._streams:
            raise ProtocolViolationError(f"an event in answer to {self.op}")
        else:
            self._accept_event(parse_event(frame), size)

    @property
    def waiting(self) -> bool:
        """True while ``take`` has something to give, or the end is there."""
        return bool(self._events or self._merged) or self.ended.is_set()

    def take(self) -> Event | None:
        """Return the next event, or None if none is waiting."""
        if not self._events and self._merged:
            for fd, data in self._merged.items():
                self._events.append((Data(fd, bytes(data)), 0))
            self._merged = {}
        if not self._events:
            if not self.ended.is_set():
                self.arrived.clear()
            return None
        event, size = self._events.popleft()
        self._listing -= size
        return event

    def take_credit(self) -> int:
        """Return the bytes to give back to the agent now: 0 until half a window has gathered."""
        if self.unreturned * 2 < self._window:
            return 0
        count, self.unreturned = self.unreturned, 0
        self._outstanding -= count
        return count

    def _accept_event(self, event: Event, size: int) -> None:
        if isinstance(event, Data):
            self._accept_data(event)
        elif self._listing + size > _LARGEST_LISTING:
            self.end(LimitExceededError(f"the answer to {self.op} is too large to hold"))
        else:
            self._listing += size
            self._events.append((event, size))
        self.arrived.set()

    def _accept_data(self, event: Data) -> None:
        self._outstanding += len(event.data)
        if self._outstanding > self._window:
            raise ProtocolViolationError(f"a window overrun by {self.op}")
        if not event.data:
            return
        if self._merged or len(self._events) >= _MERGE_ABOVE:
            self._merged.setdefault(event.fd, bytearray()).extend(event.data)
        else:
            self._events.append((event, 0))
