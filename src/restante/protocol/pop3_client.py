"""The client's side of POP3 (RFC 1939), sans-IO: commands go out, replies come in.

Which form a reply has is known from the command, never guessed from what comes (K-002).
"""

from collections import deque
from enum import Enum
from typing import NamedTuple

from restante.protocol.framing import CrlfLines, MultilineDecoder

LONGEST_STATUS = 65_536
"""Octets of a line that answers a command; RFC 1939 allows 512."""


class Form(Enum):
    """What answers a command."""

    LINE = "one status line"
    LINES = "a status line, and if it is positive lines up to a lone dot"
    STEP = "a status line, or a challenge of SASL"


class Status(NamedTuple):
    """The line that answers a command."""

    positive: bool
    line: bytes
    """As it came, without its line end."""


class Challenge(NamedTuple):
    """What a server sends within an AUTH command (RFC 5034 section 4)."""

    text: bytes
    """In base64, as it came."""


class End(Enum):
    """The lines of a reply have ended."""

    OF_LINES = "of lines"


class NotAReply(Exception):
    """What has come is no POP3; the text says what it is."""


def command(verb: str, *arguments: str | bytes | int) -> bytes:
    """Return a command line (RFC 1939 section 3).

    Raises:
        ValueError: an argument would begin another command (K-010).
    """
    words = [verb.encode()]
    for argument in arguments:
        octets = argument if isinstance(argument, bytes) else str(argument).encode()
        if any(octet in octets for octet in b"\r\n\0"):
            raise ValueError(f"{verb} with a line break or NUL in its argument would be another command")
        words.append(octets)
    return b" ".join(words) + b"\r\n"


class ClientSession:
    """What a client knows of a conversation: which replies it waits for, and how far the first of them has come.

    Args:
        lenient: lines may end in a bare LF, too.  A message with a lone dot in it is then cut there (K-025).
    """

    __slots__ = ("_buffer", "_crlf", "_decoder", "_expected", "_out", "_searched")

    def __init__(self, *, lenient: bool = False) -> None:
        self._buffer = bytearray()
        self._crlf = CrlfLines() if lenient else None
        self._decoder: MultilineDecoder | None = None
        self._expected: deque[Form] = deque([Form.LINE])  # the greeting
        self._out = bytearray()
        self._searched = 0

    def send(self, line: bytes, form: Form = Form.LINE) -> None:
        """Send a command line, and wait for such a reply after those that are waited for already."""
        self._out += line
        self._expected.append(form)

    def data_to_send(self) -> bytes:
        """Return the octets that are to go out, once."""
        octets = bytes(self._out)
        self._out.clear()
        return octets

    def receive_data(self, data: bytes) -> None:
        """Store octets; nothing is interpreted yet."""
        self._buffer += data if self._crlf is None else self._crlf.feed(data)

    def take_held(self) -> bytes:
        """Return and forget octets that nobody has asked for."""
        octets = bytes(self._buffer)
        self._buffer.clear()
        self._searched = 0
        return octets

    @property
    def held(self) -> int:
        """Octets that have come and belong to no reply that was given back."""
        return len(self._buffer)

    @property
    def waiting(self) -> bool:
        """A reply is still to come, or a part of one."""
        return bool(self._expected) or self._decoder is not None

    def next_event(self) -> Status | Challenge | bytes | End | None:
        """Return what has come: the status of a reply, a piece of its lines, their end; None: octets are missing.

        Raises:
            NotAReply: it is no POP3; the conversation cannot go on.
        """
        if self._decoder is not None:
            return self._next_piece(self._decoder)
        if not self._expected:
            return None
        line = self._next_line()
        if line is None:
            return None
        form = self._expected.popleft()
        if form is Form.STEP and (line.startswith(b"+ ") or line == b"+"):
            return Challenge(line[2:])
        # Three letters decide, as some servers have no space behind them; but nothing else is a reply (K-003).
        status = Status(line.startswith(b"+OK"), line)
        if not status.positive and not line.startswith(b"-ERR"):
            raise NotAReply(repr(line[:60].decode("ascii", "backslashreplace")))
        if form is Form.LINES and status.positive:
            self._decoder = MultilineDecoder()
        return status

    def _next_line(self) -> bytes | None:
        end = self._buffer.find(b"\n", self._searched)
        if end < 0:
            self._searched = len(self._buffer)
            if self._searched > LONGEST_STATUS:
                raise NotAReply(f"a line of more than {LONGEST_STATUS} octets")
            return None
        self._searched = 0
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        if not line.endswith(b"\r"):
            raise NotAReply(f"{line[:60].decode('ascii', 'backslashreplace')!r}, a line that does not end in CRLF")
        return line[:-1]

    def _next_piece(self, decoder: MultilineDecoder) -> bytes | End | None:
        """Give what is there of the lines, undoing byte-stuffing (K-001)."""
        if decoder.finished:
            self._decoder = None
            return End.OF_LINES
        if not self._buffer:
            return None
        # What follows the end belongs to the next replies, and is not copied for each of them.
        end = self._buffer.find(b"\r\n.\r\n")
        end = end + 5 if end >= 0 else len(self._buffer)
        piece = decoder.feed(bytes(self._buffer[:end]))
        del self._buffer[: end - len(decoder.rest)]
        if piece:
            return piece
        return self._next_piece(decoder) if decoder.finished else None
