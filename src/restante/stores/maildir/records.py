"""What is known of the messages in a Maildir."""

import threading
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from itertools import islice
from operator import attrgetter, lt
from typing import NamedTuple

from restante.maildrop import Listing, Message

UNREADABLE = -1
"""Stands for the size of a file that could not be read when it was listed."""
DIRECTORIES = ("new", "cur")
"""Where messages are; in the order in which they are listed, because mail moves from ``new`` to ``cur``."""
TRUST = 3600.0
"""Seconds for which a listing is taken without a look at each file, if the folders have not changed."""

Key = tuple[str, int]
"""What identifies a file: its base name and its inode, as the directory tells them.

The base name alone would do if nobody ever copied a file.
"""
Paths = tuple[str, ...]
"""The names a file has, relative to the Maildir; the one to use is the last."""
Order = tuple[int, int, int]
"""Sorts messages (P-048): rank among adopted ones, or 1 << 62; then seconds and microseconds of arrival."""
Place = tuple[Order, str, int]
"""Sorts messages of which some came in the same microsecond: by base name, and by inode."""
Stamp = tuple[int, int, int]
"""Inode, mtime and ctime (ns) of a folder, or inode, mtime and size of a file: equal only if nothing has changed.

The ctime is there because a program that plays back a backup sets the mtime.
"""

FEW = 200
"""Messages up to which what has changed is found by its place."""
NOT_ADOPTED = 1 << 62
"""Rank of messages that have come since: after all that were taken over."""


class Stored(NamedTuple):
    """A message, and the file that holds it; messages are immutable (M-007)."""

    message: Message
    paths: Paths
    """``new/…`` or ``cur/…``; other programs may rename it at any time.

    More than one: a move that was seen twice, or that died between its link and its unlink.
    """
    inode: int
    size: int
    """Octets on disk, or `UNREADABLE`."""
    modified: int
    """The file's mtime in nanoseconds."""
    order: Order
    settled: bool = True
    """False: read so soon after it was written that a change may go unseen, or not readable at all."""

    @property
    def path(self) -> str:
        """The name to use."""
        return self.paths[-1]

    @property
    def base(self) -> str:
        """The base name."""
        return self.paths[-1][4:].partition(":")[0]  # behind "new/" or "cur/"

    @property
    def directory(self) -> str:
        """``new`` or ``cur``."""
        return self.paths[-1][:3]

    @property
    def key(self) -> Key:
        """What identifies the file."""
        return self.base, self.inode

    @property
    def place(self) -> "Place":
        """What it is sorted by."""
        return self.order, self.base, self.inode


class Snapshot(NamedTuple):
    """What a look at a Maildir found; never changed afterwards."""

    messages: tuple[Stored, ...] = ()
    """In their order."""
    listing: Listing = Listing()
    """The same, as a session sees them."""
    scanned: float = 0.0
    """When each file was looked at, in seconds since 1970."""
    new: Stamp | None = None
    """What the folder looked like then; None: it was just being changed, so that it tells nothing."""
    cur: Stamp | None = None
    ids: Stamp | None = None
    """The list of adopted ids that was applied; None: there was none."""

    @classmethod
    def of(cls, messages: Iterable[Stored], scanned: float = 0.0) -> "Snapshot":
        """Make one that trusts no folder."""
        messages = tuple(messages)
        return cls(messages, Listing(stored.message for stored in messages), scanned)

    def trusts(self, directory: str, stamp: Stamp, now: float) -> bool:
        """Say whether a folder holds what it held then.

        A clock that went back, and a time too long ago, are reasons to look again.
        """
        known = self.new if directory == "new" else self.cur
        return known == stamp and 0 <= now - self.scanned < TRUST

    def where(self, place: Place) -> int:
        """Return the position of the message that has that place.

        Raises:
            ValueError: there is none.
        """
        found = bisect_left(self.messages, place, key=attrgetter("place"))
        if found == len(self.messages) or self.messages[found].place != place:
            raise ValueError(place)
        return found

    def changed(self, change: "Change") -> "Snapshot":
        """Return what came after it: all but the messages is as it was.

        Raises:
            ValueError: a message was not there that has gone.
        """
        if len(change.gone) + len(change.come) > FEW:
            left = {id(one) for one in change.gone}
            messages = in_order([one for one in self.messages if id(one) not in left], change.come)
            same = 0
        else:
            messages = list(self.messages)
            same = len(messages)
            for number in sorted({self.where(one.place) for one in change.gone}, reverse=True):
                del messages[number]
                same = min(same, number)
            for one in change.come:
                same = min(same, bisect_left(messages, one.place, key=attrgetter("place")))
                insort(messages, one, key=attrgetter("place"))
        listing = self.listing.continued((stored.message for stored in islice(messages, same, None)), same)
        return self._replace(messages=tuple(messages), listing=listing)


class Change(NamedTuple):
    """What tells a snapshot from the one before it."""

    gone: Collection[Stored] = ()
    """Messages that are no longer there, or are another now."""
    come: Collection[Stored] = ()
    """Messages that were not there, or were another."""

    @classmethod
    def between(cls, before: Iterable[Stored], after: Iterable[Stored]) -> "Change":
        """Compare messages."""
        old, new = {id(one): one for one in before}, {id(one): one for one in after}
        return cls([old[one] for one in old.keys() - new.keys()], [new[one] for one in new.keys() - old.keys()])


def in_order(rest: Sequence[Stored], more: Iterable[Stored]) -> list[Stored]:
    """Sort messages by arrival; those of one microsecond by name, which flags are no part of (P-048, P-049).

    Args:
        rest: some of them, in order already.
        more: the others.
    """
    every = sorted([*rest, *more], key=attrgetter("order"))
    orders = [one.order for one in every]
    return every if all(map(lt, orders, islice(orders, 1, None))) else sorted(every, key=attrgetter("place"))


class Lookup:
    """What a look for new mail asks of the messages that are known; carried along, as it takes long to make for many.

    Args:
        messages: that are known.
    """

    def __init__(self, messages: Iterable[Stored] = ()) -> None:
        self.by_id: dict[str, Stored] = {}
        self.inodes: Counter[int] = Counter()
        self.new: dict[Key, Stored] = {}
        """Those in ``new``, where few are."""
        self.unsettled: Counter[str] = Counter()
        """How many of each folder are not settled."""
        self.doubled = 0
        """How many have several names."""
        self.add(messages)

    def add(self, messages: Iterable[Stored]) -> None:
        """Messages have come."""
        for one in messages:
            self.by_id[one.message.unique_id] = one
            self._count(one, 1)
            if one.directory == "new":
                self.new[one.key] = one

    def remove(self, messages: Iterable[Stored]) -> None:
        """Messages have gone."""
        for one in messages:
            if self.by_id.get(one.message.unique_id) is one:
                del self.by_id[one.message.unique_id]
            self._count(one, -1)
            self.new.pop(one.key, None)

    def changed(self, change: Change) -> "Lookup":
        """Follow a change; returns itself."""
        self.remove(change.gone)
        self.add(change.come)
        return self

    def _count(self, one: Stored, more: int) -> None:
        self.inodes[one.inode] += more
        if not self.inodes[one.inode]:
            del self.inodes[one.inode]
        self.unsettled[one.directory] += 0 if one.settled else more
        self.doubled += more if len(one.paths) > 1 else 0


EMPTY = Snapshot()


class Indexed(NamedTuple):
    """What is known of a Maildir, and of the index that holds it."""

    snapshot: Snapshot = EMPTY
    stamp: Stamp | None = None
    """Of the index when it was last read or written; None: there is none."""
    whole: int = 0
    """Octets of the index when it was last written whole; 0: it says something else, and must be written whole."""
    crc: int = 0
    """Of its last part, which the CRC of the next one goes on from."""
    lookup: Lookup | None = None
    """Of a long snapshot, if it was made."""

    def changed(self, change: Change) -> "Indexed":
        """Return what came after it; it itself is of no use then.

        Raises:
            ValueError: see `Snapshot.changed`.
        """
        snapshot = self.snapshot.changed(change)
        return self._replace(snapshot=snapshot, lookup=self.lookup and self.lookup.changed(change))


UNKNOWN = Indexed()


class Memory:
    """What is known of Maildirs, as long as the process lives.

    Args:
        limit: how many messages are remembered; the maildrops that were opened longest ago are forgotten first.
            A maildrop itself takes the room of `MAILDROP` messages.
    """

    MAILDROP = 5

    def __init__(self, limit: int = 200_000) -> None:
        self._limit = limit
        self._room = 0
        """What is taken."""
        self._maildrops: dict[str, Indexed] = {}
        self._lock = threading.Lock()

    def knows(self, path: str) -> bool:
        """Say whether a Maildir has been looked at."""
        return path in self._maildrops

    def of(self, path: str) -> Indexed:
        """Return what is known of a Maildir."""
        return self._maildrops.get(path, UNKNOWN)

    def keep(self, path: str, known: Indexed) -> None:
        """Replace what is known of a Maildir."""
        with self._lock:
            before = self._maildrops.pop(path, None)
            self._room += _room(known) - _room(before)
            self._maildrops[path] = known
            while self._room > self._limit and len(self._maildrops) > 1:
                oldest = next(iter(self._maildrops))
                self._room -= _room(self._maildrops.pop(oldest))


def _room(known: Indexed | None) -> int:
    return 0 if known is None else Memory.MAILDROP + len(known.snapshot.messages)
