"""The mbox format: From_ lines and quoting (mbox(5), RFC 4155, M-020 to M-022).

A From_ line begins each message and tells who sent it and when it was delivered; it is no part of the message.
Lines of a message that could be taken for one are quoted by ``>``.
"""

import re
import time
from typing import Literal

Format = Literal["mboxrd", "mboxo"]

MAX_FROM_LINE = 1024
"""Octets of the longest line that is taken for a From_ line."""
MAX_SENDER = 320
"""Octets of the longest sender that is written into a From_ line (RFC 5321 section 4.5.3.1)."""

# "From ", who, weekday, month, day, time, year; time zones where programs of the last forty years have put them.
# A sentence that begins with "From " has no such date in it, which is what tells it from a From_ line.
_FROM_LINE = re.compile(
    rb"From (?:[^\n]* )?[ ]*(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),? +"
    rb"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) +[0-9]{1,2} +[0-9]{1,2}:[0-9]{2}(?::[0-9]{2})?"
    rb"(?: +(?:[A-Za-z]{1,5}|[+-][0-9]{4})){0,2} +[0-9]{4}(?: +(?:[A-Za-z]{1,5}|[+-][0-9]{4})){0,2}"
    rb"(?: +remote from [^\n]*)?[ \t]*\r?\n"
)
_RETURN_PATH = re.compile(rb"Return-Path:[ \t]*<?([^<>\r\n]*)>?[ \t]*\r?\n", re.IGNORECASE)
_QUOTABLE = {"mboxrd": re.compile(rb"(\n>*+)(From )"), "mboxo": re.compile(rb"(\n)(From )")}
_QUOTED = re.compile(rb"(\n>*+)(?<=>)(From )")


def is_from_line(line: bytes) -> bool:
    """Say whether a line, with its line end, is a From_ line."""
    return len(line) <= MAX_FROM_LINE and _FROM_LINE.fullmatch(line) is not None


def from_line(sender: bytes, seconds: float) -> bytes:
    """Make a From_ line (M-022).

    Args:
        sender: an address; ``b""``: none, so that MAILER-DAEMON stands in its place.
        seconds: time of delivery, since 1970.
    """
    name = bytes(octet if 0x21 <= octet <= 0x7E else 0x2D for octet in sender[:MAX_SENDER])
    return b"From %s %s\n" % (name or b"MAILER-DAEMON", time.asctime(time.gmtime(seconds)).encode("ascii"))


def sender_of(message: bytes) -> bytes:
    """Return the sender that the delivery before us put first (D-005), ``b""`` if it did not.

    Args:
        message: how it begins.
    """
    match = _RETURN_PATH.match(message)
    return match[1].strip() if match else b""


class _Lines:
    """Passes octets, lines ending in LF, in pieces of any size, and holds back what may become ``From ``.

    Whether a line that begins with ``>`` can be quoted is decided when its ``From `` is seen: of the ``>`` before it
    only the last is held, which is the one to take away, so a line of nothing but ``>`` costs no memory.
    """

    __slots__ = ("_held", "_may_begin", "_nested")

    def __init__(self, *, nested: bool) -> None:
        self._nested = nested
        self._held = b""
        self._may_begin = True  # all that was passed of the line so far is ">" or nothing

    def feed(self, data: bytes) -> bytes:
        """Convert the next piece."""
        if not data:
            return b""
        text = (b"\n" if self._may_begin else b" ") + self._held + data
        line = text[text.rfind(b"\n") + 1 :]
        word = line.lstrip(b">") if self._nested else line
        self._may_begin = len(word) < 5 and b"From ".startswith(word)
        self._held = line[-len(word) - 1 :] if self._may_begin and line else b""
        text = text[: len(text) - len(self._held)]
        return (self._convert(text) if b"From " in text else text)[1:]

    def finish(self) -> bytes:
        """Return what was held."""
        return self._held

    def _convert(self, text: bytes) -> bytes:
        raise NotImplementedError


class Quoter(_Lines):
    """Quotes what could be taken for a From_ line (M-021): mboxrd adds a ``>`` to quoted lines too."""

    __slots__ = ("_pattern",)

    def __init__(self, kind: Format) -> None:
        super().__init__(nested=kind == "mboxrd")
        self._pattern = _QUOTABLE[kind]

    def _convert(self, text: bytes) -> bytes:
        return self._pattern.sub(rb"\1>\2", text)


class Unquoter(_Lines):
    """Takes one ``>`` from lines that mboxrd has quoted (M-021)."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(nested=True)

    def _convert(self, text: bytes) -> bytes:
        return _QUOTED.sub(lambda match: match[1][:-1] + match[2], text)


class Verbatim:
    """Takes mboxo as it stands: whether a ``>`` was there before the delivery, nobody can tell (M-021)."""

    __slots__ = ()

    def feed(self, data: bytes) -> bytes:
        """Pass the next piece."""
        return data

    def finish(self) -> bytes:
        """Return nothing."""
        return b""


def reader(kind: Format) -> Unquoter | Verbatim:
    """Return what turns stored octets into those of the message."""
    return Unquoter() if kind == "mboxrd" else Verbatim()
