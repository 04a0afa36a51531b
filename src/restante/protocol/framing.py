"""Lines and octets of POP3: command lines in, multi-line replies out, and the way back.

Everything here takes octets in pieces of any size and gives the same result however they were cut
(P-026, P-278).  The size of a message and the octets RETR sends come from one and the same function,
`CrlfLines`, so they cannot disagree (P-088).
"""

from collections.abc import Iterable
from itertools import pairwise

TERMINATOR = b".\r\n"
"""The line that ends a multi-line reply (RFC 1939 section 3)."""


class LineTooLong(Exception):
    """A command line was longer than the limit; it was dropped up to its line end without being kept."""


class LineBuffer:
    """Collects octets and gives them back as command lines.

    A line ends at LF; one CR before it belongs to the line end (P-002: people typing through ``nc`` send a
    bare LF).  A CR elsewhere is an ordinary octet of its line.

    Args:
        limit: the longest line, in octets without its line end.
        auth_limit: the same for a line that begins with ``AUTH`` (P-192).
    """

    __slots__ = ("_auth_limit", "_buffer", "_overlong", "_searched", "dropped", "exceeded", "limit")

    def __init__(self, limit: int, auth_limit: int = 0) -> None:
        self.limit = limit
        self._auth_limit = auth_limit
        self.dropped = 0
        """Octets thrown away so far because their lines were too long (P-011)."""
        self.exceeded = limit
        """The limit that the latest of them was over."""
        self._buffer = bytearray()
        self._searched = 0
        self._overlong = False

    def __len__(self) -> int:
        """Octets held that have not been given back yet."""
        return len(self._buffer)

    def receive(self, data: bytes) -> None:
        """Store octets; nothing is interpreted yet."""
        self._buffer += data

    def take(self, limit: int | None = None) -> bytes:
        """Return what is held, as it came, and forget it.

        Args:
            limit: the most octets; None: all.
        """
        octets = bytes(self._buffer[:limit])
        del self._buffer[:limit]
        self._searched = 0
        self._overlong = False
        return octets

    def peek(self, octets: int) -> bytes:
        """Return the first octets that are held."""
        return bytes(self._buffer[:octets])

    def holds(self, octets: bytes) -> bool:
        """Say whether this is all that is held."""
        return self._buffer == octets

    def next_line(self) -> bytes | None:
        """Return the next complete line without its line end, or None when octets are missing.

        Raises:
            LineTooLong: a longer line has been read and dropped to its end.
        """
        buffer = self._buffer
        if not buffer:
            return None
        end = buffer.find(b"\n", self._searched)
        if end < 0:
            self._wait_for_more()
            return None
        longest = self.limit if end <= self.limit else self._longest(end)
        line = bytes(buffer[:end]).removesuffix(b"\r")
        del buffer[: end + 1]
        self._searched = 0
        if self._overlong or len(line) > longest:
            self.exceeded = self.exceeded if self._overlong else longest
            self._overlong = False
            self.dropped += end + 1
            raise LineTooLong
        return line

    def _wait_for_more(self) -> None:
        """Remember what was searched, and drop what can only belong to a line that is too long."""
        octets = len(self._buffer)
        if self._overlong or octets > self._longest(octets) + 1:  # + 1: the CR of a line that just fits
            self.exceeded = self.exceeded if self._overlong else self._longest(octets)
            self.dropped += octets
            self._buffer.clear()
            self._overlong = True
        self._searched = len(self._buffer)

    def _longest(self, octets: int) -> int:
        """Return the limit for the line at hand, of which so many octets are here."""
        if octets > self.limit and self._buffer[:5].upper() == b"AUTH ":
            return max(self.limit, self._auth_limit)
        return self.limit


class CrlfLines:
    """Turns stored octets into lines that end in CRLF, piece by piece.

    A bare LF becomes CRLF, CRLF stays (P-099), a CR that no LF follows is an ordinary octet (P-094), and
    `finish` completes a last line that lacks its end, after a bare CR too (P-087).
    """

    __slots__ = ("_after_cr", "_at_line_start")

    def __init__(self) -> None:
        self._after_cr = False
        self._at_line_start = True

    def feed(self, data: bytes) -> bytes:
        """Convert the next piece."""
        if not data:
            return b""
        # The LF of a CRLF that was cut in two is already complete.
        start = b"\n" if self._after_cr and data[0] == 0x0A else b""
        rest = data[1:] if start else data
        self._after_cr = data[-1] == 0x0D
        self._at_line_start = data[-1] == 0x0A
        if b"\r" in rest:
            rest = rest.replace(b"\r\n", b"\n")
        return start + rest.replace(b"\n", b"\r\n")

    def finish(self) -> bytes:
        """Return the line end that the last line lacks, ``b""`` if there is none to add (P-096: nor for no octets)."""
        return b"" if self._at_line_start else b"\r\n"


class LfLines:
    """Turns lines that end in CRLF into lines that end in LF, as every Maildir program expects them.

    `CrlfLines` gives back the very octets that came in, bare LF apart, which it ends as a line: a CR that
    stands before a CRLF would be taken for a part of it, so that one line end keeps its CR.
    """

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """Convert the next piece; CRs at its end are held until it is known what follows them."""
        data = self._held + data
        held = min(len(data) - len(data.rstrip(b"\r")), 2)
        self._held = data[len(data) - held :]
        if held:
            data = data[:-held]
        if b"\r" not in data:
            return data
        # Nearly always every CR belongs to a CRLF, and to drop all of them, and look, costs half of a search for pairs.
        lines = data.translate(None, b"\r")
        if lines.replace(b"\n", b"\r\n") == data:
            return lines
        return data.replace(b"\r\n", b"\n").replace(b"\r\n", b"\r\r\n")

    def finish(self) -> bytes:
        """Return what was held."""
        return self._held


def wire_octets(pieces: Iterable[bytes]) -> int:
    """Return the octets of a stored message as LIST tells them and RETR sends them (P-081, P-088)."""
    lines = CrlfLines()
    octets = sum(len(lines.feed(piece)) for piece in pieces)
    return octets + len(lines.finish())


class ByteStuffer:
    """Doubles the dot that begins a line, the very first line included (RFC 1939 section 3, P-013).

    Takes octets whose lines end in CRLF.
    """

    __slots__ = ("_at_line_start",)

    def __init__(self) -> None:
        self._at_line_start = True

    def feed(self, data: bytes) -> bytes:
        """Stuff the next piece."""
        if not data:
            return b""
        if data[0] == 0x2E and self._at_line_start:
            data = b"." + data
        self._at_line_start = data[-1] == 0x0A
        return stuffed(data)


def stuffed(data: bytes) -> bytes:
    """Double each dot that begins a line, but for the very first line."""
    cuts = _dots_at_line_starts(data)
    if not cuts:
        return data
    return b".".join([data[start:end] for start, end in pairwise([0, *cuts, len(data)])])


_DOTS = 8
"""Dots that are looked at one by one."""
_FEW_DOTS = 1024
"""Octets in which so many are few."""


def _dots_at_line_starts(data: bytes) -> list[int]:
    """Return where the dots are that begin a line, but for the very first line.

    To search for one octet takes a tenth of a search for two, so dots are looked at one by one; where they are close
    together, the two octets are searched for over a stretch, a longer one each time.
    """
    found = []
    stretch = _FEW_DOTS
    at = data.find(b".", 1)
    while at > 0:
        begin = at
        for _ in range(_DOTS):
            if data[at - 1] == 0x0A:
                found.append(at)
            at = data.find(b".", at + 1)
            if at < 0:
                return found
        if at - begin > _FEW_DOTS:
            stretch = _FEW_DOTS
            continue
        end = at + stretch
        stretch *= 2
        at = data.find(b"\n.", at - 1, end)
        while at >= 0:
            found.append(at + 1)
            at = data.find(b"\n.", at + 1, end)
        at = data.find(b".", end)
    return found


class TopLines:
    """Passes the header, the blank line and the first `lines` lines of the body (RFC 1939 section 7, P-110).

    Takes octets whose lines end in CRLF.  A message without a blank line is all header (P-116).
    """

    __slots__ = ("_in_header", "_remaining", "_tail", "satisfied")

    def __init__(self, lines: int) -> None:
        self.satisfied = False
        """Nothing more will be passed."""
        self._remaining = lines
        self._in_header = True
        self._tail = b"\n"  # a blank line may be the very first one

    def feed(self, data: bytes) -> bytes:
        """Return the part of the next piece that belongs to the reply."""
        if self.satisfied:
            return b""
        body_start = 0
        if self._in_header:
            blank = (self._tail + data).find(b"\n\r\n")
            if blank < 0:
                self._tail = (self._tail + data)[-2:]
                return data
            self._in_header = False
            body_start = blank + 3 - len(self._tail)
        end = self._end_of_lines(data, body_start)
        return data[:end]

    def _end_of_lines(self, data: bytes, start: int) -> int:
        """Count body lines from `start`; return where the reply ends in `data`."""
        found = data.count(b"\n", start)
        if found < self._remaining:
            self._remaining -= found
            return len(data)
        self.satisfied = True
        for _ in range(self._remaining):
            start = data.index(b"\n", start) + 1
        return start


class MultilineDecoder:
    """Undoes byte-stuffing on the receiving side (RFC 1939 section 3, K-001).

    Lines are framed by CRLF only: a bare LF inside a message does not let a dot end the reply.
    """

    __slots__ = ("_held", "_skip", "finished", "rest")

    _END = b"\r\n" + TERMINATOR

    def __init__(self) -> None:
        self.finished = False
        """The terminator has been seen."""
        self.rest = b""
        """Octets that came after the terminator: they belong to the next reply."""
        # A line end before the first line makes the first line like every other; it is not part of the message.
        self._held = b"\r\n"
        self._skip = 2

    def feed(self, data: bytes) -> bytes:
        """Return the octets of the message that are certain after this piece."""
        if self.finished:
            self.rest += data
            return b""
        data = self._held + data
        dot = data.find(b"\r\n.")  # one search for the terminator and for what is stuffed: few lines begin so
        end = data.find(self._END, dot) if dot >= 0 else -1
        if end >= 0:
            self.finished = True
            self.rest = data[end + len(self._END) :]
            body = data[: end + 2]
        else:
            held = self._possible_end(data)
            self._held = data[len(data) - held :]
            body = data[: len(data) - held]
        message = (body.replace(b"\r\n.", b"\r\n") if dot >= 0 else body)[self._skip :]
        self._skip -= min(self._skip, len(body))
        return message

    def _possible_end(self, data: bytes) -> int:
        """Return how many octets at the end of `data` could begin the terminator."""
        for length in range(len(self._END) - 1, 0, -1):
            if data.endswith(self._END[:length]):
                return length
        return 0
