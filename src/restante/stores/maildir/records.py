"""What is known of the messages in a Maildir."""

import threading
from collections.abc import Iterable, Mapping
from operator import itemgetter
from typing import NamedTuple

from restante.maildrop import Message
from restante.stores.maildir import names

UNREADABLE = -1
"""Stands for the size of a file that could not be read when it was listed."""


Key = tuple[str, int]
"""What identifies a file: its base name and its inode, as the directory tells them.

The base name alone would do if nobody ever copied a file.
"""
Paths = tuple[str, ...]
"""The names a file has, relative to the Maildir; the one to use is the last."""


class Stored(NamedTuple):
    """A message of the listing and where it was seen."""

    message: Message
    key: Key
    paths: Paths
    """``new/…`` or ``cur/…``; other programs may rename it at any time.

    More than one: a move that was seen twice, or that died between its link and its unlink.
    """
    size: int
    """Octets on disk, or `UNREADABLE`."""
    arrived: int
    """Seconds since 1970, as far as the name tells them."""

    @property
    def path(self) -> str:
        """The name to use."""
        return self.paths[-1]


class Known(NamedTuple):
    """What is known of a file; messages are immutable (M-007), so it holds as long as there is one with this key."""

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
        self._maildrops: dict[str, dict[Key, Known]] = {}
        self._lock = threading.Lock()

    def of(self, path: str) -> Mapping[Key, Known]:
        """Return what is known of a Maildir."""
        return self._maildrops.get(path, {})

    def keep(self, path: str, known: dict[Key, Known]) -> None:
        """Replace what is known of a Maildir."""
        with self._lock:
            self._messages += len(known) - len(self._maildrops.pop(path, {}))
            self._maildrops[path] = known
            while self._messages > self._limit and len(self._maildrops) > 1:
                oldest = next(iter(self._maildrops))
                self._messages -= len(self._maildrops.pop(oldest))

    def forget(self, path: str, keys: Iterable[Key]) -> None:
        """Drop what is known of some messages."""
        with self._lock:
            known = self._maildrops.get(path, {})
            for key in keys:
                if known.pop(key, None) is not None:
                    self._messages -= 1


def with_unique_ids(known: dict[Key, Known], before: Mapping[Key, Known]) -> None:
    """See to it that no two messages have one id (P-124), and that none changes the one it had (P-125).

    Ids come from base names.  A file whose base name another file has already is told apart by its inode.
    """
    new = known.keys() - before.keys()
    if not new:
        return
    taken = {entry.message.unique_id for key, entry in known.items() if key in before}
    for key in sorted(new, key=itemgetter(1)):
        entry = known[key]
        if entry.message.unique_id in taken:
            unique_id = names.unique_id(f"{key[0]}\0{key[1]}")
            known[key] = entry = entry._replace(message=entry.message._replace(unique_id=unique_id))
        taken.add(entry.message.unique_id)
