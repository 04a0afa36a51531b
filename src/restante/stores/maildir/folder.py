"""One Maildir on disk.  Everything here blocks, and is meant to run in a thread.

What a message can be at any moment, each step that moves it, and who cleans up after a crash is the table in
docs/INTERNALS.md; tests stop `remove` and deliveries after each system call and compare.
"""

import contextlib
import errno
import fcntl
import itertools
import os
import stat
import time
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from restante.errors import Condition, LoginDelayed, MaildropInUse, PermanentFailure, TemporaryFailure, UpdateIncomplete
from restante.maildrop import Message
from restante.protocol.framing import wire_octets
from restante.protocol.surrogate import surrogate_octets
from restante.stores.maildir import names
from restante.stores.maildir.records import UNREADABLE, Key, Known, Memory, Paths, Stored, with_unique_ids

OURS = "restante"
"""The subfolder for our own files; without a leading dot, so that nobody takes it for a mail folder."""
QUIET = 2.0
"""Seconds after which a directory's time of change tells that no writer is at work (generous for any clock)."""
PIECE = 262_144
"""Octets read at a time to measure a message."""
SEARCHES = 4
"""How often a message that moves is looked for."""
STALE_TMP = 36 * 3600
"""Seconds after which an unfinished delivery is abandoned (M-004)."""

_READ_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # no symbolic link, no waiting for a FIFO
_PERMANENT = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG}


def condition(error: OSError) -> Condition:
    """Say what an error of the system means to a client: try again, or a person is needed (P-178)."""
    kind = PermanentFailure if error.errno in _PERMANENT else TemporaryFailure
    return kind(str(error))


class Folder:
    """A Maildir.

    Args:
        path: the folder that holds ``tmp``, ``new`` and ``cur``.
        memory: what is known already, shared by all folders of a store.
    """

    def __init__(self, path: str, memory: Memory) -> None:
        self.path = path
        self._memory = memory

    def join(self, *parts: str) -> str:
        """Return the path of something in this Maildir."""
        return os.path.join(self.path, *parts)

    def create(self) -> None:
        """Make the Maildir if it does not exist yet.

        Raises:
            TemporaryFailure: it has existed, and has gone.  It is not made anew: an empty maildrop
                in place of one that is out of reach makes clients fetch everything again.
            OSError: it cannot be made.
        """
        deleted = os.path.join(OURS, "deleted")
        if os.path.isdir(self.join(deleted)):  # made last, so all of it was there
            return
        if self._memory.of(self.path) and not os.path.isdir(self.path):
            raise TemporaryFailure(f"{self.path} has gone, and there was mail in it; is it mounted?")
        parts = [OURS, deleted]
        if not os.path.exists(self.join(OURS, "lock")):
            os.makedirs(self.path, mode=0o700, exist_ok=True)
            parts = ["tmp", "new", "cur", *parts]
        for part in parts:
            with contextlib.suppress(FileExistsError):
                os.mkdir(self.join(part), mode=0o700)
        for directory in (self.join(OURS), self.path, os.path.dirname(self.path)):
            sync_directory(directory)

    # -- lock ---------------------------------------------------------------------------------------

    def lock(self) -> int:
        """Take the exclusive lock and return its descriptor; the kernel lets go of it with the process (P-042).

        Raises:
            MaildropInUse: somebody else has it.
            OSError: the lock file cannot be opened.
        """
        descriptor = os.open(self.join(OURS, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise MaildropInUse(self.path) from None
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    # -- listing ------------------------------------------------------------------------------------

    def scan(self) -> list[Stored]:
        """List the messages in their order of arrival.

        A message that cannot be read is listed with its size on disk, so that it hurts nobody but itself
        (P-293); RETR will say what is wrong with it.

        Raises:
            OSError: ``new`` or ``cur`` cannot be listed.  Never an empty listing for that reason.
        """
        before = self._memory.of(self.path)
        known: dict[Key, Known] = {}
        places: dict[Key, Paths] = {}
        files = self.places()
        for _ in range(SEARCHES):
            places |= files
            for key, paths in files.items():
                entry = before.get(key) or self._examine(key[0], paths[-1])
                if entry is not None:
                    known[key] = entry
            # Moved since it was listed, or missed by the listing because it was just moving.
            missing = (files.keys() | before.keys()) - known.keys()
            if not missing or (self._is_quiet() and not missing & files.keys()):
                break
            again = self._list_once()
            files = {key: again[key] for key in missing & again.keys()}
        with_unique_ids(known, before)
        self._memory.keep(self.path, {key: entry for key, entry in known.items() if entry.size != UNREADABLE})
        in_order = sorted(known.items(), key=lambda item: item[1].arrival)
        return [Stored(entry.message, key, places[key], entry.size, entry.arrival[0]) for key, entry in in_order]

    def places(self) -> dict[Key, Paths]:
        """Find all files; as long as names change, what a listing lacks is looked for again (M-006).

        Raises:
            OSError: ``new`` or ``cur`` cannot be listed.
        """
        found = self._list_once()
        lacking: set[Key] = set()
        for _ in range(SEARCHES):
            if self._is_quiet():
                break
            again = self._list_once()
            gone = lacking - again.keys()  # two listings in a row lack them
            news = again.keys() - found.keys()
            lacking = found.keys() - again.keys() - gone
            found = {key: paths for key, paths in found.items() if key not in gone} | again
            if not news and not lacking:
                break
        return found

    def _list_once(self) -> dict[Key, Paths]:
        files: dict[Key, Paths] = {}
        for directory in ("new", "cur"):  # in this order: mail moves from new to cur
            with os.scandir(self.join(directory)) as entries:
                for entry in entries:
                    if entry.name.startswith(".") or not entry.is_file(follow_symlinks=False):
                        continue
                    key = names.base_name(entry.name), entry.inode()
                    path = f"{directory}/{entry.name}"
                    files[key] = (*files[key], path) if key in files else (path,)
        return files

    def _is_quiet(self) -> bool:
        changed = max(os.stat(self.join(directory)).st_mtime for directory in ("new", "cur"))
        return changed < time.time() - QUIET

    def _examine(self, base: str, path: str) -> Known | None:
        """Find out what there is to know of a file; None if it is no longer there."""
        unique_id, arrival = names.unique_id(base), names.arrival(base)
        sizes = names.known_sizes(base)
        if sizes is not None and arrival is not None and (self.path, base) not in self._memory.distrusted:
            return Known(Message(unique_id, sizes.wire, surrogate=sizes.surrogate), sizes.stored, arrival)
        try:
            sizes, status = read_through(self.join(path))
        except FileNotFoundError:
            return None
        except OSError:
            try:
                status = os.stat(self.join(path), follow_symlinks=False)
            except FileNotFoundError:
                return None
            sizes = names.Sizes(UNREADABLE, status.st_size, 0)
        message = Message(unique_id, sizes.wire, surrogate=sizes.surrogate)
        return Known(message, sizes.stored, arrival or (int(status.st_mtime), 0, base))

    def expired(self, listing: Iterable[Stored], days: int) -> list[Stored]:
        """Return the messages that have been here for longer than that many days (P-143).

        Name, time of delivery and time of change must all say so: what was copied or moved here lately stays, whatever
        its name tells.
        """
        limit = time.time() - days * 86400

        def is_old(stored: Stored) -> bool:
            try:
                status = os.stat(self.join(stored.path))
            except OSError:
                return False
            return max(stored.arrived, status.st_mtime, status.st_ctime) < limit

        return [stored for stored in listing if is_old(stored)]

    def check_delay(self, login_delay: float) -> None:
        """See to it that logins are some time apart (P-051).

        Raises:
            LoginDelayed: the last one is not that many seconds ago.
            OSError: nobody can tell.
        """
        with contextlib.suppress(FileNotFoundError):
            if 0 <= time.time() - os.stat(self.join(OURS, "login")).st_mtime < login_delay:
                raise LoginDelayed

    def note_login(self) -> None:
        """Remember when this login was, as the time of a file.

        Raises:
            OSError: it cannot be kept.
        """
        path = self.join(OURS, "login")
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        os.utime(path)

    # -- reading ------------------------------------------------------------------------------------

    def open_message(self, stored: Stored) -> BinaryIO:
        """Open a message of the listing.

        Raises:
            FileNotFoundError: it is not there under that name.
            TemporaryFailure: it is no longer what was listed.
            OSError: it cannot be opened.
        """
        descriptor = os.open(self.join(stored.path), _READ_FLAGS)
        try:
            status = os.fstat(descriptor)
            if stat.S_ISREG(status.st_mode) and status.st_size == stored.size:
                return open(descriptor, "rb", buffering=0)
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        self.distrust(stored)
        raise TemporaryFailure(f"{self.join(stored.path)} has {status.st_size} octets, not {stored.size} as listed")

    def distrust(self, stored: Stored) -> None:
        """Somebody rewrote the message: the next session reads it anew, whatever its name says."""
        self._memory.distrusted.add((self.path, stored.key[0]))
        self._memory.forget(self.path, [stored.key])

    # -- removing -----------------------------------------------------------------------------------

    def remove(self, messages: Iterable[Stored], *, keep: bool) -> None:
        """Remove messages durably; one that has gone already counts as removed (P-145).

        Args:
            messages: of the listing.
            keep: whether they can be brought back: they go to ``restante/deleted`` under the name they have.

        Raises:
            UpdateIncomplete: some are still there (P-134).
        """
        problems: list[str] = []
        left = {stored.key: stored.paths for stored in messages}
        self._memory.forget(self.path, left)
        try:
            for _ in range(SEARCHES):
                moved = [key for key, paths in left.items() if not self._remove_one(paths, keep, problems)]
                if not moved:
                    break
                # Another program changed their flags, or removed them; one look for all of them.  The inode tells
                # that what is found is not another file of that base name.
                now = self.places()
                left = {key: now[key] for key in moved if key in now}
            else:
                problems += [f"{self.join(paths[-1])} is renamed faster than we can follow" for paths in left.values()]
            # The new place before the old ones: after a power cut a message may stand in both, never in none.
            for directory in ([self.join(OURS, "deleted")] if keep else []) + [self.join("cur"), self.join("new")]:
                sync_directory(directory)
        except OSError as error:
            problems.append(str(error))
        if problems:
            raise UpdateIncomplete("; ".join(problems[:3]))

    def _remove_one(self, paths: Paths, keep: bool, problems: list[str]) -> bool:
        """Remove a file under all its names; returns whether it was there."""
        try:
            if keep:
                self._set_aside(paths[-1])
            else:
                os.unlink(self.join(paths[-1]))
        except FileNotFoundError:
            if keep and not os.path.isdir(self.join(OURS, "deleted")):
                problems.append(f"{self.join(OURS, 'deleted')} is missing")
                return True
            return False
        except OSError as error:
            problems.append(str(error))
            return True
        for path in paths[:-1]:
            _unlink_if_there(self.join(path))
        return True

    def _set_aside(self, path: str) -> None:
        """Move a message into ``restante/deleted``, where nobody but the holder of the lock adds anything."""
        source, target = self.join(path), self.join(OURS, "deleted", os.path.basename(path))
        if os.path.lexists(target):
            if os.path.samefile(source, target):  # brought back by a link: rename would leave it where it is
                os.unlink(source)
                return
            target = next(name for number in itertools.count(1) if not os.path.lexists(name := f"{target}.{number}"))
        os.rename(source, target)

    # -- keeping the house clean --------------------------------------------------------------------

    def purge(self, undo: float, every: float) -> None:
        """Forget deleted messages after `undo` seconds, and deliveries that were never finished (M-004).

        The time of deletion is the file's ctime: the rename set it, and whatever sets it again only makes
        the message stay longer.  Does nothing if it ran less than `every` seconds ago, which the lock file's
        mtime tells.
        """
        now = time.time()
        if os.stat(self.join(OURS, "lock")).st_mtime > now - every:
            return
        os.utime(self.join(OURS, "lock"), (now, now))
        for path, status in self.files(os.path.join(OURS, "deleted")):
            if status.st_ctime < now - undo:
                _unlink_if_there(path)
        for path, status in self.files("tmp"):
            if max(status.st_mtime, status.st_atime, status.st_ctime) < now - STALE_TMP:
                _unlink_if_there(path)

    def files(self, directory: str) -> Iterator[tuple[str, os.stat_result]]:
        """Give the regular files of a subfolder."""
        with os.scandir(self.join(directory)) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    if entry.is_file(follow_symlinks=False):
                        yield entry.path, entry.stat(follow_symlinks=False)


def sync_directory(path: str) -> None:
    """Make the names in a directory durable.

    Raises:
        OSError: they may not be.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_through(path: str) -> tuple[names.Sizes, os.stat_result]:
    """Read a message; returns its sizes, and what the system knows of the file.

    Raises:
        OSError: it cannot be read.
    """
    descriptor = os.open(path, _READ_FLAGS)
    try:
        wire = wire_octets(iter(lambda: os.read(descriptor, PIECE), b""))
        os.lseek(descriptor, 0, os.SEEK_SET)
        surrogate = surrogate_octets(iter(lambda: os.read(descriptor, PIECE), b""))
        status = os.fstat(descriptor)
        return names.Sizes(status.st_size, wire, surrogate), status
    finally:
        os.close(descriptor)


def _unlink_if_there(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
