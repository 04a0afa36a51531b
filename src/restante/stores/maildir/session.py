"""An opened Maildir: what a session has of it."""

import asyncio
import errno
import os
import time
from collections.abc import Collection, Mapping, Sequence
from typing import BinaryIO

from restante.errors import TemporaryFailure, UpdateIncomplete
from restante.maildrop import Given, MessageFile
from restante.stores.files import condition, in_thread
from restante.stores.maildir import adopting, listing, prompt
from restante.stores.maildir.disks import Disk, Steps, complete
from restante.stores.maildir.folder import SEARCHES, Folder
from restante.stores.maildir.measuring import examine, is_as_measured
from restante.stores.maildir.quota import Limits, Quota
from restante.stores.maildir.records import DIRECTORIES, Change, Key, Memory, Paths, Snapshot, Stamp, Stored
from restante.stores.maildir.removal import removing

_NOWHERE: Mapping[Key, Paths] = {}
"""Most sessions never look for files that have moved."""
LITTLE = 16
"""Files removed at once that others may have to wait for."""
FEW = 1000
"""Messages of a maildrop of which that goes."""
_NOBODY: frozenset[int] = frozenset()
"""An empty set of its own would take 216 octets."""


class MaildirMaildrop:
    """A `Maildrop`, also `Correctable` and `Adoptable`.

    Args:
        folder: the Maildir.
        memory: what is known of it for later.
        known: what is in memory and index.
        snapshot: what is in it.
        lock: descriptor of the lock.
        quota: that the site has set.
        keep: whether deleted messages can be brought back.
        disk: of this machine, on which it is; None: it is elsewhere.
    """

    __slots__ = (
        "_changed",
        "_disk",
        "_folder",
        "_keep",
        "_known",
        "_lock",
        "_looked",
        "_memory",
        "_now",
        "_places",
        "_quota",
        "_snapshot",
        "_suspects",
        "listing",
    )

    def __init__(  # noqa: PLR0913
        self,
        folder: Folder,
        memory: Memory,
        known: Snapshot,
        snapshot: Snapshot,
        lock: int,
        quota: Limits | None,
        *,
        keep: bool,
        disk: Disk | None,
    ) -> None:
        self._folder = folder
        self._memory = memory
        self._known = known
        self._snapshot = snapshot
        self._lock = lock
        self._quota = quota
        self._keep = keep
        self._disk = disk
        self._now: list[Stored] | tuple[Stored, ...] = snapshot.messages
        """The messages as far as is known now; a list once it differs from the snapshot."""
        self._suspects = _NOBODY
        self._places: Mapping[Key, Paths] = _NOWHERE
        """What the last look for files found, and what the folders were like then."""
        self._looked: Sequence[Stamp] = ()
        self._changed = snapshot is not known
        self.listing = snapshot.listing

    # -- reading ------------------------------------------------------------------------------------

    async def retrieve(self, number: int) -> MessageFile:
        """See `Maildrop.retrieve`."""
        return await in_thread(self._retrieve, number)

    def retrieve_now(self, number: int) -> tuple[int, int] | None:
        """See `Prompt.retrieve_now`."""
        stored, listed = self._now[number - 1], self.listing[number - 1]
        if stored.message is not listed and stored.message != listed:
            return None
        descriptor = prompt.open_message(self._folder, stored) if self._disk is not None else -1
        return None if descriptor < 0 else (descriptor, stored.size)

    def _retrieve(self, number: int) -> BinaryIO:
        for _ in range(SEARCHES + 1):
            try:
                return self._open(number)
            except FileNotFoundError:
                self._learn_new_names()
                inodes = {stored.inode for stored in self._now}
                (place,) = self._folder.still([self._now[number - 1]], self._places, inodes)
                if place is None:
                    break
                self._now = list(self._now)
                self._now[number - 1] = self._now[number - 1]._replace(paths=place[1], inode=place[0][1])
        raise TemporaryFailure(f"{self._folder.join(self._now[number - 1].path)} has been removed")

    def _learn_new_names(self) -> None:
        """Another program moves, flags or removes messages, seldom only one: look for all of them.

        When nothing has changed since the last look, there is nothing to learn.
        """
        stamps = [self._folder.stamp(directory) for directory in DIRECTORIES]
        if stamps == self._looked:
            return
        self._places = self._folder.places()
        self._now = [
            stored
            if stored.paths == (paths := self._places.get(stored.key, stored.paths))
            else stored._replace(paths=paths)
            for stored in self._now
        ]
        self._looked = stamps if self._folder.is_quiet() else ()

    def _open(self, number: int) -> BinaryIO:
        """Open a message, if it is what was listed (P-095).

        Raises:
            FileNotFoundError: it is not there under the name that is known.
            TemporaryFailure: it is something else now.
        """
        stored = self._now[number - 1]
        file, status = self._folder.open(stored.path)
        if status.st_ino != stored.inode:  # another file has that name now; this one may be elsewhere
            file.close()
            raise FileNotFoundError(errno.ENOENT, "is another file now", self._folder.join(stored.path))
        if not is_as_measured(stored, status):
            fresh = examine(self._folder.path, stored.paths, status, time.time(), trust_name=False)
            stored = stored if fresh is None else listing.with_name_of(fresh, stored)
            self._correct(number, stored)
        listed = self.listing[number - 1]
        if (stored.message.octets, stored.message.surrogate) == (listed.octets, listed.surrogate):
            return file
        file.close()
        path = self._folder.join(stored.path)
        raise TemporaryFailure(f"{path} was rewritten: {stored.message.octets} octets, not {listed.octets} as listed")

    def _correct(self, number: int, stored: Stored) -> None:
        self._now = list(self._now)
        self._now[number - 1] = stored
        self._changed = True

    def distrust(self, number: int) -> None:
        """See `Correctable.distrust`: it is measured anew before the lock is released."""
        self._suspects |= {number}

    # -- UPDATE -------------------------------------------------------------------------------------

    async def update(self, deleted: Collection[int]) -> None:
        """See `Maildrop.update`."""
        marked = [self._now[number - 1] for number in sorted(deleted)]
        await self._do(self._updating(marked), quick=sum(len(stored.paths) for stored in marked) <= LITTLE)

    async def _do(self, steps: Steps[None], *, quick: bool = True) -> None:
        """Do something in a thread; with others if none of them has to wait long for it."""
        quick = quick and len(self.listing) <= FEW and not self._suspects  # which are measured anew
        if quick and self._disk is not None:
            await self._disk.do(steps)
        else:
            await in_thread(complete, steps)

    def _updating(self, marked: list[Stored]) -> Steps[None]:
        self._changed = True
        try:
            removed = yield from removing(self._folder, marked, self._now, keep=self._keep)
        except UpdateIncomplete:
            self._save(marked, complete=False)  # what is still there is looked at anew
            raise
        Quota(self._folder, self._quota).note_names([(stored.path, stored.size) for stored in removed], -1)
        self._save(marked)

    def _save(self, gone: Collection[Stored] = (), *, complete: bool = True) -> None:
        """Remember what is known now; before the lock is released, because the next session builds on it.

        Args:
            gone: messages that are no longer there.
            complete: they are not; else some may be, in a folder that looks as it did.
        """
        unclear = [number for number in self._suspects if not self._measure_again(number)]
        self._suspects = _NOBODY
        known, looked, self._changed = self._known, self._snapshot, False
        change = Change(gone)
        if self._now is not known.messages:
            keys = {stored.key for stored in gone}
            change = Change.between(known.messages, (one for one in self._now if one.key not in keys))
        snapshot = known.changed(change)._replace(scanned=looked.scanned, new=looked.new, cur=looked.cur)
        corrected = self._now is not looked.messages and tuple(self._now) != looked.messages
        if corrected or unclear or not complete:
            # What was measured just now may not be settled, and nothing but a look tells what is there.
            snapshot = snapshot._replace(new=None, cur=None)
        self._known = self._snapshot = snapshot
        listing.keep_changed(self._folder, self._memory, snapshot, known, change)

    def _measure_again(self, number: int) -> bool:
        """Measure a message; returns whether that could be done."""
        stored = self._now[number - 1]
        try:
            status = os.stat(self._folder.join(stored.path), follow_symlinks=False)
        except OSError:
            return False
        fresh = examine(self._folder.path, stored.paths, status, time.time(), trust_name=False)
        if fresh is not None:
            self._correct(number, listing.with_name_of(fresh, stored))
        return fresh is not None

    def close_now(self) -> bool:
        """See `Prompt.close_now`."""
        if self._lock >= 0:
            if self._changed or self._suspects:
                return False
            os.close(self._lock)
            self._lock = -1
        return True

    async def close(self) -> None:
        """See `Maildrop.close`."""
        if self.close_now():
            return
        lock, self._lock = self._lock, -1
        try:
            await self._do(self._saving())
        finally:
            os.close(lock)

    def _saving(self) -> Steps[None]:
        yield  # there is nothing to move
        self._save()

    # -- ids of another server ----------------------------------------------------------------------

    async def found_ids(self, source: str, uidl_format: str) -> Sequence[Given]:
        """See `Adoptable.found_ids`."""
        try:
            return await asyncio.to_thread(adopting.found, self._folder, self._now, source, uidl_format)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise condition(error) from error

    async def adopt(self, given: Sequence[Given], *, follow: str = "", uidl_format: str = "") -> None:
        """See `Adoptable.adopt`."""
        await in_thread(adopting.adopt, self._folder, self._now, given, follow, uidl_format)
