"""What waits to be written to the agent's own stdout, which never blocks it."""

from __future__ import annotations

import os

from stacyvm.agent.loop import WRITE, Loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_HIGH_WATER = 2 << 20
_LOW_WATER = 1 << 20
_BATCH = 1 << 20


class ClientGoneError(Exception):
    """Nobody can ever read the agent's stdout again."""


class Outbox:
    """Queues lines. Whoever makes many asks ``full`` first, and waits by ``when_room``."""

    def __init__(self, loop: Loop, fd: int) -> None:
        self.size = 0  # bytes queued
        self._loop = loop
        self._fd = fd
        self._lines: list[bytes] = []
        self._waiting: list[Callable[[], None]] = []
        self._watching = False
        self._cut = False  # the first line has been written in part

    @property
    def full(self) -> bool:
        """True while producers must wait."""
        return self.size > _HIGH_WATER

    def put(self, line: bytes) -> None:
        """Queue a line; it leaves with the next ``flush``."""
        self._lines.append(line)
        self.size += len(line)

    def when_room(self, callback: Callable[[], None]) -> None:
        """Call back once the queue has shrunk; at once if it is not full."""
        self._waiting.append(callback)
        if not self.full:
            self._resume()

    def drop(self) -> None:
        """Forget what is queued; a line that is written in part is ended."""
        self._lines = [b"\n"] if self._cut else []
        self.size = len(self._lines)

    def flush(self) -> None:
        """Write as much as goes without waiting; the loop writes the rest when it can.

        Raises:
            ClientGoneError: The other end is closed.
        """
        while self._lines:
            if not self._write():
                break
        self._watch(on=bool(self._lines))
        if self._waiting and self.size <= _LOW_WATER:
            self._resume()

    def _write(self) -> bool:
        batch = self._lines[0]
        if len(self._lines) > 1 and len(batch) < _BATCH:
            batch = self._gather()
        try:
            count = os.write(self._fd, batch)
        except BlockingIOError:
            return False
        except (BrokenPipeError, ConnectionResetError) as error:
            raise ClientGoneError from error
        self.size -= count
        if count == len(batch):
            del self._lines[0]
            self._cut = False
            return True
        self._lines[0] = batch[count:]
        self._cut = batch[count - 1 : count] != b"\n"
        return False

    def _gather(self) -> bytes:
        """Join the first lines to one write."""
        size, count = 0, 0
        while count < len(self._lines) and size < _BATCH:
            size += len(self._lines[count])
            count += 1
        self._lines[:count] = [b"".join(self._lines[:count])]
        return self._lines[0]

    def _watch(self, *, on: bool) -> None:
        if on == self._watching:
            return
        self._watching = on
        if on:
            # `flush` runs after every turn, so being woken is all that is needed.
            self._loop.watch(self._fd, lambda _: None, WRITE)
        else:
            self._loop.forget(self._fd)

    def _resume(self) -> None:
        waiting, self._waiting = self._waiting, []
        for callback in waiting:
            callback()
