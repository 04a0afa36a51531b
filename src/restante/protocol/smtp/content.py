"""What must be known of a message while it passes: its size, its line ends, and where it has been."""

import re

from restante.protocol.smtp.replies import BARE_LINE_END, LONG_HEADER, LOOP, TOO_LARGE, Reply

LONGEST_HEADER = 1 << 20
"""Octets (D-024)."""
MOST_RECEIVED = 100
"""A message that has come through so many servers goes in circles (RFC 5321 section 6.3)."""

_FIELD = re.compile(rb"^(received|delivered-to)[ \t]*:[ \t]*([^\r\n]*)", re.IGNORECASE | re.MULTILINE)
_END_OF_HEADER = re.compile(rb"\n\r?\n")


class ContentWatch:
    """Looks at the octets of a message, in pieces of any size.

    Args:
        limit: the most octets it may have, counted as they come, without doubled dots (D-016); 0: any.
        strict: a CR or LF alone is refused (D-006).
    """

    __slots__ = ("_after_cr", "_header", "_limit", "_strict", "delivered_to", "octets", "refusal")

    def __init__(self, limit: int, *, strict: bool) -> None:
        self.octets = 0
        """So far."""
        self.refusal: Reply | None = None
        """Why the message cannot be taken."""
        self.delivered_to: frozenset[str] = frozenset()
        """Addresses to which it has been delivered before it came here, in lower case."""
        self._limit = limit
        self._strict = strict
        self._after_cr = False
        self._header: bytearray | None = bytearray(b"\n")  # an empty line may be the first one

    def feed(self, data: bytes) -> None:
        """Look at the next piece."""
        self.octets += len(data)
        if self._limit and self.octets > self._limit:
            self.refusal = TOO_LARGE
        if self._strict and data:
            self._look_at_line_ends(data)
        if self._header is not None:
            self._look_for_header(data)

    def finish(self) -> None:
        """Look at what the message has come to."""
        if self._strict and self._after_cr:
            self.refusal = self.refusal or BARE_LINE_END
        if self._header is not None:
            self._read_header(bytes(self._header))

    def _look_at_line_ends(self, data: bytes) -> None:
        pairs = data.count(b"\r\n")
        starts_with_lf = self._after_cr and data[0] == 0x0A
        broken = self._after_cr and not starts_with_lf
        self._after_cr = data[-1] == 0x0D
        if broken or data.count(b"\n") - starts_with_lf != pairs or data.count(b"\r") - self._after_cr != pairs:
            self.refusal = self.refusal or BARE_LINE_END

    def _look_for_header(self, data: bytes) -> None:
        header = self._header
        assert header is not None
        searched = max(len(header) - 2, 0)
        header += data
        end = _END_OF_HEADER.search(header, searched)
        if end is not None:
            self._read_header(bytes(header[: end.start() + 1]))
        elif len(header) > LONGEST_HEADER:
            self._header = None
            self.refusal = self.refusal or LONG_HEADER

    def _read_header(self, header: bytes) -> None:
        self._header = None
        if len(header) > LONGEST_HEADER:
            self.refusal = self.refusal or LONG_HEADER
            return
        received = 0
        been = set()
        for match in _FIELD.finditer(header):
            if match[1].lower() == b"received":
                received += 1
            elif received:
                # What stands above the first Received is from who hands us the message: no sign of a loop.
                been.add(match[2].strip().decode("utf-8", "replace").lower())
        self.delivered_to = frozenset(been)
        if received >= MOST_RECEIVED:
            self.refusal = self.refusal or LOOP
