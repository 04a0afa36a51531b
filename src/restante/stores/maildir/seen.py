"""Which maildrops have had mail, known to all workers.

A Maildir that has gone, with mail in it, must not come back as an empty one in any worker: it may be a file system
that is not mounted just now.
"""

import hashlib
import mmap

_SLOTS = 1 << 16
_OCTETS = 8


class Seen:
    """A set of paths in memory that processes share which are forked after it was made; `_SLOTS` at most.

    Each worker may write at any time: a slot is one aligned word and never emptied, so the worst is that of two paths
    written at once only one is remembered until its next login.
    """

    def __init__(self) -> None:
        self._words = memoryview(mmap.mmap(-1, _SLOTS * _OCTETS)).cast("Q")

    def add(self, path: str) -> None:
        """Remember a path; nothing happens when all places near its own are taken."""
        word, slots = _places(path)
        for slot in slots:
            if self._words[slot] in (0, word):
                self._words[slot] = word
                return

    def __contains__(self, path: str) -> bool:
        """Say whether a path was remembered."""
        word, slots = _places(path)
        return any(self._words[slot] == word for slot in slots)


def _places(path: str) -> tuple[int, list[int]]:
    word = int.from_bytes(hashlib.blake2b(path.encode("utf-8", "surrogateescape"), digest_size=_OCTETS).digest()) or 1
    return word, [(word + number) % _SLOTS for number in range(32)]
