"""What is asked of the system beyond `os`: kinds of file systems, their flushes, and files that need no waiting."""

import ctypes
import os
import platform
from functools import cache

LOCAL = {
    0xEF53: "ext4",
    0x58465342: "XFS",
    0x9123683E: "Btrfs",
    0xF2F52010: "F2FS",
    0x01021994: "tmpfs",
    0x2FC12FC1: "ZFS",
    0x794C7630: "overlay",
}
"""File systems on disks of this machine, by the magic number of statfs(2)."""
_STATFS = 256
"""Octets; more than any system's structure has."""
_OPENAT2 = 437
"""Number of openat2(2), the same on every architecture."""
_RESOLVE_CACHED = 0x20
"""Fail with EAGAIN where a look-up would have to wait (Linux 5.12)."""
_AT_FDCWD = -100

_NOWAIT = getattr(os, "RWF_NOWAIT", 0)

_libc = ctypes.CDLL(None, use_errno=True)


def kind_of_file_system(place: str | int) -> int:
    """Return the magic number of the file system that a directory is on, or an open file, by its descriptor.

    Raises:
        OSError: nobody can tell.
    """
    room = ctypes.create_string_buffer(_STATFS)
    failed = _libc.fstatfs(place, room) if isinstance(place, int) else _libc.statfs(os.fsencode(place), room)
    if failed:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), place)
    return ctypes.c_long.from_buffer(room).value & 0xFFFFFFFF


def is_local(descriptor: int) -> bool:
    """Say whether an open file is on a disk of this machine, so that nobody waits for a network."""
    try:
        return platform.system() == "Linux" and kind_of_file_system(descriptor) in LOCAL
    except OSError:
        return False


def syncfs(descriptor: int) -> int:
    """Flush a file system; returns the number of the error, 0 for none.  The interpreter's lock is free meanwhile."""
    return ctypes.get_errno() if _libc.syncfs(descriptor) else 0


def has_syncfs() -> bool:
    """Say whether there is syncfs(2)."""
    return hasattr(_libc, "syncfs")


class _How(ctypes.Structure):
    """``struct open_how``."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


_HOW_OCTETS = ctypes.sizeof(_How)


@cache
def _how(flags: int) -> tuple[_How, int]:
    """Return the structure, and where it is."""
    how = _How(flags, 0, _RESOLVE_CACHED)
    return how, ctypes.addressof(how)


_syscall = _libc.syscall
_syscall.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t)
_syscall.restype = ctypes.c_long
_can = platform.system() == "Linux"


def open_cached(path: str, flags: int) -> int:
    """Open a file if all of its path is in memory; returns its descriptor, -1 where that is not so.

    Whoever gets -1, for whatever reason, opens it in a thread, and learns the reason there.
    """
    if not _can:
        return -1
    return int(_syscall(_OPENAT2, _AT_FDCWD, os.fsencode(path), _how(flags)[1], _HOW_OCTETS))


def read_cached(descriptor: int, octets: int) -> bytes | None:
    """Return that many octets of a file, from its start, if they are in memory; None where that is not so."""
    if not _NOWAIT:
        return None
    room = bytearray(octets)
    try:
        read = os.preadv(descriptor, [room], 0, _NOWAIT)
    except OSError:  # who reads it in a thread learns the reason
        return None
    return bytes(room) if read == octets else None
