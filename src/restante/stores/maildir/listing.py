"""The listing of a Maildir: what is there, compared with what was known.  Under the session's lock."""

import logging
import os
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext

from restante.stores.maildir import ids, index
from restante.stores.maildir.folder import SEARCHES, Folder
from restante.stores.maildir.measuring import QUIET, examine, is_as_measured, unknown
from restante.stores.maildir.naming import Naming
from restante.stores.maildir.records import (
    DIRECTORIES,
    UNKNOWN,
    Indexed,
    Key,
    Memory,
    Paths,
    Snapshot,
    Stamp,
    Stored,
    in_order,
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
    if renew or any(len(one.paths) > 1 for one in known.messages):
        changed = list(DIRECTORIES)
    rest = [one for one in known.messages if one.paths[-1][:3] not in changed]
    look = _Look(folder, [one for one in known.messages if one.paths[-1][:3] in changed], now, thorough=thorough)
    found = look.files(changed)
    if any(folder.stamp(one) != before[one] for one in DIRECTORIES if one not in changed) or _known_elsewhere(
        found.keys() - look.before.keys(), rest
    ):
        # Something may have moved into what was not listed, or has a name there, too.
        memory.keep(folder.path, memory.of(folder.path)._replace(snapshot=known._replace(new=None, cur=None)))
        return scan(folder, memory, thorough=thorough)
    given = ids.read(folder.ours(ids.NAME))
    named, all_shown = Naming(folder, given, look.before, renew=renew).name(found, rest)
    messages = tuple(in_order(rest, named.values()))
    snapshot = known.followed(messages)._replace(scanned=now, new=None, cur=None, ids=given.stamp)
    if all_shown:
        unsettled = {stored.path[:3] for stored in messages if not stored.settled}
        new, cur = (None if one in unsettled else _quiet_stamp(folder, one, before[one], now) for one in DIRECTORIES)
        snapshot = snapshot._replace(new=new, cur=cur)
    if rest:
        snapshot = snapshot._replace(scanned=known.scanned)  # the hour is over when it is over for the oldest look
    keep(folder, memory, snapshot, known)
    return snapshot


def _known_elsewhere(new: Collection[Key], rest: Sequence[Stored]) -> bool:
    """Say whether a file that seems new is one that is known by its name in a folder that has not changed.

    A move by link and unlink leaves it under both names for a while; it is one message.
    """
    if not new:
        return False
    inodes = {stored.inode for stored in rest}
    return any(inode in inodes for _, inode in new)


def load(folder: Folder, memory: Memory) -> Snapshot:
    """Return what is known of a Maildir: from memory, unless another process has written the index since."""
    path = folder.ours(index.NAME)
    known = memory.of(folder.path)
    if index.stamp(path) != known.stamp:
        known = index.read(path, known)
        memory.keep(folder.path, known)
    return known.snapshot


def keep(folder: Folder, memory: Memory, snapshot: Snapshot, known: Snapshot) -> None:
    """Remember a snapshot, and write what it says more than `known` into the index; a full disk is no obstacle."""
    path = folder.ours(index.NAME)
    indexed = memory.of(folder.path)
    if snapshot != known and not (snapshot.messages == known.messages and snapshot.new is snapshot.cur is None):
        try:
            indexed = index.add(path, indexed if indexed.snapshot.messages is known.messages else UNKNOWN, snapshot)
        except (OSError, OverflowError) as error:
            log.warning("the index is not written: %s", error)
            indexed = Indexed(snapshot, index.stamp(path))
    memory.keep(folder.path, indexed._replace(snapshot=snapshot))


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
        known: what was in them.
        now: in seconds since 1970.
        thorough: every file is read.
    """

    def __init__(self, folder: Folder, known: Iterable[Stored], now: float, *, thorough: bool) -> None:
        self.before = {stored.key: stored for stored in known}
        self._folder = folder
        self._now = now
        self._thorough = thorough
        self.errors: list[OSError] = []
        """Of files that could not be looked at."""

    def files(self, directories: Sequence[str]) -> dict[Key, Stored]:
        """Return the messages: those that were known as they were known, others as their names have them."""
        found: dict[Key, Stored] = {}
        root = os.open(self._folder.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            files = self._folder.places(directories)
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
                again = self._folder.list_once(directories)
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
