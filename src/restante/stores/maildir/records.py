"""What is known of the messages in a Maildir."""

import threading
from collections.abc import Collection, Iterable, Sequence
from itertools import compress, count, islice
from operator import attrgetter, is_not, lt
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
Stamp = tuple[int, int, int]
"""Inode, mtime and ctime (ns) of a folder, or inode, mtime and size of a file: equal only if nothing has changed.

The ctime is there because a program that plays back a backup sets the mtime.
"""

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
    def key(self) -> Key:
        """What identifies the file."""
        return self.base, self.inode


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

    def followed(self, messages: tuple[Stored, ...]) -> "Snapshot":
        """Return what came after it: other messages, and all else as it was."""
        same = in_common(self.messages, messages)
        listing = self.listing.continued((stored.message for stored in islice(messages, same, None)), same)
        return self._replace(messages=messages, listing=listing)

    def without(self, keys: Collection[Key]) -> "Snapshot":
        """Return what is left when some files have gone; that their folders have changed shows in their stamps."""
        inodes = {inode for _, inode in keys}  # most messages need no closer look
        return self.followed(tuple([one for one in self.messages if one.inode not in inodes or one.key not in keys]))


def in_common(some: Sequence[Stored], others: Sequence[Stored]) -> int:
    """Return how many messages two sequences have in common, from the first on."""
    return next(compress(count(), map(is_not, some, others)), min(len(some), len(others)))


def in_order(rest: Sequence[Stored], more: Iterable[Stored]) -> list[Stored]:
    """Sort messages by arrival; those of one microsecond by name, which flags are no part of (P-048, P-049).

    Args:
        rest: some of them, in order already.
        more: the others.
    """
    behind = sorted(more, key=_placed)
    if rest and behind and rest[-1].order < behind[0].order:  # what arrives nearly always belongs there
        return [*rest, *behind]
    every = sorted([*rest, *behind], key=attrgetter("order"))
    orders = [one.order for one in every]
    return every if all(map(lt, orders, islice(orders, 1, None))) else sorted(every, key=_placed)


def _placed(stored: Stored) -> tuple[Order, str, int]:
    return stored.order, stored.base, stored.inode


EMPTY = Snapshot()


class Indexed(NamedTuple):
    """What is known of a Maildir, and of the index that holds it."""

    snapshot: Snapshot = EMPTY
    stamp: Stamp | None = None
    """Of the index when it was last read or written; None: there is none."""
    whole: int = 0
    """Octets of the index when it was last written whole; 0: it says something else, and must be written whole."""


UNKNOWN = Indexed()


class Memory:
    """What is known of Maildirs, as long as the process lives.

    Args:
        limit: how many messages are remembered; the maildrops that were opened longest ago are forgotten first.
    """

    def __init__(self, limit: int = 200_000) -> None:
        self._limit = limit
        self._messages = 0
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
            before = self._maildrops.pop(path, UNKNOWN)
            self._messages += len(known.snapshot.messages) - len(before.snapshot.messages)
            self._maildrops[path] = known
            while self._messages > self._limit and len(self._maildrops) > 1:
                oldest = next(iter(self._maildrops))
                self._messages -= len(self._maildrops.pop(oldest).snapshot.messages)
