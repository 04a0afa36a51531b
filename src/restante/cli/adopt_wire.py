"""Which message of another server is which of ours, told by what both say of them.

Nothing is guessed: two messages are the same if their headers are equal and nothing else speaks against it, or if their
bodies are equal octet for octet.
"""

import hashlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Hashable, Iterable, Sequence
from typing import NamedTuple, TypeVar

from restante.client import POP3Client
from restante.errors import Condition
from restante.maildrop import Maildrop
from restante.protocol.framing import CrlfLines

K = TypeVar("K", bound=Hashable)

_PIECE = 65_536
_LONGEST_HEADER = 1_048_576
_BLANK = b"\r\n\r\n"
_ADDED_AND_DROPPED = frozenset(
    b"status x-status x-uid x-uidl x-keywords x-imap x-imapbase content-length lines return-path delivered-to "
    b"x-original-to envelope-to x-envelope-to x-envelope-from x-mozilla-status x-mozilla-status2 x-mozilla-keys".split()
)
"""Header fields that one server adds when it delivers or shows a message, and another does not."""


class Message(NamedTuple):
    """What is known of a message without its body."""

    number: int
    exact: bytes
    """Stands for the header."""
    loose: bytes
    """Stands for the header without the fields that servers add and drop."""
    body: int
    """Octets of the body, as far as the server counts right."""


class Offered(NamedTuple):
    """A message of the other server."""

    message: Message
    unique_id: str


def message(number: int, octets: int, text: bytes) -> Message:
    """Make one of its octets and of how it begins, which is at least the header."""
    header = text.partition(_BLANK)[0].rstrip(b"\r\n")
    return Message(number, _hash(header), _hash(_without_changing_fields(header)), octets - len(header))


def _without_changing_fields(header: bytes) -> bytes:
    kept = []
    keep = True
    for line in header.split(b"\r\n"):
        if line[:1] not in (b" ", b"\t"):
            keep = line.partition(b":")[0].strip().lower() not in _ADDED_AND_DROPPED
        if keep:
            kept.append(line.rstrip())
    return b"\r\n".join(kept)


def _hash(octets: bytes) -> bytes:
    return hashlib.sha256(octets).digest()


class BodyHash:
    """Takes a message in pieces; stands for its body without the line ends after it, of which some servers add one."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._in_header = True
        self._held = b""
        """In the header what may begin the blank line, in the body line ends that may be the last."""

    def feed(self, octets: bytes) -> None:
        """Take the next piece."""
        octets = self._held + octets
        if self._in_header:
            _, blank, body = octets.partition(_BLANK)
            if not blank:
                self._held = octets[1 - len(_BLANK) :]
                return
            self._in_header, octets = False, body
        text = octets.rstrip(b"\r\n")
        self._held = octets[len(text) :]
        self._digest.update(text)

    def digest(self) -> bytes:
        """Return the hash of what was taken."""
        return self._digest.digest()


# -- both sides -------------------------------------------------------------------------------------


async def offered(session: POP3Client) -> AsyncIterator[Offered]:
    """Give the messages of the other server, in the order of its listing.

    Raises:
        Condition: the server refuses, or cannot do it.
    """
    ids, sizes = await session.listing()
    without: list[int] = []
    async for number, header in session.top_many(sorted(ids)):
        if isinstance(header, Condition):  # K-005: no TOP
            without.append(number)
        else:
            yield Offered(message(number, sizes.get(number, 0), header), ids[number])
    for number in without:
        yield Offered(message(number, sizes.get(number, 0), await _whole(session, number)), ids[number])


async def _whole(session: POP3Client, number: int) -> bytes:
    begin = bytearray()
    async for piece in await session.retr(number):
        if len(begin) < _LONGEST_HEADER:
            begin += piece
    return bytes(begin)


async def their_body(session: POP3Client, number: int) -> bytes:
    """Return what stands for a body of the other server."""
    body = BodyHash()
    async for piece in await session.retr(number):
        body.feed(piece)
    return body.digest()


async def our_message(maildrop: Maildrop, number: int) -> Message:
    """Return what is known of a message of ours.

    Raises:
        Condition: it cannot be read.
    """
    lines = CrlfLines()
    text = b""
    file = await maildrop.retrieve(number)
    try:
        while _BLANK not in text and len(text) < _LONGEST_HEADER and (piece := file.read(_PIECE)):
            text += lines.feed(piece)
    finally:
        file.close()
    return message(number, maildrop.listing[number - 1].octets, text)


async def our_body(maildrop: Maildrop, number: int) -> bytes:
    """Return what stands for a body of ours."""
    body, lines = BodyHash(), CrlfLines()
    file = await maildrop.retrieve(number)
    try:
        while piece := file.read(_PIECE):
            body.feed(lines.feed(piece))
    finally:
        file.close()
    body.feed(lines.finish())
    return body.digest()


# -- matching ---------------------------------------------------------------------------------------


class Open(NamedTuple):
    """Messages whose headers are equal, and which their sizes do not tell apart: their bodies must."""

    theirs: list[Message]
    ours: list[Message]


class Matching:
    """Finds pairs, first by whole headers, then without the fields that change.

    Args:
        theirs: messages of the other server.
        ours: messages of ours.
    """

    def __init__(self, theirs: Iterable[Message], ours: Iterable[Message]) -> None:
        self.theirs = {one.number: one for one in theirs}
        """By number; those that have found no partner yet."""
        self.ours = {one.number: one for one in ours}
        """The same of ours."""
        self.pairs: dict[int, int] = {}
        """Number there, number here."""

    def by_headers(self, key: Callable[[Message], bytes]) -> list[Open]:
        """Pair those whose headers are equal and whose sizes leave no doubt; returns the others with equal headers."""
        undecided = []
        for theirs, ours in _groups(self.theirs.values(), self.ours.values(), key):
            for some, same in _groups(theirs, ours, lambda one: one.body):
                if len(some) == len(same) == 1:
                    self._pair(some[0], same[0])
            rest = Open(
                [one for one in theirs if one.number in self.theirs], [one for one in ours if one.number in self.ours]
            )
            if rest.theirs and rest.ours:
                undecided.append(rest)
        return undecided

    def by_bodies(self, group: Open, their_bodies: Sequence[bytes], our_bodies: Sequence[bytes]) -> None:
        """Pair those whose bodies are equal; copies of one message are paired in their order, for it makes no odds."""
        theirs = dict(zip((one.number for one in group.theirs), their_bodies, strict=True))
        ours = dict(zip((one.number for one in group.ours), our_bodies, strict=True))
        for body in dict.fromkeys(their_bodies):
            copies = [one for one in group.theirs if theirs[one.number] == body]
            for their, our in zip(copies, [one for one in group.ours if ours[one.number] == body], strict=False):
                self._pair(their, our)

    def _pair(self, their: Message, our: Message) -> None:
        self.pairs[their.number] = our.number
        del self.theirs[their.number], self.ours[our.number]


def _groups(
    theirs: Iterable[Message], ours: Iterable[Message], key: Callable[[Message], K]
) -> list[tuple[list[Message], list[Message]]]:
    """Sort both by a key; returns what has messages on both sides."""
    both: dict[K, tuple[list[Message], list[Message]]] = defaultdict(lambda: ([], []))
    for one in theirs:
        both[key(one)][0].append(one)
    for one in ours:
        both[key(one)][1].append(one)
    return [(some, same) for some, same in both.values() if some and same]


async def matched(session: POP3Client, theirs: Iterable[Message], maildrop: Maildrop) -> Matching:
    """Find out which message there is which here; fetches those that headers do not tell apart.

    Raises:
        Condition: one of them cannot be read.
    """
    ours = [await our_message(maildrop, number) for number in range(1, len(maildrop.listing) + 1)]
    matching = Matching(theirs, ours)
    for key in (lambda one: one.exact, lambda one: one.loose):
        for group in matching.by_headers(key):
            their_bodies = [await their_body(session, one.number) for one in group.theirs]
            our_bodies = [await our_body(maildrop, one.number) for one in group.ours]
            matching.by_bodies(group, their_bodies, our_bodies)
    return matching
