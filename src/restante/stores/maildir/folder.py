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


class Measured:
    """Sizes of messages whose names do not tell them, remembered as long as the process lives.

    Args:
        limit: how many are kept.
    """

    def __init__(self, limit: int = 200_000) -> None:
        self._limit = limit
        self._octets: dict[tuple[int, int, int, int], int] = {}
        self._lock = threading.Lock()
        self.distrusted: set[str] = set()
        """Base names whose sizes proved wrong: somebody rewrote the file."""

    def octets(self, descriptor: int, status: os.stat_result) -> int:
        """Return the octets RETR sends for an open file, reading it unless this very file was read before."""
        key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        octets = self._octets.get(key)
        if octets is None:
            octets = wire_octets(iter(lambda: os.read(descriptor, PIECE), b""))
            with self._lock:
                if len(self._octets) >= self._limit:
                    del self._octets[next(iter(self._octets))]
                self._octets[key] = octets
        return octets


class Folder:
    """A Maildir.

    Args:
        path: the folder that holds ``tmp``, ``new`` and ``cur``.
        measured: sizes already known, shared by all folders of a store.
    """

    def __init__(self, path: str, measured: Measured) -> None:
        self.path = path
        self._measured = measured

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
        found = []
        for base, path in self._paths().items():
            stored = self._measure(base, path)
            if stored is not None:
                found.append((names.arrival(base) or (stored[1], 0, base), stored[0]))
        found.sort(key=lambda pair: pair[0])
        return [stored for _, stored in found]

    def _paths(self) -> dict[str, str]:
        """Map base names to paths; a name that was renamed while we read is looked for again (M-006)."""
        paths = self._list_once()
        if self._is_quiet():
            return paths
        again = self._list_once()
        missing = paths.keys() - again.keys()
        if missing:
            third = self._list_once()
            again |= {base: third[base] for base in missing & third.keys()}
        return again

    def _list_once(self) -> dict[str, str]:
        paths = {}
        for directory in ("new", "cur"):  # in this order: mail moves from new to cur
            with os.scandir(self.join(directory)) as entries:
                for entry in entries:
                    if not entry.name.startswith(".") and entry.is_file(follow_symlinks=False):
                        paths[names.base_name(entry.name)] = f"{directory}/{entry.name}"
        return paths

    def _is_quiet(self) -> bool:
        changed = max(os.stat(self.join(directory)).st_mtime for directory in ("new", "cur"))
        return changed < time.time() - QUIET

    def _measure(self, base: str, path: str) -> tuple[Stored, int] | None:
        """Return the message and its time of delivery in seconds; None if it has gone meanwhile."""
        sizes = names.known_sizes(base)
        if sizes is not None and base not in self._measured.distrusted:
            return Stored(Message(names.unique_id(base), sizes[1]), base, path, sizes[0]), 0
        try:
            descriptor = os.open(self.join(path), _READ_FLAGS)
            try:
                status = os.fstat(descriptor)
                octets, size = self._measured.octets(descriptor, status), status.st_size
            finally:
                os.close(descriptor)
        except FileNotFoundError:
            return None
        except OSError:
            with contextlib.suppress(FileNotFoundError):
                status = os.stat(self.join(path), follow_symlinks=False)
                message = Message(names.unique_id(base), status.st_size)
                return Stored(message, base, path, UNREADABLE), int(status.st_mtime)
            return None
        return Stored(Message(names.unique_id(base), octets), base, path, size), int(status.st_mtime)

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
            path = self._paths().get(stored.base)
            if path is None:
                raise TemporaryFailure(f"{self.join(stored.path)} has gone") from None
            descriptor = os.open(self.join(path), _READ_FLAGS)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size != stored.size:
            os.close(descriptor)
            self._measured.distrusted.add(stored.base)  # the next session reads it anew
            raise TemporaryFailure(f"{self.join(stored.path)} has {status.st_size} octets, not {stored.size} as listed")
        return open(descriptor, "rb", buffering=0)

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
            path = self._paths().get(stored.base)
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
            with open(entry.path, "rb") as file:
                stored = os.fstat(file.fileno()).st_size
                wire = wire_octets(iter(lambda: file.read(PIECE), b""))
        except OSError as error:
            yield f"{entry.path}: cannot be read: {error.strerror}"
            return
        if sizes is not None and sizes != (stored, wire):
            yield f"{entry.path}: holds S={stored}, W={wire} octets; its name says otherwise, somebody rewrote it"

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


def _unlink_if_there(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
