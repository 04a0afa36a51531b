"""The maildrop as one session sees it: a fixed listing and the marks of this session."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from restante.errors import NoSuchMessage
from restante.maildrop import Message

SLICE = 1000
"""Messages of a long listing that are looked at in one step (P-295)."""


class ScanListing:
    """Messages by their numbers, which never change while the session lasts (P-048, P-078)."""

    __slots__ = ("_messages", "_total", "deleted", "octets")

    def __init__(self, messages: Sequence[Message] = ()) -> None:
        self._messages = messages
        self._total = sum(message.octets for message in messages)
        self.deleted: set[int] = set()
        """Numbers of the messages that are marked as deleted."""
        self.octets = self._total
        """Octets of the messages that are not: the sum of what LIST tells (P-073)."""

    def __len__(self) -> int:
        """Messages that are not marked as deleted."""
        return len(self._messages) - len(self.deleted)

    def __getitem__(self, number: int) -> Message:
        """The message with that number."""
        return self._messages[number - 1]

    def __str__(self) -> str:
        """P-309: the same words after login, LIST, UIDL and RSET."""
        return f"{len(self)} messages ({self.octets} octets)"

    @property
    def numbers(self) -> str:
        """The valid message numbers, to complete "… needs a message number, …"."""
        return f"1 to {len(self._messages)}" if self._messages else "but the maildrop is empty"

    def number(self, digits: bytes) -> int:
        """Read a message number: decimal digits, of any length (P-014).

        Raises:
            NoSuchMessage: out of range (P-089), or marked as deleted (P-103).
        """
        significant = digits.lstrip(b"0")
        number = int(significant) if 0 < len(significant) < 20 else 0
        if not 1 <= number <= len(self._messages):
            here = f"numbers are {self.numbers}" if self._messages else "the maildrop is empty"
            raise NoSuchMessage(f"no such message, {here}")
        if number in self.deleted:
            raise NoSuchMessage(f"message {number} is marked deleted (RSET undoes that)")
        return number

    def mark_deleted(self, number: int) -> None:
        """DELE: only a mark (P-100)."""
        self.deleted.add(number)
        self.octets -= self[number].octets

    def unmark_all(self) -> None:
        """RSET (P-107)."""
        self.deleted.clear()
        self.octets = self._total

    def slices(self, line: Callable[[int, Message], bytes]) -> Iterator[bytes]:
        """Make the lines of a multi-line listing, some at a time; deleted messages leave gaps (P-078, P-127)."""
        numbered = enumerate(self._messages, 1)
        while messages := list(islice(numbered, SLICE)):
            yield b"".join([line(number, message) for number, message in messages if number not in self.deleted])
