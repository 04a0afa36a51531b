"""Deleted messages: what can be brought back, how, and until when (``restante/deleted``)."""

import contextlib
import errno
import os
import re
import time
from collections.abc import Collection, Iterator
from typing import NamedTuple

from restante.stores.files import sync_directory, unlink_if_there
from restante.stores.maildir import ids, names
from restante.stores.maildir.folder import OURS, Folder
from restante.stores.maildir.ids import Ids

STALE_TMP = 36 * 3600
"""Seconds after which an unfinished delivery is abandoned (M-004)."""
PORTION = 100
"""Files that are removed at a time."""

_DELETED = os.path.join(OURS, "deleted")
_NUMBER = re.compile(r"\.\d+$")


class Kept(NamedTuple):
    """A deleted message."""

    path: str
    name: str
    status: os.stat_result
    unique_id: str

    @property
    def targets(self) -> list[str]:
        """Where it may come back to: relative to the Maildir, first with the flags that it had."""
        base, colon, info = self.name.partition(":")
        info = _NUMBER.sub("", info)
        flagged = [f"cur/{base}:{info}"] if colon and info != "2," else []
        return [*flagged, f"new/{base}", f"cur/{base}:2,"]


def kept(folder: Folder) -> list[Kept]:
    """List deleted messages in the order of deletion; a Maildir that does not exist has none.

    The time of deletion is the file's ctime: the rename set it, and whatever sets it again only makes the message
    stay longer.

    Raises:
        PermanentFailure: the list of ids is damaged.
        OSError: they cannot be listed.
    """
    given = ids.read(folder.ours(ids.NAME))
    try:
        found = [_kept(path, status, given) for path, status in folder.files(_DELETED)]
    except FileNotFoundError:
        return []
    return sorted(found, key=lambda one: (one.status.st_ctime_ns, one.name))


def _kept(path: str, status: os.stat_result, given: Ids) -> Kept:
    name = os.path.basename(path)
    base = names.base_name(name)
    known = given.of((base, status.st_ino))
    return Kept(path, name, status, known.unique_id if known else names.unique_id(base))


def restore(folder: Folder, unique_ids: Collection[str]) -> list[Kept]:
    """Bring messages back, each under its base name, and so its unique-id; under the session's lock.

    Returns:
        Those that are back, durably.

    Raises:
        PermanentFailure: the list of ids is damaged.
        OSError: what is not back is still in ``restante/deleted``.
    """
    back = [one for one in kept(folder) if one.unique_id in unique_ids and _link(folder, one)]
    for directory in ("cur", "new"):
        sync_directory(folder.join(directory))
    # Only now: after a power cut a message may stand in both places, never in none.
    for one in back:
        unlink_if_there(one.path)
    sync_directory(folder.ours("deleted"))
    return back


def _link(folder: Folder, one: Kept) -> bool:
    """Give a message a name again, never that of another file; returns whether it has one."""
    for target in map(folder.join, one.targets):
        try:
            os.link(one.path, target, follow_symlinks=False)
        except FileNotFoundError:  # its time was over just now
            return False
        except FileExistsError:
            if not os.path.samefile(one.path, target):
                continue
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:  # with flags that it did not have
                raise
            continue
        return True
    return False


def purge(folder: Folder, undo: float) -> Iterator[str]:
    """Forget deleted messages after `undo` seconds, and deliveries that were never finished (M-004).

    Needs no lock.  Removes `PORTION` files at a time: gives a name whenever it can pause.

    Raises:
        OSError: something cannot be listed or removed.
    """
    yield from _older(folder, (OURS, "deleted"), undo, mtime_counts=False)
    yield from purge_unfinished(folder)


def purge_unfinished(folder: Folder) -> Iterator[str]:
    """Remove deliveries that were never finished, after 36 hours (M-004); as `purge`."""
    yield from _older(folder, ("tmp",), STALE_TMP, mtime_counts=True)


def _older(folder: Folder, parts: tuple[str, ...], age: float, *, mtime_counts: bool) -> Iterator[str]:
    limit = time.time() - age
    removed = 0
    with folder.directory(*parts) as descriptor, os.scandir(descriptor) as entries:
        for entry in entries:
            if not entry.is_file(follow_symlinks=False):
                continue
            with contextlib.suppress(FileNotFoundError):
                status = os.stat(entry.name, dir_fd=descriptor, follow_symlinks=False)
                latest = max(status.st_mtime, status.st_atime, status.st_ctime) if mtime_counts else status.st_ctime
                if latest < limit:
                    os.unlink(entry.name, dir_fd=descriptor)
                    removed += 1
                    if removed % PORTION == 0:
                        yield entry.name


def forget_ids(folder: Folder) -> None:
    """Forget the ids of messages that are gone for good.

    Raises:
        MaildropInUse: a session has the maildrop; there is no hurry.
        PermanentFailure: the list of ids is damaged.
        OSError: something cannot be listed or written.
    """
    path = folder.ours(ids.NAME)
    given = ids.read(path)
    bases = _bases(folder) if len(given.known) >= ids.MANY else set()
    if not bases or not ids.is_mostly_idle(given, bases):  # nothing at all: the mail may be out of the way for a while
        return  # without the lock: whoever logs in now must not find it taken
    lock = folder.lock()
    try:
        ids.forget(path, ids.read(path), _bases(folder))
    finally:
        os.close(lock)


def _bases(folder: Folder) -> set[str]:
    return {base for base, _ in folder.places()} | {names.base_name(one.name) for one in kept(folder)}
