"""The listing of a Maildir: what is there, compared with what was known.  Under the session's lock."""

import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext

from restante.stores.maildir import ids, index
from restante.stores.maildir.folder import SEARCHES, Folder
from restante.stores.maildir.measuring import QUIET, examine, is_as_measured, unknown
from restante.stores.maildir.naming import Naming
from restante.stores.maildir.records import (
    DIRECTORIES,
    UNKNOWN,
    Change,
    Indexed,
    Key,
    Lookup,
    Memory,
    Paths,
    Snapshot,
    Stamp,
    Stored,
)

log = logging.getLogger("restante.store")

LARGE = 2000
"""Files from which a look takes long enough for others to notice."""
_large = threading.BoundedSemaphore(2)
"""So many large maildrops are looked through at a time; who opens a small one meanwhile hardly waits."""


def scan(folder: Folder, memory: Memory, *, thorough: bool = False) -> Snapshot:
    """List the messages in their order of arrival.

    Without a look at any file when neither folder has changed since the last time; else each file is looked at
    (`os.stat`), and only those that are new or have changed are read.

    Args:
        folder: the Maildir.
        memory: what is known already.
        thorough: every file is read, whatever is known.

    Raises:
        PermanentFailure: the list of adopted ids is damaged.
        OSError: ``new`` or ``cur`` cannot be listed.  Never an empty listing for that reason.
    """
    known = load(folder, memory)
    now = time.time()
    before = {directory: folder.stamp(directory) for directory in DIRECTORIES}
    changed = [one for one, stamp in before.items() if thorough or not known.trusts(one, stamp, now)]
    renew = ids.stamp(folder.ours(ids.NAME)) != known.ids
    if not changed and not renew:
        return known
    look, lookup = _begin(folder, memory, changed, now, renew=renew, thorough=thorough)
    found = look.files()
    came = found.keys() - look.before.keys()
    if any(folder.stamp(one) != before[one] for one in DIRECTORIES if one not in look.directories) or any(
        # A move by link and unlink leaves a file under both names for a while; it is one message.
        inode in lookup.inodes
        for _, inode in came
    ):
        # Something may have moved into what was not listed, or has a name there, too.
        memory.keep(folder.path, memory.of(folder.path)._replace(snapshot=known._replace(new=None, cur=None)))
        return scan(folder, memory, thorough=thorough)
    given = ids.read(folder.ours(ids.NAME))
    named, all_shown = Naming(folder, given, look.before, renew=renew).name(found, lookup.by_id)
    change = look.change(named)
    snapshot = known.changed(change)._replace(scanned=now, new=None, cur=None, ids=given.stamp)
    if len(named) < len(snapshot.messages):
        snapshot = snapshot._replace(scanned=known.scanned)  # the hour is over when it is over for the oldest look
    if all_shown:
        unsettled = {one.directory for one in named.values() if not one.settled} | (+lookup.unsettled).keys()
        new, cur = (None if one in unsettled else _quiet_stamp(folder, one, before[one], now) for one in DIRECTORIES)
        snapshot = snapshot._replace(new=new, cur=cur)
    if len(named) <= LARGE:  # else it takes long, and may never be asked
        lookup.add(named.values())
    keep(folder, memory, snapshot, known, change, lookup if len(named) <= LARGE else None)
    return snapshot


def _begin(
    folder: Folder, memory: Memory, changed: list[str], now: float, *, renew: bool, thorough: bool
) -> tuple["_Look", Lookup]:
    """Return a look at the folders that have changed, and what is known of the messages in the others."""
    indexed = memory.of(folder.path)
    messages = indexed.snapshot.messages
    if changed == ["new"] and not renew:
        # Where many are in cur, nothing may take a step for each of them.
        lookup = indexed.lookup or Lookup(messages)
        memory.keep(folder.path, indexed._replace(lookup=None))
        if not lookup.doubled:
            look = _Look(folder, changed, list(lookup.new.values()), now, thorough=thorough)
            lookup.remove(look.known)
            return look, lookup
    if renew or any(len(one.paths) > 1 for one in messages):
        changed = list(DIRECTORIES)
    lookup = Lookup(one for one in messages if one.directory not in changed)
    known = [one for one in messages if one.directory in changed]
    return _Look(folder, changed, known, now, thorough=thorough), lookup


def load(folder: Folder, memory: Memory) -> Snapshot:
    """Return what is known of a Maildir: from memory, unless another process has written the index since."""
    path = folder.ours(index.NAME)
    known = memory.of(folder.path)
    if index.stamp(path) != known.stamp:
        known = index.read(path, known)
        memory.keep(folder.path, known)
    return known.snapshot


def keep(
    folder: Folder,
    memory: Memory,
    snapshot: Snapshot,
    known: Snapshot,
    change: Change,
    lookup: Lookup | None,
) -> None:
    """Remember a snapshot, and write what it says more into the index; a full disk is no obstacle.

    Args:
        folder: the Maildir.
        memory: where to.
        snapshot: what is there.
        known: what was known before.
        change: from there to the snapshot.
        lookup: of the snapshot.
    """
    path = folder.ours(index.NAME)
    indexed = memory.of(folder.path)
    if snapshot != known and (change.gone or change.come or snapshot.new or snapshot.cur):
        same = indexed.snapshot.messages is known.messages
        try:
            indexed = index.add(path, indexed if same else UNKNOWN, change, snapshot)
        except (OSError, OverflowError) as error:
            log.warning("the index is not written: %s", error)
            indexed = Indexed(snapshot, _stamp_if_any(path))
    lookup = lookup if len(snapshot.messages) > LARGE else None
    memory.keep(folder.path, indexed._replace(snapshot=snapshot, lookup=lookup))


def keep_changed(folder: Folder, memory: Memory, snapshot: Snapshot, known: Snapshot, change: Change) -> None:
    """The same after a session, with the lookup that there is."""
    indexed = memory.of(folder.path)
    lookup = indexed.lookup if indexed.snapshot.messages is known.messages else None
    memory.keep(folder.path, indexed._replace(lookup=None))
    keep(folder, memory, snapshot, known, change, lookup and lookup.changed(change))


def _stamp_if_any(path: str) -> Stamp | None:
    try:
        return index.stamp(path)
    except OSError:
        return None


def _quiet_stamp(folder: Folder, directory: str, before: Stamp, now: float) -> Stamp | None:
    """Return the stamp of a folder if it holds for later: nothing has changed meanwhile, nor just before."""
    _, _, ctime = before
    return before if folder.stamp(directory) == before and ctime < (now - QUIET) * 1e9 else None


@contextmanager
def _large_look() -> Iterator[None]:
    with _large, index.without_collection():
        yield


class _Look:
    """Goes through folders of a Maildir.

    Args:
        folder: the Maildir.
        directories: at which to look.
        known: what was in them.
        now: in seconds since 1970.
        thorough: every file is read.
    """

    def __init__(
        self, folder: Folder, directories: Sequence[str], known: Sequence[Stored], now: float, *, thorough: bool
    ) -> None:
        self.directories = directories
        self.known = known
        self.before = {stored.key: stored for stored in known}
        self._folder = folder
        self._now = now
        self._thorough = thorough
        self.errors: list[OSError] = []
        """Of files that could not be looked at."""

    def change(self, named: Mapping[Key, Stored]) -> Change:
        """Return what has changed, now that messages have their ids."""
        gone = [one for one in self.known if named.get(one.key) is not one]
        return Change(gone, [one for key, one in named.items() if self.before.get(key) is not one])

    def files(self) -> dict[Key, Stored]:
        """Return the messages: those that were known as they were known, others as their names have them."""
        found: dict[Key, Stored] = {}
        root = os.open(self._folder.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            files = self._folder.places(self.directories)
            for _ in range(SEARCHES):
                with _large_look() if len(files) > LARGE else nullcontext():
                    for key, paths in files.items():
                        stored = self._seen(root, key[1], paths, self.before.get(key))
                        if stored is not None:
                            found[key] = stored
                # Moved since it was listed, or missed by the listing because it was just moving (M-006).
                missing = (files.keys() | self.before.keys()) - found.keys()
                if not missing or (self._folder.is_quiet() and not missing & files.keys()):
                    break
                again = self._folder.list_once(self.directories)
                files = {key: again[key] for key in missing & again.keys()}
        finally:
            os.close(root)
        if self.errors and len(self.errors) >= len(found):
            raise self.errors[0]
        return found

    def _seen(self, root: int, inode: int, paths: Paths, stored: Stored | None) -> Stored | None:
        """Compare a file with what is known of it; None if it is no longer there."""
        try:
            status = os.stat(paths[-1], dir_fd=root, follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as error:  # that hurts this message only (P-293), unless it is the same with all of them
            self.errors.append(error)
            return stored._replace(settled=False) if stored is not None else unknown(paths, inode)
        if stored is not None and stored.settled and not self._thorough and is_as_measured(stored, status):
            return stored if stored.paths == paths else stored._replace(paths=paths)
        # Sizes in a name are those of the file that got it: not of what somebody wrote into it later.
        trust_name = stored is None and not self._thorough
        fresh = examine(self._folder.path, paths, status, self._now, trust_name=trust_name)
        return fresh if fresh is None or stored is None else with_name_of(fresh, stored)


def with_name_of(fresh: Stored, stored: Stored) -> Stored:
    """Return what a rewritten file holds now, under the id and in the place that it had (P-125, P-049)."""
    message = fresh.message._replace(unique_id=stored.message.unique_id)
    return fresh._replace(message=message, order=stored.order)
