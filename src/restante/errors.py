"""The conditions that have a negative reply, each named once.

POP3 turns a condition into ``-ERR [code] text`` (RFC 2449 section 8, RFC 3206); delivery will turn the
same classes into ``4xx``/``5xx`` replies.  Two texts are kept apart on purpose: `reply` is what a peer may
read and is fixed per class, while the exception's own arguments are for the log, where they may hold
file names and system messages.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, NamedTuple


def one_line(text: str) -> str:
    """Return a text with everything escaped that would begin another line, or command a terminal (P-296)."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


class Text(NamedTuple):
    """Words for a peer: English, with the values that complete them; a catalogue may have them in other languages."""

    template: str
    """Printable ASCII, one line, never beginning with ``[`` (P-160); ``{name}`` stands for a value."""
    values: "Mapping[str, int | str | Text]" = MappingProxyType({})


class Condition(Exception):
    """Something that is answered with a negative reply; the exception's arguments go to the log only."""

    code: ClassVar[str] = ""
    """Response code without its brackets, ``""`` for none (RFC 2449 section 8)."""
    reply: Text = Text("refused")
    """What the peer is told."""


class AuthenticationFailed(Condition):
    """The credentials are wrong, whatever the reason: one text for all of them (P-038, P-039)."""

    code = "AUTH"
    reply = Text("wrong user name or password")


class MaildropInUse(Condition):
    """Another session holds the exclusive lock of the maildrop (RFC 1939 section 4, P-041)."""

    code = "IN-USE"
    reply = Text("another session has this maildrop open; try again when it has ended")


class LoginDelayed(Condition):
    """Too soon after the last login to this maildrop (RFC 2449 section 8.1.1, P-051)."""

    code = "LOGIN-DELAY"
    reply = Text("too soon after the last login; wait a while")


class TemporaryFailure(Condition):
    """Likely to pass by itself: a full disk, a backend that is down (RFC 3206 section 4, P-178)."""

    code = "SYS/TEMP"
    reply = Text("not possible at the moment; please try again later")


class NoRoom(TemporaryFailure):
    """The file system has no room for a message (D-016)."""

    reply = Text("no room for this message at the moment; please try again later")


class TooManyConnections(TemporaryFailure):
    """Somebody has as many connections as one may have (P-286)."""

    reply = Text("too many connections; please try again later")


class NeedsUtf8(Condition):
    """The message has headers that are not ASCII, and the client has not said UTF8 (RFC 6856 section 5, P-180)."""

    code = "UTF8"
    reply = Text("this message needs UTF8, which is said before logging in")


class PermanentFailure(Condition):
    """Needs a person: wrong permissions, a damaged maildrop (RFC 3206 section 4, P-178)."""

    code = "SYS/PERM"
    reply = Text("not possible until the administrator has mended something")


class NoSuchMaildrop(PermanentFailure):
    """The name cannot have a maildrop in this store."""


class UpdateIncomplete(TemporaryFailure):
    """The UPDATE state could not remove every marked message (RFC 1939 section 6, P-134)."""

    reply = Text("some deleted messages not removed")


class QuotaExceeded(Condition):
    """A delivery finds no room left in the maildrop (D-010)."""

    reply = Text("the maildrop is full")


class InternalError(TemporaryFailure):
    """A defect of ours reached a connection; the traceback is in the log."""

    reply = Text("internal error")


class CommandError(Condition):
    """A malformed, unknown or misplaced command; its text says what would be right (P-307).

    The text is composed from constants and numbers only, never from what the peer sent (P-009, P-015).
    """

    def __init__(self, reply: str, **values: int | str | Text) -> None:
        super().__init__(reply)
        self.reply = Text(reply, values)


class NoSuchMessage(CommandError):
    """A message number that is out of range or marked as deleted: no offence, just a wrong number."""
