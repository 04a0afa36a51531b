"""The lock of a mailbox that other programs know: fcntl on the file and ``mailbox.lock`` beside it (M-023).

It is held only while the file is read at login, and while it is changed.  Both locks are tried without waiting, and
what was had is given back when one is taken, so no order of the two in other programs can lead to a deadlock.

A lock that a process takes by fcntl goes when it closes any descriptor of that file, and does not keep out its own
threads.  Where the system has them, we take locks of open file descriptions (``F_OFD_SETLK``), which have neither
fault and exclude the locks of other programs like any.  Elsewhere descriptors are closed when the lock has gone.
"""

import contextlib
import errno
import fcntl
import os
import socket
import stat
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from restante.errors import PermanentFailure
from restante.stores.files import unlink_if_there

STALE = 600.0
"""Seconds after which a dot-lock counts as left over, if nothing tells who has it."""

_OFD_SETLK: int | None = getattr(fcntl, "F_OFD_SETLK", None)
_guard = threading.Lock()
_claimed: dict[str, list[int]] = {}


class Busy(Exception):
    """Another program, or another thread, has the mailbox at the moment."""


@contextmanager
def locked(path: str, *, dotlock: bool, create: Callable[[], int] | None = None) -> Iterator[int | None]:
    """Hold the lock of a mailbox; gives a descriptor of it, None where there is no mailbox.

    Args:
        path: of the mailbox.
        dotlock: whether programs here use dot-locks.
        create: makes the mailbox where there is none and returns a descriptor.

    Raises:
        Busy: not now.
        PermanentFailure: what is there is no mailbox.
        OSError: it cannot be opened or locked.
    """
    with _claim(path), ExitStack() as stack:
        descriptor = open_mailbox(path, os.O_RDWR)
        is_new = descriptor is None
        if descriptor is None:
            if create is None:
                yield None
                return
            if dotlock:
                stack.enter_context(_dot_lock(path))
            try:
                descriptor = create()
            except FileExistsError:
                raise Busy(f"{path} has just been made by another program") from None
        stack.callback(os.close, descriptor)
        _lock_file(descriptor, path)
        if dotlock and not is_new:
            stack.enter_context(_dot_lock(path))
        _check_in_place(path, descriptor)
        yield descriptor


def open_mailbox(path: str, flags: int) -> int | None:
    """Open a mailbox that is a plain file under one name; None when there is none.

    Raises:
        PermanentFailure: it is something else, which in a folder where others write may be a trick.
        OSError: it cannot be opened; a symbolic link cannot.
    """
    try:
        descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and status.st_nlink <= 1:
        return descriptor
    os.close(descriptor)
    raise PermanentFailure(f"{path}: a mailbox is a regular file with a single name")


def close_mailbox(path: str, descriptor: int) -> None:
    """Close a descriptor of a mailbox that may be locked by another thread at the moment."""
    if _OFD_SETLK is None:
        with _guard:
            if path in _claimed:  # closing it now would give up that lock
                _claimed[path].append(descriptor)
                return
    os.close(descriptor)


@contextmanager
def _claim(path: str) -> Iterator[None]:
    """Keep out the other threads of this process."""
    with _guard:
        if path in _claimed:
            raise Busy(f"{path} is being read or changed by another thread")
        _claimed[path] = []
    try:
        yield
    finally:
        with _guard:
            for descriptor in _claimed.pop(path):
                os.close(descriptor)


def _lock_file(descriptor: int, path: str) -> None:
    try:
        if _OFD_SETLK is None:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:  # struct flock: type, whence, start, length (0: all there will ever be), process
            fcntl.fcntl(descriptor, _OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            raise Busy(f"{path} is locked by another program") from None
        raise


def _check_in_place(path: str, descriptor: int) -> None:
    """See to it that what is locked is what others will find under that name."""
    try:
        there = os.lstat(path)
    except FileNotFoundError:
        there = None
    here = os.fstat(descriptor)
    if there is None or (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino):
        raise Busy(f"{path} has just been replaced by another program")


# -- dot-locks --------------------------------------------------------------------------------------


@contextmanager
def _dot_lock(path: str) -> Iterator[None]:
    lock = f"{path}.lock"
    try:
        mine = _make(lock)
    except FileExistsError:
        if not is_stale(lock):
            raise Busy(f"{lock} is there: another program has the mailbox") from None
        _break(lock)
        raise Busy(f"{lock} was left over and is removed") from None
    except OSError as error:
        error.strerror = f"{error.strerror} (where no program uses dot-locks: dotlock = false)"
        raise
    try:
        yield
    finally:
        # Who takes us for dead after minutes may have a lock of his own there.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.lstat(lock), os.fstat(mine)):
                os.unlink(lock)
        os.close(mine)


def _make(lock: str) -> int:
    """Make a dot-lock that tells whose it is from the first moment; returns a descriptor, to know it again by.

    Raises:
        FileExistsError: there is one.
        OSError: it cannot be made.
    """
    aside = f"{lock}.{socket.gethostname()}.{os.getpid()}"
    unlink_if_there(aside)
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        with contextlib.suppress(OSError):  # a full disk: what counts is that the file is there
            os.write(descriptor, f"{os.getpid()}:{socket.gethostname()}".encode())
        os.link(aside, lock)
    except BaseException:
        os.close(descriptor)
        raise
    finally:
        os.unlink(aside)
    return descriptor


def is_stale(lock: str) -> bool:
    """Say whether a dot-lock surely belongs to nobody: its process on this host is gone, or it is `STALE` old.

    Raises:
        OSError: it cannot be read.
    """
    try:
        status = os.lstat(lock)
        if status.st_mtime < time.time() - STALE:
            return True
        if not stat.S_ISREG(status.st_mode):
            return False
        descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return False
    try:
        holder = os.read(descriptor, 256).decode("ascii", "replace").strip()
    finally:
        os.close(descriptor)
    pid, _, host = holder.partition(":")
    if not pid.isdecimal() or int(pid) == 0 or host != socket.gethostname():
        return False
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        pass
    return False


def _break(lock: str) -> None:
    """Remove a stale dot-lock; one that another program has put there in its place meanwhile stays."""
    aside = f"{lock}.{os.getpid()}"
    before = os.lstat(lock)
    os.rename(lock, aside)
    moved = os.lstat(aside)
    if (moved.st_ino, moved.st_mtime_ns) != (before.st_ino, before.st_mtime_ns):
        with contextlib.suppress(FileExistsError):
            os.link(aside, lock, follow_symlinks=False)
    unlink_if_there(aside)
