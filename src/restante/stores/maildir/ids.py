"""Unique-ids that do not follow from base names: ``restante/ids``, the one file of ours that holds something to lose.

Adopted ids are in it, and those of files that share a base name with another.  It is a log, a line for each fact;
a later line overrides an earlier one, and a last line without its end was never finished.  What is added is durable
before a client sees the id (P-129).

    restante ids 1
    follow dovecot %08Xu%08Xv         whose ids later messages get; "follow -": nobody's
    id 17 - 0000001155d8e9f1 1637773029.M1P2.host
       |  |  |                `- base name, percent-encoded
       |  |  `- unique-id
       |  `- inode, where the base name does not tell the files apart; "-": it does
       `- rank in the listing; "-": by arrival
"""

import os
from collections.abc import Collection, Mapping
from typing import NamedTuple
from urllib.parse import quote_from_bytes, unquote_to_bytes

from restante.errors import PermanentFailure
from restante.stores.files import open_or_create, read_file, sync_directory, unlink_if_there, write_all
from restante.stores.maildir import index, names
from restante.stores.maildir.records import Key, Stamp

NAME = "ids"
"""Below our subfolder."""
_HEAD = b"restante ids 1\n"
_LONGEST = 1 << 26
"""Octets of the longest list that is read: some 700,000 messages."""
_RANKS = range(1 << 62)
MANY = 100
"""Lines from which it is worth while to look for some that can go."""
_SAFE = "!\"#$&'()*+,/:;<=>?@[\\]^`{|}~"


class Known(NamedTuple):
    """What the file tells of a message."""

    unique_id: str
    rank: int | None = None
    """Place among the adopted messages; None: by arrival."""


class Following(NamedTuple):
    """The server whose ids later messages get."""

    source: str
    uidl_format: str


class Ids:
    """What ``restante/ids`` says.

    Args:
        stamp: of the file; None: there is none.
    """

    def __init__(self, stamp: Stamp | None = None) -> None:
        self.stamp = stamp
        self.following: Following | None = None
        self.known: dict[Key, Known] = {}
        """By base name and inode; the inode is 0 where any will do."""

    def of(self, key: Key) -> Known | None:
        """Return what is known of a file."""
        return self.known.get(key) or self.known.get((key[0], 0))

    @property
    def next_rank(self) -> int:
        """The rank after all others."""
        return max((known.rank for known in self.known.values() if known.rank is not None), default=-1) + 1


def read(path: str) -> Ids:
    """Read the file; one that is missing says nothing.

    Raises:
        PermanentFailure: it is damaged; to go on without it would change ids.
        OSError: it cannot be read.
    """
    found = read_file(path, _LONGEST)
    if found is None:
        return Ids()
    octets, status = found
    ids = Ids((status.st_ino, status.st_mtime_ns, status.st_size))
    head, *lines = octets.split(b"\n")
    if head + b"\n" != _HEAD and not _HEAD.startswith(head):
        raise PermanentFailure(f'{path}:1: is no list of unique-ids; "{_HEAD.decode().strip()}" would be right')
    for number, line in enumerate(lines[:-1], 2):  # behind the last line end is nothing, or what was never finished
        try:
            _understand(ids, line.split(b" "))
        except (ValueError, IndexError):
            raise PermanentFailure(
                f'{path}:{number}: "id RANK INODE UNIQUE-ID BASE-NAME" would be right; '
                "without the line that message may get another id"
            ) from None
    return ids


def add(path: str, known: Mapping[Key, Known], following: Following | None = None, *, end: bool = False) -> Stamp:
    """Add to the file, durably; returns its new stamp.  Under the session's lock.

    Args:
        path: of the file, which need not exist.
        known: by base name and inode (0: any).
        following: whose ids later messages get.
        end: they get nobody's any more.

    Raises:
        PermanentFailure: what has the name of the file is something else.
        OSError: they are not certain to be in it.
    """
    lines = [_line(key, one) for key, one in known.items()]
    if following is not None:
        lines.append(f"follow {following.source} {following.uidl_format or '-'}\n".encode())
    elif end:
        lines.append(b"follow -\n")
    descriptor = open_or_create(path)
    try:
        size = os.fstat(descriptor).st_size
        whole = _end_of_lines(descriptor, size)
        os.ftruncate(descriptor, whole)  # what a crash left unfinished
        try:
            write_all(descriptor, b"".join(([] if whole else [_HEAD]) + lines), whole)
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, whole)
            raise
        status = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    if not whole:
        sync_directory(os.path.dirname(path))
    return status.st_ino, status.st_mtime_ns, status.st_size


def is_mostly_idle(ids: Ids, bases: Collection[str]) -> bool:
    """Say whether half of a long list is of messages that are gone for good.

    Args:
        ids: the list.
        bases: base names of messages that are here or can come back.
    """
    if len(ids.known) < MANY:
        return False
    return sum(base in bases for base, _ in ids.known) <= len(ids.known) / 2


def replace(path: str, known: Mapping[Key, Known], following: Following | None) -> None:
    """Write the file anew, all or nothing; under the session's lock.

    Raises:
        OSError: the old file is still there, or nobody knows whether the new one is durable.
    """
    aside = f"{path}.new"
    unlink_if_there(aside)
    add(aside, known, following)
    os.rename(aside, path)
    sync_directory(os.path.dirname(path))


def forget(path: str, ids: Ids, bases: Collection[str]) -> None:
    """Write the file anew without messages that are gone for good; under the session's lock.

    What is left out is added to ``ids.old``, which only a person reads: should the mail have been out of the way only
    for a while, the ids are not lost.

    Raises:
        PermanentFailure, OSError: the old file is still there.
    """
    add(f"{path}.old", {key: one for key, one in ids.known.items() if key[0] not in bases})
    replace(path, {key: one for key, one in ids.known.items() if key[0] in bases}, ids.following)


def stamp(path: str) -> Stamp | None:
    """Return what tells that the file has not changed; None: there is none."""
    return index.stamp(path)


def _end_of_lines(descriptor: int, size: int) -> int:
    """Return where the last complete line ends."""
    position = size
    while position > 0:
        start = max(0, position - 65536)
        found = os.pread(descriptor, position - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        position = start
    return 0


def _line(key: Key, known: Known) -> bytes:
    base, inode = key
    rank = "-" if known.rank is None else str(known.rank)
    return f"id {rank} {inode or '-'} {known.unique_id} {quote_from_bytes(os.fsencode(base), _SAFE)}\n".encode("ascii")


def _understand(ids: Ids, words: list[bytes]) -> None:
    if words[0] == b"follow":
        following = Following(words[1].decode("ascii"), b" ".join(words[2:]).decode("ascii"))
        if following.uidl_format == "-":
            following = following._replace(uidl_format="")
        ids.following = None if following.source == "-" else following
        return
    word, rank, inode, unique_id, base = words
    if word != b"id":
        raise ValueError
    key = os.fsdecode(unquote_to_bytes(base)), 0 if inode == b"-" else int(inode)
    known = Known(unique_id.decode("ascii"), None if rank == b"-" else int(rank))
    if not names.is_unique_id(known.unique_id) or (known.rank is not None and known.rank not in _RANKS):
        raise ValueError
    ids.known[key] = known
