"""The process above the agent, which keeps the lease where the guest cannot reach it.

The agent is the guest's own user, so the guest may stop or kill it. The guardian is nobody's: it
cannot be signalled, traced or limited from inside, and its end is the sandbox's end. It knows
nothing but a deadline, and hears nothing but new ones.
"""

from __future__ import annotations

import os
import select
import sys
import time
from _signal import (  # type: ignore[import-not-found]  # `signal` takes far longer to load
    SIG_IGN,
    SIGCHLD,
    SIGHUP,
    SIGINT,
    SIGTERM,
    set_wakeup_fd,
    signal,
)

from stacyvm.agent.privileges import StartError, become

_UID = 65_533  # nobody's in any image, and within what an engine with remapped uids has
_MESSAGE = 8  # bytes: a lease in milliseconds, little-endian
_SLACK = 2.0  # seconds the agent has for ending the sandbox by itself, which it does cleaner
_LONGEST_WAIT = 3600.0
_LEASE_OVER = 124
_TERMINATED = 128 + SIGTERM


class Guardian:
    """The agent's side: ``stop`` is a descriptor that becomes readable when the agent is to end."""

    def __init__(self, leases: int, stop: int) -> None:
        self.stop = stop
        self._leases = leases

    def renew(self, milliseconds: int) -> None:
        """Set the lease to this time from now.

        Raises:
            OSError: The guardian has not heard of it.
        """
        os.write(self._leases, milliseconds.to_bytes(_MESSAGE, "little"))


def fork_guardian(uid: int, lease_ms: int) -> Guardian:
    """Go on as a child of this process, which becomes the guardian and never returns from here.

    Args:
        uid: The guest's; the guardian's is another.
        lease_ms: The first lease.

    Raises:
        StartError: There is no room for another process.
    """
    leases, our_leases = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    our_stop, stop = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        agent = os.fork()
    except OSError as error:
        raise StartError(f"no room for the guardian: {error}") from error
    if agent == 0:
        os.close(leases)
        os.close(stop)
        return Guardian(our_leases, our_stop)
    status = 1
    try:
        # Held open, they would hide the agent's end from the server.
        for fd in (0, 1, our_leases, our_stop):
            os.close(fd)
        become(_UID if uid != _UID else _UID - 1)
        status = _Watch(agent, leases, stop, lease_ms).run()
    except BaseException:  # noqa: BLE001 - the edge: this end is the sandbox's, so say why
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)


class _Watch:
    """Waits for the agent's end or the deadline, whichever is first."""

    def __init__(self, agent: int, leases: int, stop: int, lease_ms: int) -> None:
        self._agent = agent
        self._leases = leases
        self._stop = stop
        self._deadline = _deadline(lease_ms)
        self._status = _LEASE_OVER
        self._woken, wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal(SIGCHLD, lambda *_: None)
        signal(SIGTERM, self._terminate)
        for number in (SIGHUP, SIGINT):
            signal(number, SIG_IGN)
        self._poll = select.poll()
        self._poll.register(self._woken, select.POLLIN)
        self._poll.register(leases, select.POLLIN)

    def run(self) -> int:
        """Return the status to end with."""
        while True:
            ended = self._reap()
            if ended is not None:
                return ended
            left = self._deadline - time.monotonic()
            if left <= 0:
                return self._status
            for fd, _ in self._poll.poll(min(left, _LONGEST_WAIT) * 1000):
                if fd == self._leases:
                    self._listen()
                else:
                    os.read(self._woken, 4096)

    def _listen(self) -> None:
        message = os.read(self._leases, _MESSAGE)
        if not message:
            self._poll.unregister(self._leases)  # the agent has ended, or is about to
        elif len(message) == _MESSAGE and self._status == _LEASE_OVER:
            self._deadline = _deadline(int.from_bytes(message, "little"))

    def _terminate(self, *_: object) -> None:
        if self._status == _LEASE_OVER:
            self._status = _TERMINATED
            self._deadline = min(self._deadline, time.monotonic() + _SLACK)
            os.close(self._stop)

    def _reap(self) -> int | None:
        """Return the agent's exit status once it has ended, as a shell would count it."""
        while True:
            # As the sandbox's init it would have other children too: orphans.
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == self._agent:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code
            if pid == 0:
                return None


def _deadline(lease_ms: int) -> float:
    return time.monotonic() + lease_ms / 1000 + _SLACK
