"""One Maildir on disk.  Everything here blocks, and is meant to run in a thread.

What a message can be at any moment, each step that moves it, and who cleans up after a crash is the table in
docs/INTERNALS.md; tests stop `remove` and deliveries after each system call and compare.
"""

import contextlib
import errno
import fcntl
import os
import stat
import threading
import time
from collections.abc import Iterable, Iterator
from operator import itemgetter
from typing import BinaryIO, NamedTuple

from restante.errors import Condition, MaildropInUse, PermanentFailure, TemporaryFailure, UpdateIncomplete
from restante.maildrop import Message
from restante.protocol.framing import wire_octets
from restante.stores.maildir import names

OURS = "restante"
"""The subfolder for our own files; without a leading dot, so that nobody takes it for a mail folder."""
QUIET = 2.0
"""Seconds after which a directory's time of change tells that no writer is at work (generous for any clock)."""
UNREADABLE = -1
"""Stands for the size of a file that could not be read when it was listed."""
PIECE = 262_144
"""Octets read at a time to measure a message."""
STALE_TMP = 36 * 3600
"""Seconds after which an unfinished delivery is abandoned (M-004)."""

_READ_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # no symbolic link, no waiting for a FIFO
_PERMANENT = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG}


def condition(error: OSError) -> Condition:
    """Say what an error of the system means to a client: try again, or a person is needed (P-178)."""
    kind = PermanentFailure if error.errno in _PERMANENT else TemporaryFailure
    return kind(str(error))


class Stored(NamedTuple):
    """A message of the listing and where it was seen."""

    message: Message
    base: str
    path: str
    """Relative to the Maildir: ``new/…`` or ``cur/…``; other programs may rename it at any time."""
    size: int
    """Octets on disk, or `UNREADABLE`."""


class Known(NamedTuple):
    """What is known of a file; messages are immutable (M-007), so it holds as long as the name has this inode."""

    inode: int
    message: Message
    size: int
    arrival: tuple[int, int, str]
    """Sorts messages (P-048)."""


class Memory:
    """What was found out about the files of Maildirs, as long as the process lives.

    Args:
        limit: how many messages are remembered; the maildrops that were opened longest ago are forgotten first.
    """

    def __init__(self, limit: int = 200_000) -> None:
        self.distrusted: set[tuple[str, str]] = set()
        """Maildir and base name of messages whose sizes proved wrong: somebody rewrote the file."""
        self._limit = limit
        self._messages = 0
        self._maildrops: dict[str, dict[str, Known]] = {}
        self._lock = threading.Lock()

    def of(self, path: str) -> dict[str, Known]:
        """Return what is known of a Maildir, by base name."""
        return self._maildrops.get(path, {})

    def keep(self, path: str, known: dict[str, Known]) -> None:
        """Replace what is known of a Maildir."""
        with self._lock:
            self._messages += len(known) - len(self._maildrops.pop(path, {}))
            self._maildrops[path] = known
            while self._messages > self._limit:
                oldest = next(iter(self._maildrops))
                self._messages -= len(self._maildrops.pop(oldest))


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
        """Make what is missing of the Maildir.

        Raises:
            OSError: it cannot be made.
        """
        if os.path.isdir(self.join(OURS, "deleted")) and os.path.isdir(self.join("cur")):
            return
        os.makedirs(self.path, mode=0o700, exist_ok=True)
        for part in ("tmp", "new", "cur", OURS, os.path.join(OURS, "deleted")):
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
        known: dict[str, Known] = {}
        found = []
        for base, (path, inode) in self._paths().items():
            entry = before.get(base)
            if entry is None or entry.inode != inode:
                entry = self._examine(base, path, inode)
            if entry is None:
                continue
            if entry.size != UNREADABLE:
                known[base] = entry
            found.append((entry.arrival, Stored(entry.message, base, path, entry.size)))
        self._memory.keep(self.path, known)
        found.sort(key=itemgetter(0))
        return [stored for _, stored in found]

    def _paths(self) -> dict[str, tuple[str, int]]:
        """Map base names to paths and inodes; a name that was renamed while we read is looked for again (M-006)."""
        paths = self._list_once()
        if self._is_quiet():
            return paths
        again = self._list_once()
        missing = paths.keys() - again.keys()
        if missing:
            third = self._list_once()
            again |= {base: third[base] for base in missing & third.keys()}
        return again

    def _list_once(self) -> dict[str, tuple[str, int]]:
        paths = {}
        for directory in ("new", "cur"):  # in this order: mail moves from new to cur
            with os.scandir(self.join(directory)) as entries:
                for entry in entries:
                    if not entry.name.startswith(".") and entry.is_file(follow_symlinks=False):
                        paths[names.base_name(entry.name)] = f"{directory}/{entry.name}", entry.inode()
        return paths

    def _is_quiet(self) -> bool:
        changed = max(os.stat(self.join(directory)).st_mtime for directory in ("new", "cur"))
        return changed < time.time() - QUIET

    def _examine(self, base: str, path: str, inode: int) -> Known | None:
        """Find out what there is to know of a file; None if it has gone meanwhile."""
        unique_id, arrival = names.unique_id(base), names.arrival(base)
        sizes = names.known_sizes(base)
        if sizes is not None and arrival is not None and (self.path, base) not in self._memory.distrusted:
            return Known(inode, Message(unique_id, sizes[1]), sizes[0], arrival)
        try:
            octets, status = _read_through(self.join(path))
            size = status.st_size
        except FileNotFoundError:
            return None
        except OSError:
            try:
                status = os.stat(self.join(path), follow_symlinks=False)
            except FileNotFoundError:
                return None
            octets, size = status.st_size, UNREADABLE
        return Known(inode, Message(unique_id, octets), size, arrival or (int(status.st_mtime), 0, base))

    # -- reading ------------------------------------------------------------------------------------

    def open_message(self, stored: Stored) -> BinaryIO:
        """Open a message of the listing, under the name it has now.

        Raises:
            TemporaryFailure: gone, or no longer what was listed.
            OSError: it cannot be opened.
        """
        try:
            descriptor = os.open(self.join(stored.path), _READ_FLAGS)
        except FileNotFoundError:
            path = self._path_now(stored)
            if path is None:
                raise TemporaryFailure(f"{self.join(stored.path)} has gone") from None
            descriptor = os.open(self.join(path), _READ_FLAGS)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size != stored.size:
            os.close(descriptor)
            self._memory.distrusted.add((self.path, stored.base))  # the next session reads it anew
            self._memory.of(self.path).pop(stored.base, None)
            raise TemporaryFailure(f"{self.join(stored.path)} has {status.st_size} octets, not {stored.size} as listed")
        return open(descriptor, "rb", buffering=0)

    def _path_now(self, stored: Stored) -> str | None:
        """Look for a message that has another name by now; None if it has gone (M-006)."""
        found = self._paths().get(stored.base)
        return found[0] if found else None

    # -- removing -----------------------------------------------------------------------------------

    def remove(self, messages: Iterable[Stored], *, keep: bool) -> None:
        """Remove messages durably; one that has gone already counts as removed (P-145).

        Args:
            messages: of the listing.
            keep: whether they can be brought back: they go to ``restante/deleted`` under the name they have.

        Raises:
            UpdateIncomplete: some are still there (P-134).
        """
        problems = []
        for stored in messages:
            try:
                self._remove_one(stored, keep)
            except OSError as error:
                problems.append(str(error))
        try:
            # The new place before the old ones: after a power cut a message may stand in both, never in none.
            for directory in ([self.join(OURS, "deleted")] if keep else []) + [self.join("cur"), self.join("new")]:
                sync_directory(directory)
        except OSError as error:
            problems.append(str(error))
        if problems:
            raise UpdateIncomplete("; ".join(problems[:3]))

    def _remove_one(self, stored: Stored, keep: bool) -> None:
        try:
            self._remove_path(stored.path, keep)
        except FileNotFoundError:  # another program changed its flags, or removed it
            path = self._path_now(stored)
            if path is not None:
                self._remove_path(path, keep)

    def _remove_path(self, path: str, keep: bool) -> None:
        if keep:
            os.rename(self.join(path), self.join(OURS, "deleted", os.path.basename(path)))
        else:
            os.unlink(self.join(path))

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
        for path, status in self._files(os.path.join(OURS, "deleted")):
            if status.st_ctime < now - undo:
                _unlink_if_there(path)
        for path, status in self._files("tmp"):
            if max(status.st_mtime, status.st_atime, status.st_ctime) < now - STALE_TMP:
                _unlink_if_there(path)

    def problems(self) -> Iterator[str]:
        """Say what is wrong with this Maildir, a line each, path first; changes nothing and takes no lock."""
        if not os.path.isdir(self.path):
            yield f"{self.path}: a Maildir is a folder"
            return
        for directory in ("tmp", "new", "cur"):
            if not os.path.isdir(self.join(directory)):
                yield f"{self.join(directory)}: this folder of a Maildir is missing"
                return
        seen: dict[str, str] = {}
        for directory in ("new", "cur"):
            with os.scandir(self.join(directory)) as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    if not entry.name.startswith("."):
                        yield from self._problems_of(entry, seen)
        for path, status in self._files("tmp"):
            if status.st_mtime < time.time() - STALE_TMP:
                yield f"{path}: a delivery that was never finished; it may be removed"

    def _problems_of(self, entry: "os.DirEntry[str]", seen: dict[str, str]) -> Iterator[str]:
        if not entry.is_file(follow_symlinks=False):
            yield f"{entry.path}: not a regular file, so it is not shown as a message"
            return
        base = names.base_name(entry.name)
        if base in seen:
            yield f"{entry.path}: has the same base name as {seen[base]}, so only one of them is shown"
        seen[base] = entry.path
        sizes = names.known_sizes(base)
        try:
            wire, status = _read_through(entry.path)
        except OSError as error:
            yield f"{entry.path}: cannot be read: {error.strerror}"
            return
        if sizes is not None and sizes != (status.st_size, wire):
            yield f"{entry.path}: was rewritten: it holds S={status.st_size}, W={wire}, and its name says otherwise"

    def _files(self, directory: str) -> Iterator[tuple[str, os.stat_result]]:
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


def _read_through(path: str) -> tuple[int, os.stat_result]:
    """Read a message; returns the octets RETR sends, and what the system knows of the file.

    Raises:
        OSError: it cannot be read.
    """
    descriptor = os.open(path, _READ_FLAGS)
    try:
        return wire_octets(iter(lambda: os.read(descriptor, PIECE), b"")), os.fstat(descriptor)
    finally:
        os.close(descriptor)


def _unlink_if_there(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
