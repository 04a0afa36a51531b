"""Lock files as Dovecot makes them, so that both programs heed them: ``FILE.lock`` holding ``pid:host``."""

import contextlib
import errno
import os
import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from restante.stores.files import create, unlink_if_there

PATIENCE = 5.0
"""Seconds that are waited for a lock; Dovecot holds it for milliseconds."""
STALE = 120.0
"""Seconds after which a lock that nobody alive is known to hold is void, if the file has not changed either."""
YOUNG = 2.0
"""Seconds in which a lock is taken to be somebody's, whatever it holds: it may not be written yet."""


@contextmanager
def dot_lock(path: str, patience: float | None = None) -> Iterator[None]:
    """Hold the lock of a file.

    Args:
        path: of the file.
        patience: seconds that are waited for the lock; None: `PATIENCE`.

    Raises:
        TimeoutError: another program holds it, and goes on to.
        OSError: it cannot be made.
    """
    lock = f"{path}.lock"
    inode = _acquire(lock, path, time.monotonic() + (PATIENCE if patience is None else patience))
    try:
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            if os.lstat(lock).st_ino == inode:  # else somebody has overridden it, and it is his now
                os.unlink(lock)


def _acquire(lock: str, path: str, deadline: float) -> int:
    while True:
        try:
            return _make(lock)
        except FileExistsError:
            if _is_stale(lock, path):
                _override(lock)
            elif time.monotonic() > deadline:
                raise TimeoutError(errno.ETIMEDOUT, "another program holds this lock", lock) from None
        time.sleep(random.uniform(0.005, 0.03))  # noqa: S311  (no secret)


def _make(lock: str) -> int:
    """Make a lock that tells from its first moment whose it is, for one left by a crash; returns its inode.

    Raises:
        FileExistsError: there is one.
        OSError: it cannot be made.
    """
    aside = f"{lock}.{socket.gethostname()}.{os.getpid()}.{threading.get_ident()}"
    unlink_if_there(aside)
    descriptor = create(aside)
    try:
        os.fchmod(descriptor, 0o644)  # whatever the umask: other users' programs watch it, and read whose it is
        os.write(descriptor, f"{os.getpid()}:{socket.gethostname()}".encode())
        os.link(aside, lock)
        return os.fstat(descriptor).st_ino
    finally:
        os.close(descriptor)
        unlink_if_there(aside)


def _is_stale(lock: str, path: str) -> bool:
    """Say whether the holder is dead, or nobody knows who it was and nothing has happened for a long time."""
    try:
        age = time.time() - os.lstat(lock).st_mtime
        if age < YOUNG:
            return False
        holder = _local_holder(lock)
    except FileNotFoundError:
        return False
    if holder is not None and holder != os.getpid():
        return not _is_alive(holder)
    with contextlib.suppress(FileNotFoundError):
        age = min(age, time.time() - os.stat(path).st_mtime)
    return age > STALE


def _local_holder(lock: str) -> int | None:
    """Return the process that wrote the lock, if it is one of this machine."""
    try:
        with open(lock, "rb") as file:
            process, _, host = file.read(512).decode("utf-8", "replace").partition(":")
    except PermissionError:
        return None
    if host.rstrip("\n") != socket.gethostname() or not process.isdecimal():
        return None
    return int(process) or None


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _override(lock: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(lock)
    # Somebody else may be about to unlink what he found: a new lock must not be there yet.
    time.sleep(random.uniform(0.1, 0.2))  # noqa: S311  (no secret)
