"""What is known of the messages in a Maildir."""

import threading
from typing import NamedTuple

from restante.maildrop import Message

UNREADABLE = -1
"""Stands for the size of a file that could not be read when it was listed."""


class Stored(NamedTuple):
    """A message of the listing and where it was seen."""

    message: Message
    base: str
    path: str
    """Relative to the Maildir: ``new/…`` or ``cur/…``; other programs may rename it at any time."""
    size: int
    """Octets on disk, or `UNREADABLE`."""
    alias: str = ""
    """See `Place`."""


class Place(NamedTuple):
    """Where a message is now."""

    path: str
    """Relative to the Maildir."""
    inode: int
    alias: str = ""
    """Another name of the same file: a move that was seen twice, or that died between its link and its unlink."""


class Known(NamedTuple):
    """What is known of a file; messages are immutable (M-007), so it holds as long as the name has this inode."""

    inode: int
    message: Message
    size: int
    arrival: tuple[int, int, str]
    """Sorts messages (P-048)."""


class Memory:
    """What was found out about the files of Maildirs, as long as the process lives.

    Args:
        limit: how many messages are remembered; the maildrops that were opened longest ago are forgotten first.
    """

    def __init__(self, limit: int = 200_000) -> None:
        self.distrusted: set[tuple[str, str]] = set()
        """Maildir and base name of messages whose sizes proved wrong: somebody rewrote the file."""
        self._limit = limit
        self._messages = 0
        self._maildrops: dict[str, dict[str, Known]] = {}
        self._lock = threading.Lock()

    def of(self, path: str) -> dict[str, Known]:
        """Return what is known of a Maildir, by base name."""
        return self._maildrops.get(path, {})

    def keep(self, path: str, known: dict[str, Known]) -> None:
        """Replace what is known of a Maildir."""
        with self._lock:
            self._messages += len(known) - len(self._maildrops.pop(path, {}))
            self._maildrops[path] = known
            while self._messages > self._limit:
                oldest = next(iter(self._maildrops))
                self._messages -= len(self._maildrops.pop(oldest))


def add_double(places: dict[str, Place], base: str, place: Place) -> None:
    """Enter a second file with a base name that is there already.

    The same file under two names is one message.  Two files are two messages, and the one with the smaller
    inode keeps the base name as its id.
    """
    first = places[base]
    if first.inode == place.inode:
        places[base] = place._replace(alias=first.path)  # cur after new: the later name is the one to use
        return
    if place.inode < first.inode:
        first, place = place, first
        places[base] = first
    places[f"{base}\0{place.inode}"] = place
