"""What the C library does with memory that is free again."""

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt(3)."""
KEPT = SEPARATE = 32 << 20
"""Octets at the end of a heap that stay with the process, and from which memory is taken from the system by itself.

What Argon2 works in is less (19 MiB): to fetch that anew each time costs half as much as the hashing.  Told nothing,
glibc does the same in time, but not for messages.
"""


def keep() -> None:
    """Keep what is free for the next message or listing.

    By default glibc gives back all but 128 KiB: for each message of 75 KiB the heap grew and shrank three times, with
    thirty page faults, which is more than all else that the kernel does for it.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have their own ways
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, KEPT)
        mallopt(_MMAP_THRESHOLD, SEPARATE)
