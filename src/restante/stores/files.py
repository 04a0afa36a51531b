"""What stores that keep mail in files have in common: paths of users, calls of the system, conditions."""

import asyncio
import contextlib
import errno
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from restante.errors import Condition, NoRoom, NoSuchMaildrop, PermanentFailure, TemporaryFailure

P = ParamSpec("P")
T = TypeVar("T")

PIECE = 65536
"""Octets read at a time."""

READ_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
"""No symbolic link, no waiting for a FIFO."""

_PERMANENT = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ELOOP,
    errno.ENAMETOOLONG,
}
_PLACEHOLDER = re.compile(r"\{(user|local|domain)\}")


class PathTemplate:
    """The path of each user's maildrop.

    Args:
        template: ``{user}``, ``{local}`` and ``{domain}`` stand for the whole name and its parts.
        must_exist: a file that is there when the file system with the mail is; ``""``: none tells.
    """

    def __init__(self, template: str, must_exist: str = "") -> None:
        self._template = template
        words = _PLACEHOLDER.split(template)
        self._words = list(zip(words[::2], [*words[1::2], ""], strict=True))
        """What stands before each placeholder, and its name; ``""`` at the end."""
        self._must_exist = must_exist
        self.base = os.path.dirname(_PLACEHOLDER.split(template)[0]) or "."
        """The folder before the first placeholder."""

    def path(self, user: str) -> str:
        """Return the path for a user.

        Raises:
            NoSuchMaildrop: the name does not fit into a path (P-291).
        """
        local, _, domain = user.rpartition("@") if "@" in user else (user, "", "")
        parts = {"user": user, "local": local, "domain": domain}
        path = ""
        for before, name in self._words:
            path += before
            if name:
                value = parts[name]
                if not value or value[0] == "." or "/" in value or "\0" in value:
                    raise NoSuchMaildrop(f"{user!r} gives no file name for {{{name}}}")
                path += value
        return path

    def check_mounted(self) -> None:
        """See to it that a missing maildrop means that there is none yet.

        Raises:
            TemporaryFailure: the folder of all maildrops is missing, as when a file system is not mounted.
        """
        if self._must_exist and not os.path.exists(self._must_exist):
            raise TemporaryFailure(f"{self._must_exist}: must exist, and is missing; is the file system mounted?")
        if not os.path.isdir(self.base):
            raise TemporaryFailure(f"{self.base}: the folder of all maildrops is missing; is it mounted?")

    def existing(self) -> Iterator[str]:
        """Give what is there of the paths of all users, in no order.

        Raises:
            OSError: a folder cannot be listed.
        """
        parts = self._template.split(os.sep)
        first = next(number for number, part in enumerate(parts) if _PLACEHOLDER.search(part))
        return _matching(
            os.path.join(self._template[: self._template.startswith(os.sep)], *parts[:first]), parts[first:]
        )


def _matching(folder: str, parts: list[str]) -> Iterator[str]:
    """Give the paths below a folder, where the placeholders of a name may stand for anything."""
    if not parts:
        yield folder
    elif not _PLACEHOLDER.search(parts[0]):
        if os.path.exists(os.path.join(folder, parts[0])):
            yield from _matching(os.path.join(folder, parts[0]), parts[1:])
    else:
        pattern = re.compile("(.+)".join(map(re.escape, _PLACEHOLDER.split(parts[0])[::2])), re.DOTALL)
        with os.scandir(folder or os.curdir) as entries:
            for entry in entries:
                if (
                    pattern.fullmatch(entry.name)
                    and not entry.name.startswith(".")
                    and (len(parts) == 1 or entry.is_dir())
                ):
                    yield from _matching(os.path.join(folder, entry.name), parts[1:])


def condition(error: OSError) -> Condition:
    """Say what an error of the system means to a client: try again, or a person is needed (P-178)."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoRoom(str(error))
    kind = PermanentFailure if error.errno in _PERMANENT else TemporaryFailure
    return kind(str(error))


class _Pool(ThreadPoolExecutor):
    """Takes what is asked for, or says that it does not: the library's puts it into the queue first, and may then fail.

    It would be done all the same, some time, by a thread that works already, for somebody who was told that it is not.
    """

    def _adjust_thread_count(self) -> None:
        try:
            super()._adjust_thread_count()  # one more thread, if none is idle
        except RuntimeError as error:  # the system has no room for it
            if not self._threads:
                self._work_queue.get_nowait()
                raise TemporaryFailure(str(error)) from error


class _Threads:
    """More threads than there are cores: most wait for a disk, and nobody's must keep the others from a thread."""

    def __init__(self) -> None:
        self._begin()
        os.register_at_fork(after_in_child=self._begin)  # a child has none of its parent's threads

    def _begin(self) -> None:
        self.sessions = _Pool(32, "restante-store")
        self.deliveries = _Pool(32, "restante-delivery")


_threads = _Threads()


async def in_thread(function: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    """Call something that blocks, and turn errors of the system into conditions.

    Raises:
        TemporaryFailure: there is no thread, and none can be had.
    """
    return await _in_pool(_threads.sessions, partial(function, *arguments, **options))


def begin_in_thread(function: Callable[[], object]) -> None:
    """Have something done by one of the same threads; nobody is told what comes of it.

    Raises:
        TemporaryFailure: there is no thread, and none can be had.
    """
    _threads.sessions.submit(function)


async def in_delivery_thread(function: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    """Do the same for a delivery: a thousand of them that wait for the disk must not keep a login from a thread."""
    return await _in_pool(_threads.deliveries, partial(function, *arguments, **options))


async def _in_pool(pool: ThreadPoolExecutor, function: Callable[[], T]) -> T:
    try:
        return await asyncio.get_running_loop().run_in_executor(pool, function)
    except OSError as error:
        raise condition(error) from error


_OPEN_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


def create(path: str, flags: int = os.O_WRONLY, *, own: bool = False) -> int:
    """Make a new file and return its descriptor; what is there already is never opened.

    What root makes belongs to whom the folder belongs: a command that an administrator runs must not lock the
    server out.

    Args:
        path: of the file.
        flags: as for `os.open`.
        own: it stays root's all the same.

    Raises:
        FileExistsError: something has that name.
        OSError: it cannot be made.
    """
    descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL | _OPEN_FLAGS, 0o600)
    if os.geteuid() == 0 and not own:
        status = os.stat(os.path.dirname(path) or os.curdir)
        os.fchown(descriptor, status.st_uid, status.st_gid)
    return descriptor


def open_or_create(path: str, flags: int = os.O_RDWR) -> int:
    """Open a file of ours for writing, or make it.

    Raises:
        PermanentFailure: what has that name may be somebody else's: it is no regular file, or it has another name, too.
        OSError: it cannot be opened.
    """
    while True:
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(path, flags | _OPEN_FLAGS)
            break
        with contextlib.suppress(FileExistsError):
            return create(path, flags)
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
        return descriptor
    os.close(descriptor)
    raise PermanentFailure(f"{path}: a regular file with one name would be right")


def read_file(path: str, limit: int, *, start: int = 0, own: bool = False) -> tuple[bytes, os.stat_result] | None:
    """Return what is in a file of ours, with what the system knows of it; None: there is none.

    Args:
        path: of the file.
        limit: octets.
        start: octets that are left out.
        own: one that belongs to somebody else than whom we run as, or root, counts as missing.

    Raises:
        PermanentFailure: it is no regular file, or longer than `limit` octets.
        OSError: it cannot be read.
    """
    try:
        descriptor = os.open(path, READ_FLAGS)
    except FileNotFoundError:
        return None
    try:
        status = os.fstat(descriptor)
        if own and status.st_uid not in (os.geteuid(), 0):
            return None
        if not stat.S_ISREG(status.st_mode) or status.st_size > limit:
            raise PermanentFailure(f"{path}: a regular file of at most {limit} octets would be right")
        os.lseek(descriptor, start, os.SEEK_SET)
        pieces = []
        left = status.st_size - start  # no more room than that, which would all be fetched from the system
        while piece := os.read(descriptor, min(max(left + 1, 4096), 1 << 22)):
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces), status
    finally:
        os.close(descriptor)


def check_links(paths: Iterable[str]) -> None:
    """See to it that nobody leads root to files of others: a symbolic link must belong to whom its target belongs.

    Raises:
        PermanentFailure: one does not.
        OSError: one cannot be looked at.
    """
    if os.geteuid() != 0:
        return
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            link = os.lstat(path)
            if stat.S_ISLNK(link.st_mode) and os.stat(path).st_uid != link.st_uid:
                raise PermanentFailure(f"{path}: a link to a folder of somebody else is not followed")


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


def check_space(path: str, octets: int) -> None:
    """See to it that the file system of a folder has room for a file.

    Args:
        path: of the folder; the nearest one above it that exists is asked.
        octets: of the file.

    Raises:
        NoRoom: it has none.
        OSError: nobody can tell.
    """
    while not os.path.isdir(path) and os.path.dirname(path) not in ("", path):
        path = os.path.dirname(path)
    system = os.statvfs(path if os.path.isdir(path) else os.curdir)
    # Some file systems count no inodes; theirs are all 0.
    if system.f_bavail * system.f_frsize < octets + system.f_frsize or (system.f_files and not system.f_favail):
        raise NoRoom(f"{path}: the file system is full")


def write_all(descriptor: int, octets: bytes, offset: int) -> int:
    """Write all of it at that offset; returns where it ends.

    Raises:
        OSError: only a part of it is written.
    """
    left = memoryview(octets)
    while left:
        written = os.pwrite(descriptor, left, offset)
        offset += written
        left = left[written:]
    return offset


def unlink_if_there(path: str) -> bool:
    """Remove a name; returns whether it was there.

    Raises:
        OSError: it is still there.
    """
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
        return True
    return False
