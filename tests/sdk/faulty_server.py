"""An HTTP server that answers what no well-made server would."""

import contextlib
import socket
import threading
import time
from collections.abc import Sequence
from typing import Self

CHUNKED = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
)
LAST = b"0\r\n\r\n"

Step = bytes | float
"""Bytes to send, or seconds to wait. After the last step the connection is cut."""


def chunk(data: bytes) -> bytes:
    """Return ``data`` as one chunk of a chunked answer."""
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def answer(body: bytes, status: str = "200 OK", headers: str = "") -> bytes:
    """Return a whole answer."""
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{headers}\r\n"
    return head.encode() + body


class FaultyServer:
    """Answers each connection with the same steps, after one request has come."""

    def __init__(self) -> None:
        self.steps: Sequence[Step] = ()
        self.requests: list[bytes] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self._open: list[socket.socket] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)  # wakes accept()
        self._socket.close()
        for connection in self._open:
            connection.close()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()

    def _start(self, run: object, *args: object) -> None:
        thread = threading.Thread(target=run, args=args)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self._open.append(connection)
                self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            request = b""
            while not _complete(request):
                part = connection.recv(65536)
                if not part:
                    return
                request += part
            self.requests.append(request)
            for step in self.steps:
                if isinstance(step, bytes):
                    connection.sendall(step)
                else:
                    time.sleep(step)


def _complete(request: bytes) -> bool:
    head, end, body = request.partition(b"\r\n\r\n")
    if not end:
        return False
    lower = head.lower()
    if b"transfer-encoding: chunked" in lower:
        return body.endswith(LAST)
    _, found, rest = lower.partition(b"content-length: ")
    return len(body) >= (int(rest.split(b"\r\n")[0]) if found else 0)
