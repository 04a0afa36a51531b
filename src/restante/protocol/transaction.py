"""The TRANSACTION state: the commands that work on the listing (RFC 1939 sections 5 to 7)."""

from collections.abc import Iterator
from typing import ClassVar

from restante.errors import CommandError, NeedsUtf8
from restante.protocol.commands import Command
from restante.protocol.events import Event, Retrieve, Statistics, Update
from restante.protocol.framing import TERMINATOR
from restante.protocol.message_encoder import MessageEncoder, whole
from restante.protocol.policy import Features, Terms
from restante.protocol.replies import Replies
from restante.protocol.scan_listing import ScanListing
from restante.protocol.stage import Stage

ALL_LINES = 2**62
"""More lines than any message has: what larger counts of TOP are read as (P-112)."""


class Transaction(Stage):
    """Answers from the listing; only messages and deletions need the world."""

    __slots__ = ("_read_only", "_retrieved", "listing", "slices", "statistics")

    def __init__(
        self, features: Features, terms: Terms, replies: Replies, listing: ScanListing, *, read_only: bool
    ) -> None:
        super().__init__(features, terms, replies)
        self.listing = listing
        self.statistics = Statistics()
        self.slices: Iterator[bytes] | None = None
        """What is left of a long listing that is being sent."""
        self._read_only = read_only
        self._retrieved: set[int] | None = set() if features.expire == 0 and not read_only else None
        """Messages that go at QUIT because they were retrieved (P-142); None: none does."""

    def offers(self, verb: bytes) -> bool:
        """STLS is not for now (P-154)."""
        return verb != b"STLS"

    def arguments_wrong(self, command: Command) -> CommandError:
        """Name the valid numbers (P-307)."""
        return CommandError(command.usage, numbers=self.listing.numbers)

    def summary(self) -> None:
        """Answer with the number of messages and their octets, in the same words everywhere (P-309)."""
        text = self.listing.summary
        self.replies.ok(text.template, **text.values)

    def send_slice(self) -> None:
        """Send the next slice of a listing."""
        assert self.slices is not None
        lines = next(self.slices, None)
        if lines is None:
            self.slices = None
            lines = TERMINATOR
        self.replies.add(lines)

    def _list_all(self, slices: Iterator[bytes]) -> None:
        """Send a multi-line listing, in slices."""
        self.summary()
        self.slices = slices

    def _stat(self, _: list[bytes]) -> None:
        self.replies.answer(f"{len(self.listing)} {self.listing.octets}")  # P-072: nothing after the second number

    def _list(self, arguments: list[bytes]) -> None:
        if arguments:
            number = self._readable(arguments[0])
            self.replies.answer(f"{number} {self.listing.size(number)}")
        else:
            self._list_all(self.listing.scan_lines())

    def _uidl(self, arguments: list[bytes]) -> None:
        if arguments:
            number = self.listing.number(arguments[0])
            self.replies.answer(f"{number} {self.listing[number].unique_id}")
        else:
            self._list_all(self.listing.unique_ids())

    def _readable(self, digits: bytes) -> int:
        """Read a message number, and refuse what this client could not read (P-180, P-256)."""
        number = self.listing.number(digits)
        if self.listing.refuses(number):
            raise NeedsUtf8(f"message {number}")
        return number

    def _retr(self, arguments: list[bytes]) -> Event:
        return Retrieve(self._readable(arguments[0]), None)

    def _top(self, arguments: list[bytes]) -> Event:
        lines = arguments[1].lstrip(b"0") or b"0"
        return Retrieve(self._readable(arguments[0]), int(lines) if len(lines) < 19 else ALL_LINES)

    def encoder(self, event: Retrieve) -> MessageEncoder:
        """Announce a message that can be read, and return what turns it into the reply (P-085, P-095)."""
        if event.lines is None:
            self.replies.ok("{octets} octets", octets=self.listing.size(event.number))
        else:
            self.replies.ok("top of message follows")
        return MessageEncoder(
            event.lines,
            surrogate=self.listing.needs_surrogate(event.number),
            wire_form=self.listing[event.number].wire_form,
        )

    def send_whole(self, event: Retrieve, stored: bytes) -> bool:
        """Send a message that goes out as it is, and has as many octets as listed, as nearly all; else do nothing."""
        message = self.listing[event.number]
        if event.lines is not None or self.listing.needs_surrogate(event.number):
            return False
        lines, octets = (stored, len(stored)) if message.wire_form else whole(stored)
        if octets != message.octets:
            return False
        self.replies.ok("{octets} octets", octets=octets)
        self.replies.add(lines)
        self.replies.add(TERMINATOR)
        self.retrieved(event, octets)
        return True

    def retrieved(self, event: Retrieve, octets: int) -> None:
        """A message has been sent."""
        if event.lines is None:
            self.statistics.retr += 1
            self.statistics.retr_octets += octets
            if self._retrieved is not None:
                self._retrieved.add(event.number)
        else:  # P-117: TOP never counts as retrieved
            self.statistics.top += 1
            self.statistics.top_octets += octets

    def _dele(self, arguments: list[bytes]) -> None:
        number = self.listing.number(arguments[0])
        if self._read_only:
            raise CommandError("nothing can be deleted from this maildrop")
        self.listing.mark_deleted(number)
        self.replies.ok("message {number} marked deleted; QUIT removes it, RSET unmarks it", number=number)

    def _noop(self, _: list[bytes]) -> None:
        self.replies.ok("nothing done")

    def _rset(self, _: list[bytes]) -> None:
        self.listing.unmark_all()
        self.summary()

    def _quit(self, _: list[bytes]) -> Event | None:
        if self._retrieved is not None:  # announced as EXPIRE 0
            for number in self._retrieved - self.listing.deleted:
                self.listing.mark_deleted(number)
        if not self.listing.deleted:
            self.farewell()
            return None
        return Update(frozenset(self.listing.deleted))

    def farewell(self) -> None:
        """The end of a complete QUIT (RFC 1939 section 6)."""
        self.statistics.left = len(self.listing)
        self.replies.ok(
            "{deleted} messages deleted, {left} left", deleted=len(self.listing.deleted), left=len(self.listing)
        )

    TABLE: ClassVar[dict[bytes, Command]] = {
        b"STAT": Command(_stat, 0, 0, "STAT takes no argument"),
        b"LIST": Command(_list, 0, 1, "LIST takes nothing or one message number, {numbers}"),
        b"RETR": Command(_retr, 1, 1, "RETR needs a message number, {numbers}"),
        b"DELE": Command(_dele, 1, 1, "DELE needs a message number, {numbers}"),
        b"TOP": Command(_top, 2, 2, "TOP needs a message number, {numbers}, and a count of body lines"),
        b"UIDL": Command(_uidl, 0, 1, "UIDL takes nothing or one message number, {numbers}"),
        b"NOOP": Command(_noop, 0, 0, "NOOP takes no argument"),
        b"RSET": Command(_rset, 0, 0, "RSET takes no argument"),
        b"LANG": Command(Stage.lang, 0, 1, "LANG takes nothing, one language tag, or *", numeric=False),
        b"CAPA": Command(Stage.capa, 0, 0, "CAPA takes no argument"),
        b"QUIT": Command(_quit, 0, 0, "QUIT takes no argument; nothing was deleted"),  # P-141
    }
