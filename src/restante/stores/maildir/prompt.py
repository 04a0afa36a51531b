"""What a Maildir can do at once, in the event loop, because all that it takes is in memory.

Whatever is not, or is not as it was known, is left to a thread, which also finds out why.  Nothing here may wait for a
disk or a network: maildrops on file systems of other machines are always left to threads.
"""

import fcntl
import os
import time
from typing import NamedTuple

from restante.errors import MaildropInUse, PermanentFailure
from restante.stores import systems
from restante.stores.files import READ_FLAGS
from restante.stores.maildir import glance, ids, index
from restante.stores.maildir.disks import Disk, Disks
from restante.stores.maildir.folder import Folder
from restante.stores.maildir.measuring import is_as_measured
from restante.stores.maildir.records import Memory, Snapshot, Stored

_LOCK_FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class Opened(NamedTuple):
    """A Maildir that is locked."""

    lock: int
    """Descriptor of the lock."""
    disk: Disk
    """On which it is."""
    known: Snapshot
    """What is remembered of it."""
    snapshot: Snapshot
    """What is in it."""


def open_known(folder: Folder, memory: Memory, disks: Disks) -> Opened | None:
    """Lock a Maildir in which there is nothing but new mail since it was last opened; None: a thread must look.

    Raises:
        MaildropInUse: somebody else has it (P-041).
    """
    if not memory.knows(folder.path):
        return None
    lock = systems.open_cached(folder.ours("lock"), _LOCK_FLAGS)
    if lock < 0:
        return None
    try:
        status = os.fstat(lock)
        disk = disks.at(status.st_dev, folder.path)
        if disk is not None and status.st_nlink == 1:
            folder.check_links()
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            known = _known(folder, memory)
            snapshot = None if known is None else _now(folder, known, memory)
            if known is not None and snapshot is not None:
                # Whoever closes it writes what has come into the index, which nobody waits for here.
                return Opened(lock, disk, snapshot if snapshot.messages is known.messages else known, snapshot)
    except BlockingIOError:
        os.close(lock)
        raise MaildropInUse(folder.path) from None
    except (OSError, PermanentFailure):
        pass
    except BaseException:  # nobody else would let go of it
        os.close(lock)
        raise
    os.close(lock)
    return None


def _known(folder: Folder, memory: Memory) -> Snapshot | None:
    """Return what is known, by this process or by another that has written the index since.

    Raises:
        OSError: the index cannot be looked at.
    """
    path = folder.ours(index.NAME)
    known = memory.of(folder.path)
    if index.stamp(path) != known.stamp:
        read = index.read_now(path, known)
        if read is None:
            return None
        known = read
        memory.keep(folder.path, known)
    return known.snapshot


def _now(folder: Folder, known: Snapshot, memory: Memory) -> Snapshot | None:
    """Return what is there: what was known, if it still holds (docs/decisions/0016), or with what has come.

    Raises:
        OSError: a folder cannot be looked at.
    """
    now = time.time()
    if ids.stamp(folder.ours(ids.NAME)) != known.ids or not known.trusts("cur", folder.stamp("cur"), now):
        return None
    if known.trusts("new", folder.stamp("new"), now):
        return known
    snapshot = glance.look(folder, known, now)
    if snapshot is not None and snapshot.messages is known.messages:  # its times are enough to remember
        memory.keep(folder.path, memory.of(folder.path)._replace(snapshot=snapshot))
    return snapshot


def open_message(folder: Folder, stored: Stored) -> int:
    """Open a message that is what it was when it was listed; returns its descriptor, -1: that would take waiting."""
    descriptor = systems.open_cached(folder.join(stored.path), READ_FLAGS)
    if descriptor < 0:
        return -1
    status = os.fstat(descriptor)
    if status.st_ino == stored.inode and is_as_measured(stored, status):
        return descriptor
    os.close(descriptor)
    return -1
