"""A running server: listening, protocol errors, and the way it stops."""

import asyncio
import logging
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from typing_extensions import override

from stacyvm.api.app import create_app, request_id
from stacyvm.api.auth import api_key_of, check_exposure, is_loopback
from stacyvm.api.errors import error_body
from stacyvm.bootstrap import open_services
from stacyvm.config import Settings
from stacyvm.domain.errors import UnavailableError
from stacyvm.services.services import Services

log = logging.getLogger(__name__)

SHUTDOWN_TIMEOUT = 3.0  # seconds that requests under way may still take when the server stops
# Seconds after which a stop that hangs (an engine's answer that does not come holds a thread) is
# cut short. Nothing is lost by it: the next start adopts or removes whatever there is.
STOP_LIMIT = 25.0
MOST_DESCRIPTORS = 65536
EXIT_LIMIT = 2.0  # seconds from all being closed to the end of the process
# A second signal sooner than this after the first is the same Ctrl-C, passed on by a parent.
SAME_SIGNAL = 0.5
# Seconds from one request's end, or the connection's start, until the next one's headers are there
# in full. Callers who drip theirs, to hold connections, get no more than that.
IDLE_TIMEOUT = 60.0
LINGER = 10.0  # seconds a refused body is read on, so that its sender sees the answer


class EnvelopeProtocol(web.RequestHandler):
    """Answers what is not even HTTP in the envelope too."""

    @override
    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return the answer to a request that never reached the application."""
        gone = self.transport is None or self.transport.is_closing()
        if isinstance(exc, ConnectionError) and (gone or request.writer.output_size > 0):
            log.info("an answer was broken off: %s", exc)  # by its reader: no fault of ours
            raise exc
        if status >= 500:
            log.error("request failed outside the application", exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has been begun already")
        code, text = (
            ("BAD_REQUEST", "malformed HTTP request")
            if status < 500
            else ("INTERNAL_ERROR", "internal error")
        )
        identity = request_id("")
        response = web.Response(
            body=error_body(code, text, identity, {}),
            status=status,
            headers={
                "Content-Type": "application/json",
                "X-Request-ID": identity,
                "Server": "stacyvm",  # else aiohttp tells its version
            },
        )
        response.force_close()
        return response


class EnvelopeServer(web.Server):
    """Makes one ``EnvelopeProtocol`` per connection."""

    @override
    def __call__(self) -> web.RequestHandler:
        return EnvelopeProtocol(self, loop=self._loop, **self._kwargs)


class Runner(web.AppRunner):
    """Runs the API so that a caller who goes away cancels what was done for it."""

    def __init__(self, app: web.Application) -> None:
        super().__init__(
            app,
            access_log=None,
            handler_cancellation=True,
            shutdown_timeout=SHUTDOWN_TIMEOUT,
            keepalive_timeout=IDLE_TIMEOUT,
            lingering_time=LINGER,
        )

    @override
    async def _make_server(self) -> web.Server:
        plain = await super()._make_server()
        return EnvelopeServer(
            plain.request_handler,
            request_factory=plain.request_factory,
            handler_cancellation=plain.handler_cancellation,
            access_log=None,
            keepalive_timeout=IDLE_TIMEOUT,
            lingering_time=LINGER,
        )


@asynccontextmanager
async def listening(services: Services) -> AsyncIterator[str]:
    """Serve the API while the block runs; gives the address, as a URL.

    Raises:
        UnavailableError: The address cannot be listened on.
    """
    settings = services.settings
    runner = Runner(create_app(services))
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, settings.host, settings.port).start()
        except OSError as error:
            raise UnavailableError(
                f"cannot listen on {settings.host}:{settings.port}: {error.strerror} "
                "(STACYVM_HOST, STACYVM_PORT)"
            ) from error
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        yield f"http://{host}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def serve(settings: Settings) -> None:
    """Run a server until SIGINT or SIGTERM, which stop it in the middle of its start too.

    A second signal, or a stop that takes over ``STOP_LIMIT`` seconds, ends the process at once.

    Raises:
        InvalidRequestError: The settings would open the API to a network without a key.
        UnavailableError: Something it needs is missing: the address, Redis.
        ConflictError: Another server uses the data directory.
    """
    check_exposure(settings)
    logging.basicConfig(
        level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    stop = Stop()
    _take_all_descriptors()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.on_signal, number)
    try:
        async with open_services(settings) as services, listening(services) as address:
            await _announce(services, address)
            stop.started()
            await stop.wait()
    except asyncio.CancelledError:
        if not stop.wanted:
            raise
    finally:
        stop.ended()


class Stop:
    """How a server learns that it shall stop, and that it stops in the end."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._starting = asyncio.current_task()
        self._since = 0.0

    @property
    def wanted(self) -> bool:
        """Whether a signal has come."""
        return self._event.is_set()

    async def wait(self) -> None:
        """Wait for a signal."""
        await self._event.wait()

    def started(self) -> None:
        """Say that the start is over: from here on a signal is waited for."""
        self._starting = None

    def on_signal(self, number: signal.Signals) -> None:
        """Ask for a stop; the second time, leave at once."""
        if self.wanted:
            if time.monotonic() - self._since > SAME_SIGNAL:
                _leave("a second signal: leaving at once", 128 + number)
            return
        log.info("stopping")
        self._since = time.monotonic()
        self._event.set()
        if self._starting is not None:
            # Should the cancellation get lost (asyncio.wait_for of Python 3.11 can), the start goes
            # on to its end and finds the event set.
            self._starting.cancel()
        _leave_after(STOP_LIMIT, f"the stop took over {STOP_LIMIT:g} s: leaving")

    def ended(self) -> None:
        """Say that everything is tidied up: what still holds the process cannot matter."""
        if self.wanted:
            _leave_after(EXIT_LIMIT, "leaving with an engine's answer still awaited")


def _leave_after(seconds: float, why: str) -> None:
    # A thread, because the interpreter waits for hung ones after the loop has ended.
    timer = threading.Timer(seconds, _leave, (why, 0))
    timer.daemon = True
    timer.start()


def _take_all_descriptors() -> None:
    """Raise the soft limit of open files: each sandbox and each stream holds one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MOST_DESCRIPTORS)
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _leave(why: str, status: int) -> None:
    """End the process without tidying up; the kernel ends its private Redis (see ``embedded``)."""
    log.warning(why)
    sys.stdout.flush()
    os._exit(status)


async def _announce(services: Services, address: str) -> None:
    settings = services.settings
    lines = [f"stacyvm is listening on {address}"]
    provider = await services.providers.get(settings.provider)
    if provider.error:
        lines.append(f"WARNING: no sandbox can be made now: {provider.error}")
    if provider.config.get("isolation") == "none":
        who = "root" if os.geteuid() == 0 else "you"
        lines.append(
            "WARNING: bubblewrap is not usable, so NOTHING isolates sandboxes: what runs in them "
            f"can do and read all that {who} can. Use it only for code you trust, or install "
            "bubblewrap."
        )
    if settings.provider == "local":
        lines.append(
            "Security: provider `local` runs commands as processes of this machine; "
            "use it only for code you trust."
        )
    if not api_key_of(settings):
        reach = "this machine" if is_loopback(settings.host) else "THE NETWORK"
        lines.append(f"Security: no API key is set; everybody on {reach} may run sandboxes.")
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()
