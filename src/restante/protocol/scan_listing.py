"""The maildrop as one session sees it: a fixed listing and the marks of this session."""

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from enum import Enum
from itertools import islice

from restante.errors import NoSuchMessage, Text
from restante.maildrop import SLICE, Listing, Message

_NONE: frozenset[int] = frozenset()
"""Most sessions delete nothing, and an empty set takes 216 octets."""


class Headers(Enum):
    """What becomes of headers that are not ASCII (RFC 6856 section 2.1, P-256)."""

    RAW = "raw"
    """They go out as they are: the client has said UTF8, or the site wants it so."""
    SURROGATE = "surrogate"
    """The client gets a readable form in ASCII."""
    REFUSE = "refuse"
    """The client is told to say UTF8."""


class ScanListing:
    """Messages by their numbers, which never change while the session lasts (P-048, P-078)."""

    __slots__ = ("_messages", "_size_of", "_total", "deleted", "headers", "octets")

    def __init__(self, messages: Sequence[Message] = (), headers: Headers = Headers.RAW) -> None:
        self._messages = messages if isinstance(messages, Listing) else Listing(messages)
        self.headers = headers
        if headers is Headers.SURROGATE and not self._messages.ascii:
            self._size_of = _with_surrogate
            self._total = sum(map(_with_surrogate, self._messages))
        else:
            self._size_of = _as_it_is
            self._total = self._messages.octets
        self.deleted: AbstractSet[int] = _NONE
        """Numbers of the messages that are marked as deleted."""
        self.octets = self._total
        """Octets of the messages that are not: the sum of what LIST tells (P-073)."""

    def __len__(self) -> int:
        """Messages that are not marked as deleted."""
        return len(self._messages) - len(self.deleted)

    def __getitem__(self, number: int) -> Message:
        """The message with that number."""
        return self._messages[number - 1]

    def size(self, number: int) -> int:
        """The octets that RETR sends of a message."""
        return self._size_of(self[number])

    def needs_surrogate(self, number: int) -> bool:
        """The message goes out in another form than it is stored in."""
        return self.headers is Headers.SURROGATE and self[number].surrogate > 0

    def refuses(self, number: int) -> bool:
        """The message does not go out at all in this session."""
        return self.headers is Headers.REFUSE and self[number].surrogate > 0

    @property
    def summary(self) -> Text:
        """P-309: the same words after login, LIST, UIDL and RSET."""
        return Text("{count} messages ({octets} octets)", {"count": len(self), "octets": self.octets})

    @property
    def numbers(self) -> Text:
        """The valid message numbers, to complete "… needs a message number, …"."""
        if self._messages:
            return Text("1 to {last}", {"last": len(self._messages)})
        return Text("but the maildrop is empty")

    def number(self, digits: bytes) -> int:
        """Read a message number: decimal digits, of any length (P-014).

        Raises:
            NoSuchMessage: out of range (P-089), or marked as deleted (P-103).
        """
        significant = digits.lstrip(b"0")
        number = int(significant) if 0 < len(significant) < 20 else 0
        if not 1 <= number <= len(self._messages):
            if not self._messages:
                raise NoSuchMessage("no such message, the maildrop is empty")
            raise NoSuchMessage("no such message, numbers are {numbers}", numbers=self.numbers)
        if number in self.deleted:
            raise NoSuchMessage("message {number} is marked deleted (RSET undoes that)", number=number)
        return number

    def mark_deleted(self, number: int) -> None:
        """DELE: only a mark (P-100)."""
        if not isinstance(self.deleted, set):
            self.deleted = set()
        self.deleted.add(number)
        self.octets -= self.size(number)

    def unmark_all(self) -> None:
        """RSET (P-107)."""
        self.deleted = _NONE
        self.octets = self._total

    def scan_lines(self) -> Iterator[bytes]:
        """Make the lines that answer LIST, some at a time; deleted messages leave gaps (P-078)."""
        size = self._size_of
        kind = "LIST" if size is _as_it_is else "LIST with surrogates"
        return self._slices(kind, lambda number, message: b"%d %d\r\n" % (number, size(message)))

    def unique_ids(self) -> Iterator[bytes]:
        """Make the lines that answer UIDL, in the same way (P-127)."""
        return self._slices("UIDL", lambda number, message: b"%d %b\r\n" % (number, message.unique_id.encode("ascii")))

    def _slices(self, kind: str, line: Callable[[int, Message], bytes]) -> Iterator[bytes]:
        made = [] if self.deleted else list(self._messages.ready.get(kind, ()))
        yield from made
        numbered = enumerate(self._messages[SLICE * len(made) :], SLICE * len(made) + 1)
        while messages := list(islice(numbered, SLICE)):
            lines = b"".join([line(number, message) for number, message in messages if number not in self.deleted])
            made.append(lines)
            yield lines
        if not self.deleted:
            self._messages.ready[kind] = made


def _as_it_is(message: Message) -> int:
    return message.octets


def _with_surrogate(message: Message) -> int:
    return message.surrogate or message.octets
