"""Calls of the system that several modules make."""

import asyncio
import contextlib
import errno
import os
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from restante.errors import Condition, PermanentFailure, TemporaryFailure

P = ParamSpec("P")
T = TypeVar("T")

READ_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
"""No symbolic link, no waiting for a FIFO."""
_PERMANENT = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG}


def condition(error: OSError) -> Condition:
    """Say what an error of the system means to a client: try again, or a person is needed (P-178)."""
    kind = PermanentFailure if error.errno in _PERMANENT else TemporaryFailure
    return kind(str(error))


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


def write_all(descriptor: int, octets: bytes) -> None:
    """Write all of it.

    Raises:
        OSError: only a part of it is written.
    """
    left = memoryview(octets)
    while left:
        left = left[os.write(descriptor, left) :]


def unlink_if_there(path: str) -> bool:
    """Remove a name; returns whether it was there.

    Raises:
        OSError: it is still there.
    """
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
        return True
    return False


async def in_thread(function: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    """Call something that blocks, and turn errors of the system into conditions."""
    try:
        return await asyncio.to_thread(function, *arguments, **options)
    except OSError as error:
        raise condition(error) from error
