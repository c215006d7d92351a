"""Cutting a byte stream into lines, in linear time and bounded memory."""

from stacyvm.channel.violation import ProtocolViolationError


class LineSplitter:
    """Collects bytes and hands out whole lines without their newline.

    Until ``strict`` is called it drops lines above the limit: before the agent's greeting the
    stream may hold anything. After it such a line is a violation.
    """

    def __init__(self, limit: int) -> None:
        """Take lines of up to ``limit`` bytes, the newline included."""
        self._limit = limit
        self._strict = False
        self._parts: list[bytes] = []
        self._size = 0
        self._skipping = False

    def strict(self) -> None:
        """From now on raise for a line that is too long instead of dropping it."""
        self._strict = True

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines that ``data`` completes.

        Raises:
            ProtocolViolationError: A line is longer than the limit, in strict mode.
        """
        head, *rest = data.split(b"\n")
        self._keep(head)
        if not rest:
            return []
        lines = [] if self._skipping else [b"".join(self._parts)]
        self._parts, self._size, self._skipping = [], 0, False
        tail = rest.pop()
        for line in rest:
            if len(line) < self._limit:
                lines.append(line)
            else:
                self._too_long()
        self._keep(tail)
        return lines

    def _keep(self, part: bytes) -> None:
        if self._skipping or not part:
            return
        self._size += len(part)
        if self._size >= self._limit:
            self._too_long()
            self._parts, self._skipping = [], True
        else:
            self._parts.append(part)

    def _too_long(self) -> None:
        if self._strict:
            raise ProtocolViolationError(f"a line of more than {self._limit} bytes")
