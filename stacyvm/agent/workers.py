"""Threads for work that may take long, and how they talk with the loop."""

from __future__ import annotations

import _thread
import sys
from queue import SimpleQueue

from stacyvm.agent.failure import Failure
from stacyvm.agent.feed import InputWindow
from stacyvm.agent.frames import MAX_CHUNK, Frame
from stacyvm.agent.loop import Loop
from stacyvm.agent.requests import Live, Reply, override

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Workers:
    """At most ``threads`` at once; ``queue`` more wait for their turn, and no more than these."""

    def __init__(self, loop: Loop, *, threads: int, queue: int) -> None:
        loop.open_wake()
        # A thread that computes gives way to the loop after 0.5 ms instead of 5.
        sys.setswitchinterval(0.0005)
        self._loop = loop
        self._threads = threads
        self._most_waiting = queue
        self._waiting: list[Callable[[], None]] = []
        self._running = 0

    def start(self, work: Callable[[], None]) -> None:
        """Run ``work``, which must not raise, in a thread, now or when one is free.

        Raises:
            Failure: ``busy``: too many wait already, or the sandbox has no room for a thread.
        """
        if self._running < self._threads:
            self._launch(work)
        elif len(self._waiting) < self._most_waiting:
            self._waiting.append(work)
        else:
            raise Failure("busy", "too many long operations at once")

    def _launch(self, work: Callable[[], None]) -> None:
        try:
            _thread.start_new_thread(self._run, (work,))
        except RuntimeError as error:
            raise Failure("busy", "no room for another thread") from error
        self._running += 1

    def _run(self, work: Callable[[], None]) -> None:
        work()
        while self._waiting:
            try:
                work = self._waiting.pop(0)
            except IndexError:
                break  # another thread was quicker
            work()
        self._loop.post(self._ended)

    def _ended(self) -> None:
        self._running -= 1
        # What was queued between the thread's last look and now still needs one.
        if self._waiting:
            self._launch(self._waiting.pop(0))


class Job(Live):
    """A request done by a thread. ``work`` gets the job and returns the fields of ``ok``.

    Methods named for the thread's use wait for the client, and raise Failure ``cancelled``.
    """

    def __init__(
        self, reply: Reply, loop: Loop, work: Callable[[Job], Frame], *, window: int = 0
    ) -> None:
        super().__init__(reply)
        self._loop = loop
        self._work = work
        self._window = self._largest = window
        self._unsent = b""
        self._cancelled = False
        self._turn: SimpleQueue[None] = SimpleQueue()  # an item lets a waiting thread go on
        self._input: SimpleQueue[bytes] = SimpleQueue()
        self._input_window = InputWindow(lambda n: self.reply.send("credit", {"bytes": n}))

    def run(self) -> None:
        """Do the work; the thread's whole life."""
        try:
            self.check()
            fields = self._work(self)
        except Exception as error:  # noqa: BLE001 - the edge: answered as the request's error
            failed = error
            self._loop.post(lambda: self.reply.fail(failed))
        else:
            self._loop.post(lambda: self.reply.ok(fields))

    def check(self) -> None:
        """In the thread: raise if the client does not want the result any more."""
        if self._cancelled:
            raise Failure("cancelled", "cancelled by the client")

    def items(self, batch: list[object]) -> None:
        """In the thread: send items, and wait until there is room for more."""
        self._wait_for(lambda: self._sent(lambda: self.reply.send("items", {"items": batch})))

    def data(self, data: bytes) -> None:
        """In the thread: send bytes, and wait until the client has let all of them go."""
        self._unsent = data
        self._wait_for(self._send_data)

    def input(self) -> bytes:
        """In the thread: wait for input; empty at its end."""
        data = self._input.get()
        self.check()
        self._loop.post(lambda: self._input_window.used(len(data)))
        return data

    @override
    def take_input(self, data: bytes, *, eof: bool) -> None:
        """Queue input for the thread."""
        self._input_window.arrived(len(data))
        if data:
            self._input.put(data)
        if eof:
            self._input.put(b"")

    @override
    def credit(self, count: int) -> None:
        """Let the client have more."""
        self._window = min(self._window + count, self._largest)
        if self._unsent:
            self._send_data()

    @override
    def cancel(self) -> None:
        """Make the thread stop at its next step; it answers then."""
        self.release()

    @override
    def fail(self, error: BaseException) -> None:
        """Answer at once, and make the thread stop."""
        self.release()
        self.reply.fail(error)

    @override
    def release(self) -> None:
        """Make the thread stop, and wake it if it waits."""
        self._cancelled = True
        self._unsent = b""
        self._turn.put(None)
        self._input.put(b"")

    def _wait_for(self, step: Callable[[], None]) -> None:
        self.check()
        self._loop.post(lambda: self.guarded(step))
        self._turn.get()
        self.check()

    def _sent(self, send: Callable[[], None]) -> None:
        send()
        self.reply.outbox.when_room(lambda: self._turn.put(None))

    def _send_data(self) -> None:
        size = min(len(self._unsent), self._window, MAX_CHUNK)
        if not size:
            return  # `credit` goes on
        data, self._unsent = self._unsent[:size], self._unsent[size:]
        self._window -= size
        if self._unsent:
            self.reply.data(1, data)
            self._loop.post(lambda: self.guarded(self._send_data))
        else:
            self._sent(lambda: self.reply.data(1, data))
