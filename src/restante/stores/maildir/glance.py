"""A look at ``new`` in the event loop: mail has come to a maildrop with few messages, and nothing else has happened.

That is how nearly all polls find their mail, and to hand it to a thread costs more than the look.  Whatever is not as
plain as that is left to `listing.scan`, which knows about moves, doubles and adopted ids.
"""

import os
import re
import stat
from itertools import islice

from restante.stores import systems
from restante.stores.files import READ_FLAGS
from restante.stores.maildir.folder import Folder
from restante.stores.maildir.listing import with_name_of
from restante.stores.maildir.measuring import QUIET, Measured, examine, is_as_measured, measured
from restante.stores.maildir.records import UNREADABLE, Change, Snapshot, Stored

FEW = 100
"""Messages of such a maildrop."""
SHORT = 1 << 17
"""Octets of all that is read."""
DIRECTORY = 1 << 16
"""Octets of the folder: one that was long once is read to its end, however little is in it."""
RAW = 2048
"""Octets of all headers that are not ASCII: to find out how long they are for a client without UTF8 takes its time."""
LATELY = 600.0
"""Seconds since the folder has changed: then what it holds was in memory, and is likely to be there still."""


_HEADER = re.compile(rb".*?(?:\n\r?\n|\Z)", re.DOTALL)


class _MustWaitError(Exception):
    """There is more to it, or something is not in memory."""


def look(folder: Folder, known: Snapshot, now: float) -> Snapshot | None:
    """Return what is there; None: somebody must look who may wait.

    Args:
        folder: the Maildir.
        known: what was there; ``cur`` and the list of ids are as they were.
        now: in seconds since 1970.

    Raises:
        OSError: something cannot be looked at.
    """
    status = os.stat(folder.join("new"))
    lately = 0 <= now - status.st_ctime < LATELY and status.st_size <= DIRECTORY
    if not lately or known.ids is not None or len(known.messages) > FEW:
        return None
    before = folder.stamp("new")
    try:
        found = _Look(folder, now).at(known)
    except _MustWaitError:
        return None
    # What has come in the meantime is for the next look; but nothing may have moved, which leaves a trace in either.
    if folder.stamp("new") != before or not known.trusts("cur", folder.stamp("cur"), now):
        return None
    old = {id(one) for one in known.messages}
    come = [one for one in found if id(one) not in old]
    replaced = {one.key for one in come}
    gone = [one for one in known.messages if one.key in replaced]
    settled = before[2] < (now - QUIET) * 1e9 and all(one.settled for one in found)
    # The hour is over when it is over for the oldest look.
    scanned = now if len(found) == len(known.messages) + len(come) - len(gone) else known.scanned
    snapshot = known.changed(Change(gone, come)) if come else known
    return snapshot._replace(new=before if settled else None, scanned=scanned)


class _Look:
    def __init__(self, folder: Folder, now: float) -> None:
        self._folder = folder
        self._now = now
        self._octets = self._raw = 0

    def at(self, known: Snapshot) -> list[Stored]:
        """Return what is in ``new``.

        Raises:
            _MustWaitError: a message is not where it was, or is another, or has an id that is taken.
        """
        before = {one.key: one for one in known.messages if one.directory == "new"}
        rest = [one for one in known.messages if one.directory != "new"]
        entries = list(islice(self._folder.names("new"), FEW + 1))
        if len(entries) > FEW or not before.keys() <= {key for key, _ in entries}:
            raise _MustWaitError
        found = [self._seen(key[1], path, before.get(key)) for key, path in entries]
        every = [*rest, *found]
        ids, inodes = ({one.message.unique_id for one in every}, {one.inode for one in every})
        if len(ids) < len(every) or len(inodes) < len(every) or any(len(one.paths) > 1 for one in every):
            raise _MustWaitError
        return found

    def _seen(self, inode: int, path: str, stored: Stored | None) -> Stored:
        descriptor = systems.open_cached(self._folder.join(path), READ_FLAGS)
        if descriptor < 0:
            raise _MustWaitError
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_ino != inode:
                raise _MustWaitError
            if stored is not None and stored.settled and is_as_measured(stored, status):
                return stored if stored.paths == (path,) else stored._replace(paths=(path,))
            fresh = examine(
                self._folder.path,
                (path,),
                status,
                self._now,
                trust_name=stored is None,
                reader=lambda _: self._measured(descriptor, status.st_size),
            )
        finally:
            os.close(descriptor)
        if fresh is None or fresh.size == UNREADABLE:
            raise _MustWaitError
        return fresh if stored is None else with_name_of(fresh, stored)

    def _measured(self, descriptor: int, octets: int) -> Measured:
        self._octets += octets
        read = systems.read_cached(descriptor, octets) if self._octets <= SHORT else None
        status = os.fstat(descriptor)
        if read is None or status.st_size != octets:
            raise _MustWaitError
        if not read.isascii():
            header = _HEADER.match(read)
            self._raw += 0 if header is None or header[0].isascii() else len(header[0])
            if self._raw > RAW:
                raise _MustWaitError
        return measured(read, status)
