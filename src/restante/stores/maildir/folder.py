"""One Maildir on disk.  Everything here blocks, and is meant to run in a thread.

What a message can be at any moment, each step that moves it, and who cleans up after a crash is the table in
docs/INTERNALS.md; tests stop each of them after each system call and compare.
"""

import contextlib
import fcntl
import os
import stat
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import BinaryIO

from restante.errors import LoginDelayed, MaildropInUse, TemporaryFailure
from restante.stores.files import READ_FLAGS, check_links, open_or_create, sync_directory
from restante.stores.maildir import names
from restante.stores.maildir.measuring import QUIET, is_as_measured
from restante.stores.maildir.records import DIRECTORIES, Key, Paths, Stamp, Stored

OURS = "restante"
"""The subfolder for our own files; without a leading dot, so that nobody takes it for a mail folder."""
SEARCHES = 4
"""How often a message that moves is looked for."""


class Folder:
    """A Maildir.

    Args:
        path: the folder that holds ``tmp``, ``new`` and ``cur``.
    """

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path

    def join(self, *parts: str) -> str:
        """Return the path of something in this Maildir; no part begins with a slash."""
        return "/".join((self.path, *parts))

    def ours(self, *parts: str) -> str:
        """Return the path of something in our subfolder."""
        return "/".join((self.path, OURS, *parts))

    def check_links(self) -> None:
        """See to it that all folders are those of this Maildir's owner, who may try to lead root elsewhere.

        Raises:
            PermanentFailure: one is a link to somebody else's.
            OSError: one cannot be looked at.
        """
        if os.geteuid() == 0:
            check_links([self.path, *map(self.join, ("tmp", *DIRECTORIES, OURS, f"{OURS}/deleted"))])

    def create(self, *, had_mail: bool = False) -> None:
        """Make the Maildir if it does not exist yet.

        Args:
            had_mail: somebody has seen mail in it.

        Raises:
            TemporaryFailure: it has existed, and has gone.  It is not made anew: an empty maildrop
                in place of one that is out of reach makes clients fetch everything again.
            OSError: it cannot be made.
        """
        self.check_links()
        if os.path.isdir(self.ours("deleted")):  # made last, so all of it was there
            return
        if had_mail and not os.path.isdir(self.path):
            raise TemporaryFailure(f"{self.path} has gone, and there was mail in it; is it mounted?")
        parts = [OURS, os.path.join(OURS, "deleted")]
        if not os.path.exists(self.ours("lock")):
            self._make_root()
            parts = ["tmp", "new", "cur", *parts]
        for part in parts:
            self.make(part)
        for directory in (self.ours(), self.path, os.path.dirname(self.path)):
            sync_directory(directory)

    def _make_root(self) -> None:
        """Make the Maildir itself; what root makes belongs to whom the folder above belongs."""
        with contextlib.suppress(FileExistsError):
            os.makedirs(os.path.dirname(self.path) or os.curdir, mode=0o700, exist_ok=True)
            os.mkdir(self.path, mode=0o700)
            if os.geteuid() == 0:
                status = os.stat(os.path.dirname(self.path) or os.curdir)
                os.chown(self.path, status.st_uid, status.st_gid, follow_symlinks=False)

    def make(self, part: str) -> None:
        """Make a folder; one that root makes in somebody's Maildir is his."""
        with contextlib.suppress(FileExistsError):
            os.mkdir(self.join(part), mode=0o700)
            if os.geteuid() == 0:
                status = os.stat(self.path)
                os.chown(self.join(part), status.st_uid, status.st_gid, follow_symlinks=False)

    @contextlib.contextmanager
    def directory(self, *parts: str) -> Iterator[int]:
        """Open a folder below, one step after the other; where a link stands in the way of root, it leads nowhere.

        Raises:
            OSError: it cannot be opened.
        """
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        descriptor = os.open(self.path, flags)
        try:
            for part in parts:
                following = 0 if os.geteuid() else os.O_NOFOLLOW
                descriptor, above = os.open(part, flags | following, dir_fd=descriptor), descriptor
                os.close(above)
            yield descriptor
        finally:
            os.close(descriptor)

    # -- lock ---------------------------------------------------------------------------------------

    def lock(self) -> int:
        """Take the exclusive lock and return its descriptor; the kernel lets go of it with the process (P-042).

        Raises:
            MaildropInUse: somebody else has it.
            PermanentFailure: the lock file is something else.
            OSError: the lock file cannot be opened.
        """
        descriptor = open_or_create(self.ours("lock"))
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise MaildropInUse(self.path) from None
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    # -- what is there ------------------------------------------------------------------------------

    def stamp(self, directory: str) -> Stamp:
        """Return what tells that a folder has not changed.

        Raises:
            OSError: the folder is not there.
        """
        status = os.stat(self.join(directory))
        return status.st_ino, status.st_mtime_ns, status.st_ctime_ns

    def places(self, directories: Sequence[str] = DIRECTORIES) -> dict[Key, Paths]:
        """Find all files; as long as names change, what a listing lacks is looked for again (M-006).

        Raises:
            OSError: a folder cannot be listed.
        """
        found = self.list_once(directories)
        lacking: set[Key] = set()
        for _ in range(SEARCHES):
            if self.is_quiet():
                break
            again = self.list_once(directories)
            gone = lacking - again.keys()  # two listings in a row lack them
            news = again.keys() - found.keys()
            lacking = found.keys() - again.keys() - gone
            found = {key: paths for key, paths in found.items() if key not in gone} | again
            if not news and not lacking:
                break
        return found

    def still(
        self, messages: Sequence[Stored], places: Mapping[Key, Paths], inodes: Collection[int]
    ) -> list[tuple[Key, Paths] | None]:
        """Return where each message is now; None: it has gone.

        Some file systems give a file another inode when it is renamed (overlays): it is the only one of its base name
        then, and otherwise what it was.

        Args:
            messages: which.
            places: all files.
            inodes: of all messages of the listing, for none is found in place of another.
        """
        found = [(stored.key, places[stored.key]) if stored.key in places else None for stored in messages]
        if all(found):
            return found
        same: dict[str, list[Key]] = {}
        for key in places:
            same.setdefault(key[0], []).append(key)
        for number, stored in enumerate(messages):
            keys = same.get(stored.base, [])
            if found[number] is None and len(keys) == 1 and keys[0][1] not in inodes:
                with contextlib.suppress(FileNotFoundError):
                    status = os.stat(self.join(places[keys[0]][-1]), follow_symlinks=False)
                    found[number] = (keys[0], places[keys[0]]) if is_as_measured(stored, status) else None
        return found

    def list_once(self, directories: Sequence[str] = DIRECTORIES) -> dict[Key, Paths]:
        """List folders, ``new`` before ``cur``, because that is how mail moves.

        Raises:
            OSError: one cannot be listed.
        """
        files: dict[Key, Paths] = {}
        for directory in directories:
            for key, path in self.names(directory):
                files[key] = (*files[key], path) if key in files else (path,)
        return files

    def names(self, directory: str) -> Iterator[tuple[Key, str]]:
        """Give the files of a folder: what identifies each, and its path below the Maildir.

        Raises:
            OSError: it cannot be listed.
        """
        with os.scandir(self.join(directory)) as entries:
            for entry in entries:
                if not entry.name.startswith(".") and entry.is_file(follow_symlinks=False):
                    yield (names.base_name(entry.name), entry.inode()), f"{directory}/{entry.name}"

    def is_quiet(self) -> bool:
        """Say whether no name has changed for a while; the ctime tells, which nobody can set.

        Raises:
            OSError: ``new`` or ``cur`` is not there.
        """
        changed = max(os.stat(self.join(directory)).st_ctime for directory in DIRECTORIES)
        return changed < time.time() - QUIET

    def files(self, directory: str) -> Iterator[tuple[str, os.stat_result]]:
        """Give the regular files of a subfolder.

        Raises:
            OSError: it cannot be listed.
        """
        with os.scandir(self.join(directory)) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    if entry.is_file(follow_symlinks=False):
                        yield entry.path, entry.stat(follow_symlinks=False)

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
            return max(stored.order[1], status.st_mtime, status.st_ctime) < limit

        return [stored for stored in listing if is_old(stored)]

    # -- times of login -----------------------------------------------------------------------------

    def check_delay(self, login_delay: float) -> None:
        """See to it that logins are some time apart (P-051).

        Raises:
            LoginDelayed: the last one is not that many seconds ago.
            OSError: nobody can tell.
        """
        with contextlib.suppress(FileNotFoundError):
            if 0 <= time.time() - os.stat(self.ours("login")).st_mtime < login_delay:
                raise LoginDelayed

    def note_login(self) -> None:
        """Remember when this login was, as the time of a file.

        Raises:
            OSError: it cannot be kept.
        """
        descriptor = open_or_create(self.ours("login"), os.O_WRONLY)
        try:
            os.utime(descriptor)
        finally:
            os.close(descriptor)

    # -- reading ------------------------------------------------------------------------------------

    def open(self, path: str) -> tuple[BinaryIO, os.stat_result]:
        """Open a file of this Maildir.

        Raises:
            FileNotFoundError: it is not there under that name.
            TemporaryFailure: it is no regular file.
            OSError: it cannot be opened.
        """
        descriptor = os.open(self.join(path), READ_FLAGS)
        try:
            status = os.fstat(descriptor)
            if stat.S_ISREG(status.st_mode):
                return open(descriptor, "rb", buffering=0), status
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        raise TemporaryFailure(f"{self.join(path)} is no regular file")
