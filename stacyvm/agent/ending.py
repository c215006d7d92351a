"""Ending a command for good: politely, then not."""

from __future__ import annotations

import signal

from stacyvm.agent.children import Children, Family, kill
from stacyvm.agent.loop import Loop, Timer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_FIRST_LOOK = 0.005
_LONGEST_LOOK = 0.1
_ROUND = 0.02
_MOST_ROUNDS = 250  # of SIGKILL: about 5 s, after which what is left cannot be killed at all
_PATIENT_ROUNDS = 10  # after which everything is stopped to catch what is faster than we look
_MOST_DOUBTS = 5  # looks in a row that find nobody and may have missed somebody


class Ending:
    """SIGTERM to a family, after a grace SIGKILL until none is left, then a call."""

    def __init__(
        self,
        loop: Loop,
        children: Children,
        first: int,
        family: Callable[[], Family],
        done: Callable[[], None],
    ) -> None:
        """Prepare to end ``family``, which process ``first`` began; nothing is sent yet."""
        self._children = children
        self._first = first
        self.begun = False
        self.over = False
        self._loop = loop
        self._family = family
        self._done = done
        self._hard = False
        self._pause = _FIRST_LOOK
        self._rounds = 0
        self._doubts = 0
        self._next: Timer | None = None

    def begin(self, grace: float) -> None:
        """Begin; ``grace`` seconds of 0 leave out the polite part. Later calls may only shorten."""
        if self.over:
            return
        if not self.begun and grace > 0:
            self.begun = True
            members = self._family().members
            # The first process first: it would else end by itself because its child did.
            kill(members & {self._first}, signal.SIGTERM)
            kill(members - {self._first}, signal.SIGTERM)
            kill(members, signal.SIGCONT)  # a stopped process hears SIGTERM only then
            self._loop.later(grace, self._harden)
            self._look_later(_FIRST_LOOK)
            return
        self.begun = True
        if grace <= 0:
            self._harden()

    def look(self) -> None:
        """Look now whether anybody is left, as a child has just ended."""
        if self.begun and not self.over and not self._hard:
            self._look()

    def _harden(self) -> None:
        if not self._hard and not self.over:
            self._hard = True
            self._look()

    def _look(self) -> None:
        family = self._family()
        self._doubts = 0 if family.members else self._doubts + 1
        nobody = not family.members and (family.certain or not self._doubtful())
        if nobody or self._rounds >= _MOST_ROUNDS:
            self._finish()
        elif self._hard:
            self._kill(family.members)
        else:
            self._pause = min(self._pause * 2, _LONGEST_LOOK)
            self._look_later(self._pause)

    def _doubtful(self) -> bool:
        """Tell whether to look again although nobody was found; harder each time."""
        if self._doubts < _MOST_DOUBTS:
            return True
        self._doubts = 0
        if not self._hard:
            self._hard = True
            return True
        return self._children.contained and self._children.kill_frozen(self._family) > 0

    def _kill(self, members: set[int]) -> None:
        self._rounds += 1
        if self._rounds > _PATIENT_ROUNDS and self._children.contained:
            self._children.kill_frozen(self._family)
        else:
            # Stopped first: what is stopped cannot fork, so a fork bomb shrinks with every round.
            kill(members, signal.SIGSTOP)
            kill(members | self._family().members, signal.SIGKILL)
        self._look_later(_ROUND)

    def _look_later(self, seconds: float) -> None:
        if self._next is not None:
            self._next.cancel()
        self._next = self._loop.later(seconds, self._look)

    def _finish(self) -> None:
        self.over = True
        if self._next is not None:
            self._next.cancel()
        self._done()
