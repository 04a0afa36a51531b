"""Removing messages, durably.  Under the session's lock."""

import contextlib
import itertools
import os
from collections.abc import Iterable

from restante.errors import PermanentFailure, UpdateIncomplete
from restante.stores.files import sync_directory, unlink_if_there
from restante.stores.maildir.disks import Steps, complete
from restante.stores.maildir.folder import SEARCHES, Folder
from restante.stores.maildir.records import Paths, Stored


def remove(folder: Folder, messages: Iterable[Stored], listing: Iterable[Stored], *, keep: bool) -> list[Stored]:
    """Do what `removing` does, without a pause."""
    return complete(removing(folder, messages, listing, keep=keep))


def removing(
    folder: Folder, messages: Iterable[Stored], listing: Iterable[Stored], *, keep: bool
) -> Steps[list[Stored]]:
    """Remove messages durably; one that has gone already counts as removed (P-145).

    Args:
        folder: the Maildir.
        messages: of the listing.
        listing: all of it.
        keep: whether they can be brought back: they go to ``restante/deleted`` under the name they have.

    Returns:
        Those that were still there.

    Raises:
        UpdateIncomplete: some are still there (P-134).
    """
    problems: list[str] = []
    left = {stored.key: (stored, stored.paths) for stored in messages}
    removed: list[Stored] = []
    touched: set[str] = set()
    try:
        folder.check_links()
        for _ in range(SEARCHES):
            moved = []
            touched |= {path[:3] for _, paths in left.values() for path in paths}
            for key, (stored, paths) in left.items():
                if _remove_one(folder, key[1], paths, keep, problems):
                    removed.append(stored)
                else:
                    moved.append(stored)
            if not moved:
                break
            # Another program changed their flags, or removed them; one look for all of them.  The inode tells
            # that what is found is not another file of that base name.
            now = folder.places()
            found = zip(moved, folder.still(moved, now, {stored.inode for stored in listing}), strict=True)
            left = {place[0]: (stored, place[1]) for stored, place in found if place is not None}
        else:
            problems += [f"{folder.join(paths[-1])} is renamed faster than we can follow" for _, paths in left.values()]
        yield
        # The new place before the old ones: after a power cut a message may stand in both, never in none.
        for directory in ([folder.ours("deleted")] if keep else []) + [folder.join(one) for one in sorted(touched)]:
            sync_directory(directory)
    except (OSError, PermanentFailure) as error:
        problems.append(str(error))
    if problems:
        raise UpdateIncomplete("; ".join(problems[:3]))
    return removed


def _remove_one(folder: Folder, inode: int, paths: Paths, keep: bool, problems: list[str]) -> bool:
    """Remove a file under all its names; returns whether it was there."""
    try:
        if os.lstat(folder.join(paths[-1])).st_ino != inode:
            return False  # another message has that name now (P-131)
        if keep:
            _set_aside(folder, paths[-1])
        else:
            os.unlink(folder.join(paths[-1]))
    except FileNotFoundError:
        if keep and not os.path.isdir(folder.ours("deleted")):
            problems.append(f"{folder.ours('deleted')} is missing")
            return True
        return False
    except OSError as error:
        problems.append(str(error))
        return True
    for path in paths[:-1]:
        with contextlib.suppress(FileNotFoundError):
            if os.lstat(folder.join(path)).st_ino == inode:
                unlink_if_there(folder.join(path))
    return True


def _set_aside(folder: Folder, path: str) -> None:
    """Move a message into ``restante/deleted``, where nobody but the holder of the lock adds anything."""
    source, target = folder.join(path), folder.ours("deleted", os.path.basename(path))
    if os.path.lexists(target):
        if os.path.samefile(source, target):  # brought back by a link: rename would leave it where it is
            os.unlink(source)
            return
        # Behind the colon: what stands before it is the base name, and so the unique-id.
        target += "" if ":" in os.path.basename(path) else ":2,"
        target = next(name for number in itertools.count(1) if not os.path.lexists(name := f"{target}.{number}"))
    os.rename(source, target)
