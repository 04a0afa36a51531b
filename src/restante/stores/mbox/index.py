"""What is remembered of a mailbox between two sessions: where its messages are, their sizes and their unique-ids.

The file is written anew as a whole and carries its own hash; one that is damaged, of another version or missing costs
a look through the mailbox, and no id, because ids are made from the messages.
"""

import hashlib
import os
import struct
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from restante.stores.mbox.format import Format
from restante.stores.mbox.scan import Entry

QUIET = 2.0
"""Seconds after which the time of a change tells that no later one has the same time (generous for any clock)."""
RETIRED = 1000
"""How many messages that have gone are remembered, so that a copy of one does not get its id (P-126)."""

_MAGIC = b"restante mbox index 1\n"
_HEAD = struct.Struct("<QQqq6s?QII")
_ENTRY = struct.Struct("<QIQQQI16sI?")
_RETIRED = struct.Struct("<16sI")
_HASH = 32


class State(NamedTuple):
    """What the system tells of a file; the same again means that nobody has touched it."""

    inode: int
    size: int
    modified: int
    """Nanoseconds since 1970, which programs may set as they like."""
    changed: int
    """The same of the ctime, which nobody can set."""

    @classmethod
    def of(cls, descriptor: int) -> "State":
        """Look at an open file.

        Raises:
            OSError: that is not possible.
        """
        status = os.fstat(descriptor)
        return cls(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    def is_quiet(self) -> bool:
        """Say whether a later change is sure to show in the times."""
        return max(self.modified, self.changed) < (time.time() - QUIET) * 1e9


NOWHERE = State(0, 0, 0, 0)
"""Of a mailbox that does not exist."""


class Index(NamedTuple):
    """What is known of a mailbox."""

    state: State
    """When it was read."""
    kind: Format
    """How it was read."""
    entries: tuple[Entry, ...]
    """The messages in their order."""
    retired: Mapping[bytes, int]
    """Identities of messages that have gone, with the highest `Entry.copy` of each; oldest first."""
    settled: bool = False
    """A change after `state` was taken is sure to show in it."""
    device: int = 0
    """The file system of the folder that the mailbox is in."""

    @property
    def is_derivable(self) -> bool:
        """The same ids come out when nothing but the mailbox is left."""
        copies: dict[bytes, int] = {}
        for entry in self.entries:
            copies[entry.identity] = copies.get(entry.identity, 0) + 1
            if entry.copy != copies[entry.identity]:
                return False
        return True

    def pack(self) -> bytes:
        """Return what is written into the file."""
        counts = len(self.entries), len(self.retired)
        parts = [_MAGIC, _HEAD.pack(*self.state, self.kind.encode(), self.settled, self.device, *counts)]
        parts += [
            _ENTRY.pack(one.start, one.body - one.start, one.end, *one[3:])  # the rest as it stands
            for one in self.entries
        ]
        parts += [_RETIRED.pack(identity, copy) for identity, copy in self.retired.items()]
        octets = b"".join(parts)
        return octets + hashlib.sha256(octets).digest()


def unpack(octets: bytes) -> Index | None:
    """Read what `Index.pack` has written; None when it is anything else."""
    content = octets[:-_HASH]
    if not octets.startswith(_MAGIC) or hashlib.sha256(content).digest() != octets[-_HASH:]:
        return None
    at = len(_MAGIC)
    *state, kind, settled, device, messages, gone = _HEAD.unpack_from(content, at)
    at += _HEAD.size
    middle = at + messages * _ENTRY.size
    if len(content) != middle + gone * _RETIRED.size:
        return None
    entries = tuple(Entry(start, start + line, *rest) for start, line, *rest in _ENTRY.iter_unpack(content[at:middle]))
    name: Format = "mboxo" if kind.startswith(b"mboxo") else "mboxrd"
    return Index(State(*state), name, entries, dict(_RETIRED.iter_unpack(content[middle:])), settled, device)


def with_copies(found: Sequence[Entry], before: Sequence[Entry], highest: dict[bytes, int]) -> list[Entry]:
    """Give each message the number that it had among its equals, or one that none has had (P-124 to P-126).

    Copies that are equal in every octet are told apart by the messages between which they stand.

    Args:
        found: what the mailbox holds, in order.
        before: what it held, in order.
        highest: number given so far, for each identity, those of `before` too; is brought up to date.
    """
    old, new = _places(before), _places(found)
    anchors: list[tuple[int, int]] = []  # places in found and before of messages that are there once
    several: list[bytes] = []
    for identity in new.keys() & old.keys():
        if len(new[identity]) == len(old[identity]) == 1:
            anchors.append((new[identity][0], old[identity][0]))
        else:
            several.append(identity)
    pairs = list(anchors)
    if several:
        low, high = _windows(len(found), len(before), anchors)
        for identity in several:
            pairs += _matched(new[identity], old[identity], low, high)
    copies = {place: before[was].copy for place, was in pairs}
    result = []
    for place, entry in enumerate(found):
        if place not in copies:
            copies[place] = highest[entry.identity] = highest.get(entry.identity, 0) + 1
        result.append(entry._replace(copy=copies[place]))
    return result


def _places(entries: Iterable[Entry]) -> dict[bytes, list[int]]:
    places: dict[bytes, list[int]] = {}
    for place, entry in enumerate(entries):
        places.setdefault(entry.identity, []).append(place)
    return places


def _windows(found: int, before: int, anchors: Iterable[tuple[int, int]]) -> tuple[list[int], list[int]]:
    """For each place in what was found: after which and before which place it must have been."""
    low, high = [-1] * (found + 1), [before] * (found + 1)
    for place, was in anchors:
        low[place], high[place] = was, was
    for place in range(1, found + 1):
        low[place] = max(low[place], low[place - 1])
    for place in range(found - 1, -1, -1):
        high[place] = min(high[place], high[place + 1])
    return low, high


def _matched(
    places: Sequence[int], were: Sequence[int], low: Sequence[int], high: Sequence[int]
) -> Iterable[tuple[int, int]]:
    """Pair equal messages with the places where they were, those first whose neighbours agree."""
    waiting: list[int] = []
    passed: list[int] = []
    candidates = deque(were)
    for place in places:
        while candidates and candidates[0] <= low[place]:
            passed.append(candidates.popleft())
        if candidates and candidates[0] < high[place]:
            yield place, candidates.popleft()
        else:
            waiting.append(place)
    yield from zip(waiting, (*passed, *candidates), strict=False)


def retired(highest: Mapping[bytes, int], entries: Iterable[Entry]) -> dict[bytes, int]:
    """Return the numbers that are not to be given again although no message has them; the oldest are forgotten."""
    living: dict[bytes, int] = {}
    for entry in entries:
        living[entry.identity] = max(entry.copy, living.get(entry.identity, 0))
    gone = [(identity, copy) for identity, copy in highest.items() if copy > living.get(identity, 0)]
    return dict(gone[-RETIRED:])
