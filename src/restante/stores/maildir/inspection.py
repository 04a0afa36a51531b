"""What is wrong with a Maildir, and what can be done about it, for ``restante check``."""

import contextlib
import os
import time
from collections.abc import Iterator

from restante.errors import Condition
from restante.stores.files import sync_directory, unlink_if_there
from restante.stores.maildir import deleted, ids, index, names
from restante.stores.maildir.folder import Folder
from restante.stores.maildir.listing import scan
from restante.stores.maildir.measuring import measure
from restante.stores.maildir.quota import Limits, Quota
from restante.stores.maildir.records import DIRECTORIES, EMPTY, UNREADABLE, Key, Memory, Stored

PARTS = ("tmp", "new", "cur")


def problems(folder: Folder) -> Iterator[str]:
    """Say what is wrong with a Maildir, a line each, path first; changes nothing.

    Raises:
        OSError: it cannot be listed.
    """
    if not os.path.isdir(folder.path):
        yield f"{folder.path}: a Maildir is a folder"
        return
    missing = [part for part in PARTS if not os.path.isdir(folder.join(part))]
    for part in missing:
        yield f"{folder.join(part)}: this folder of a Maildir is missing"
    if missing:
        return
    yield from _wrong_modes(folder)
    yield from _problems_of_lists(folder)
    yield from _problems_of_messages(folder)
    for path in stale_deliveries(folder):
        yield f"{path}: a delivery that was never finished; it may be removed"


def _wrong_modes(folder: Folder) -> Iterator[str]:
    """A folder that its owner cannot use, or one that others can write into."""
    for path in [folder.path, *map(folder.join, PARTS), folder.ours(), folder.ours("deleted")]:
        try:
            status = os.stat(path)
        except FileNotFoundError:
            continue
        if status.st_mode & 0o700 != 0o700:
            yield f"{path}: its owner cannot list it and change it; mode 0700 would be right"
        if status.st_mode & 0o002:
            yield f"{path}: everybody can remove mail here; a mode without write permission for others would be right"


def _problems_of_lists(folder: Folder) -> Iterator[str]:
    try:
        ids.read(folder.ours(ids.NAME))
    except Condition as error:
        yield str(error)
    path = folder.ours(index.NAME)
    if index.read(path).snapshot is EMPTY and os.path.lexists(path):
        yield f"{path}: the index is damaged; remove it, and it is made anew"


def _problems_of_messages(folder: Folder) -> Iterator[str]:
    seen: dict[str, str] = {}
    given: dict[str, str] = {}
    inodes: dict[int, str] = {}
    known = {one.key: one for one in index.read(folder.ours(index.NAME)).snapshot.messages}
    for directory in DIRECTORIES:
        with os.scandir(folder.join(directory)) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.name.startswith("."):
                    continue
                if not entry.is_file(follow_symlinks=False):
                    yield f"{entry.path}: not a regular file, so it is not shown as a message"
                    continue
                base = names.base_name(entry.name)
                if entry.inode() in inodes:
                    yield f"{entry.path}: is the same file as {inodes[entry.inode()]}; one name is enough"
                    continue
                inodes[entry.inode()] = entry.path
                stored = known.get((base, entry.inode()))
                unique_id = stored.message.unique_id if stored else entry.path
                if unique_id in given:
                    yield f"{entry.path}: has the same unique-id as {given[unique_id]}"
                elif base in seen:
                    yield f"{entry.path}: has the same base name as {seen[base]}; a message needs a name of its own"
                seen[base] = given[unique_id] = entry.path
                yield from _problems_of(entry.path, base, stored)


def _problems_of(path: str, base: str, stored: Stored | None) -> Iterator[str]:
    try:
        measured = measure(path)
    except OSError as error:
        yield f"{path}: no client can fetch it: cannot be read: {error.strerror}"
        return
    found = measured.sizes
    named = names.known_sizes(base)
    if stored is not None and stored.size != UNREADABLE:
        message = stored.message
        if (message.octets, message.surrogate) != (found.wire, found.surrogate):
            yield f"{path}: clients are told {message.octets} octets, and it has {found.wire}"
    elif named is not None and named != found:
        right = names.with_sizes("", found)[1:].replace(",", ", ")
        yield f"{path}: was rewritten: it holds {right}, and its name says otherwise"


def stale_deliveries(folder: Folder) -> Iterator[str]:
    """Give what is left in ``tmp`` of deliveries that were never finished (M-004)."""
    for path, status in folder.files("tmp"):
        if max(status.st_mtime, status.st_atime, status.st_ctime) < time.time() - deleted.STALE_TMP:
            yield path


def repaired(folder: Folder, quota: Limits | None) -> Iterator[str]:
    """Mend what can be mended without losing mail or changing an id; gives a line for each thing done.

    Raises:
        MaildropInUse: a session has the maildrop.
        OSError: something cannot be mended; the rest is as it was.
    """
    yield from _modes_mended(folder)
    yield from _folders_mended(folder)
    if not all(os.path.isdir(folder.join(part)) for part in PARTS):
        return
    folder.create()
    lock = folder.lock()
    try:
        yield from _names_mended(folder)
        yield from _index_mended(folder)
        for path in list(stale_deliveries(folder)):
            unlink_if_there(path)
            yield f"{path}: removed; it was never finished"
        yield from _quota_mended(folder, quota)
    finally:
        os.close(lock)


def _folders_mended(folder: Folder) -> Iterator[str]:
    """Make a folder that is missing, unless there was mail in it: then it has gone elsewhere, and is no empty one."""
    known = index.read(folder.ours(index.NAME)).snapshot
    for part in PARTS:
        if os.path.isdir(folder.join(part)):
            continue
        lost = sum(any(path.startswith(part) for path in one.paths) for one in known.messages)
        if lost:
            yield f"{folder.join(part)}: not made, because it held {lost} messages; put it back"
        else:
            folder.make(part)
            yield f"{folder.join(part)}: made"


def _modes_mended(folder: Folder) -> Iterator[str]:
    for path in [folder.path, *map(folder.join, PARTS), folder.ours(), folder.ours("deleted")]:
        try:
            mode = os.stat(path).st_mode & 0o7777
        except FileNotFoundError:
            continue
        right = (mode | 0o700) & ~0o002
        if mode != right:
            os.chmod(path, right)
            yield f"{path}: mode is {right:04o} now"
    for directory in filter(lambda one: os.path.isdir(folder.join(one)), DIRECTORIES):
        for path, status in folder.files(directory):
            if not status.st_mode & 0o400 and status.st_nlink == 1:  # or it may be somebody else's, too
                os.chmod(path, status.st_mode & 0o7777 | 0o400)
                yield f"{path}: its owner can read it now"


def _names_mended(folder: Folder) -> Iterator[str]:
    """Leave one name to a file that has two: what a move leaves that died between its link and its unlink."""
    for paths in folder.places().values():
        for path in paths[:-1]:
            # One that is just being renamed is listed under two names as well, and has only one.
            with contextlib.suppress(FileNotFoundError):
                one, other = os.lstat(folder.join(path)), os.lstat(folder.join(paths[-1]))
                if one.st_nlink > 1 and os.path.samestat(one, other) and unlink_if_there(folder.join(path)):
                    yield f"{folder.join(path)}: removed; the message is {folder.join(paths[-1])}"
    for directory in DIRECTORIES:
        sync_directory(folder.join(directory))


def _index_mended(folder: Folder) -> Iterator[str]:
    """Measure every message, and say so in the index; ids that must be kept apart are written down."""
    before = index.read(folder.ours(index.NAME)).snapshot
    after = scan(folder, Memory(), thorough=True)
    told: dict[Key, Stored] = {one.key: one for one in before.messages}
    for one in after.messages:
        if one.key in told and told[one.key].message != one.message:
            yield f"{folder.join(one.path)}: clients are told {one.message.octets} octets now"
    if after.messages and not before.messages and os.path.isfile(folder.ours(index.NAME)):
        yield f"{folder.ours(index.NAME)}: made anew"


def _quota_mended(folder: Folder, configured: Limits | None) -> Iterator[str]:
    quota = Quota(folder, configured)
    before = quota.usage()
    if before is None:
        return
    quota.recalculate(before[0])
    after = quota.usage()
    if after != before and after is not None:
        yield f"{folder.join('maildirsize')}: says {after[1]} octets in {after[2]} messages now"
