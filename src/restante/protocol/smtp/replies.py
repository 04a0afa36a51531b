"""Replies of LMTP and SMTP, and what our conditions are there (RFC 5321 section 4.2, RFC 3463)."""

from typing import NamedTuple

from restante.errors import Condition, NoRoom, NoSuchMaildrop, PermanentFailure, QuotaExceeded


class Reply(NamedTuple):
    """One reply; its first digit says whether it is good (2), waits (3), is for later (4) or for good (5)."""

    code: int
    status: str
    """``c.s.d`` of RFC 3463; ``""`` where none belongs: in the greeting, the answer to EHLO, and 3yz (RFC 2034)."""
    text: str
    """Printable ASCII, one line."""

    @property
    def positive(self) -> bool:
        """Say whether it is 2yz."""
        return self.code < 300

    def octets(self) -> bytes:
        """Return it as it is sent."""
        status = f"{self.status} " if self.status else ""
        return f"{self.code} {status}{self.text}\r\n".encode("ascii")


def lines(code: int, texts: list[str]) -> bytes:
    """Return a reply of several lines."""
    *more, last = texts
    return "".join([*(f"{code}-{text}\r\n" for text in more), f"{code} {last}\r\n"]).encode("ascii")


class Output:
    """Replies that wait to be sent."""

    __slots__ = ("_pieces", "octets")

    def __init__(self) -> None:
        self.octets = 0
        self._pieces: list[bytes] = []

    def say(self, reply: Reply) -> None:
        """Add a reply."""
        self.add(reply.octets())

    def add(self, octets: bytes) -> None:
        """Add octets."""
        self._pieces.append(octets)
        self.octets += len(octets)

    def take(self) -> bytes:
        """Return, and forget, what is to be sent."""
        data = b"".join(self._pieces)
        self._pieces.clear()
        self.octets = 0
        return data


UNKNOWN_USER = Reply(550, "5.1.1", "no such user here")
FOREIGN = Reply(550, "5.7.1", "that domain is not ours, and nothing is relayed")
LOOP = Reply(554, "5.4.6", "mail loop: this message has been here before")
TOO_LARGE = Reply(552, "5.3.4", "the message is larger than SIZE says")
LONG_HEADER = Reply(554, "5.3.4", "the header of the message is larger than 1 MiB")
BARE_LINE_END = Reply(550, "5.6.11", "lines end in CRLF; this message has a bare CR or LF")
TEMPORARY = Reply(451, "4.3.0", "not possible at the moment; please try again later")
STOPPING = Reply(421, "4.3.2", "the server stops; please try again later")
FULL = "the maildrop is full"


def of_condition(condition: Condition, *, full_is_final: bool) -> Reply:
    """Return the reply for what a store could not do (D-010).

    What a person must mend is no reason to send mail back (D-020): the sender keeps it and tries again.

    Args:
        condition: of the store.
        full_is_final: a full maildrop sends mail back at once.
    """
    if isinstance(condition, QuotaExceeded):
        return Reply(552, "5.2.2", FULL) if full_is_final else Reply(452, "4.2.2", FULL)
    if isinstance(condition, NoRoom):
        return Reply(452, "4.3.1", "no room for mail at the moment")
    if isinstance(condition, NoSuchMaildrop):
        return UNKNOWN_USER
    if isinstance(condition, PermanentFailure):
        return Reply(451, "4.3.5", "not possible until the administrator has mended something")
    return TEMPORARY
