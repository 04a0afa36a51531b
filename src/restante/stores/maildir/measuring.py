"""What a message file holds, found out by reading it."""

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from restante.maildrop import Message
from restante.protocol.framing import wire_octets
from restante.protocol.surrogate import surrogate_octets
from restante.stores.files import READ_FLAGS
from restante.stores.maildir import names
from restante.stores.maildir.names import Sizes
from restante.stores.maildir.records import NOT_ADOPTED, UNREADABLE, Order, Paths, Stored

PIECE = 262_144
"""Octets read at a time."""
QUIET = 2.0
"""Seconds after which a time of change tells that no writer is at work (generous for any clock)."""


class Measured(NamedTuple):
    """What a file holds."""

    sizes: Sizes
    wire_form: bool
    status: os.stat_result


def measure(path: str) -> Measured:
    """Read a message.

    Raises:
        OSError: it cannot be read.
    """
    descriptor = os.open(path, READ_FLAGS)
    try:
        first = os.read(descriptor, PIECE)
        status = os.fstat(descriptor)
        if len(first) == status.st_size:  # most messages are read at once
            return measured(first, status)
        wire = wire_octets(_pieces(descriptor))
        surrogate = surrogate_octets(_pieces(descriptor))
        status = os.fstat(descriptor)
        return _measured(status, wire, surrogate, stuffed=_stuffed(_pieces(descriptor)))
    finally:
        os.close(descriptor)


def measured(octets: bytes, status: os.stat_result) -> Measured:
    """Do the same for a message that was read, all of it.

    Args:
        octets: that are in the file.
        status: of the file, asked for after that.
    """
    surrogate = 0 if octets.isascii() else surrogate_octets((octets,))
    return _measured(status, wire_octets((octets,)), surrogate, stuffed=_stuffed((octets,)))


def _measured(status: os.stat_result, wire: int, surrogate: int, *, stuffed: bool) -> Measured:
    # As many octets as RETR sends: every line ends in CRLF, and so does the last.
    wire_form = wire == status.st_size and not stuffed
    return Measured(Sizes(status.st_size, wire, surrogate), wire_form, status)


def examine(
    root: str,
    paths: Paths,
    status: os.stat_result,
    now: float,
    *,
    trust_name: bool = True,
    reader: Callable[[str], Measured] | None = None,
) -> Stored | None:
    """Find out what there is to know of a file that was just seen; None if it is no longer there.

    A message that cannot be read gets its size on disk, so that it hurts nobody but itself (P-293).  The unique-id is
    the one that its name gives.

    Args:
        root: the Maildir.
        paths: the file's names below it.
        status: of the file.
        now: in seconds since 1970.
        trust_name: whether sizes in a name that our own delivery wrote are those of the file (M-012).
        reader: reads the file; default: `measure`.
    """
    base = paths[-1][4:].partition(":")[0]
    arrived = names.arrival(base)
    sizes = names.known_sizes(base) if trust_name else None
    wire_form, settled = False, True
    if sizes is None or sizes.stored != status.st_size or arrived is None:
        try:
            sizes, wire_form, status = (reader or measure)(f"{root}/{paths[-1]}")
            # Who writes now sets both; an mtime that lies in the future is somebody's mistake.
            settled = min(status.st_mtime, status.st_ctime) < now - QUIET
        except FileNotFoundError:
            return None
        except OSError:
            sizes, settled = Sizes(UNREADABLE, status.st_size, 0), False
    seconds, microseconds = arrived or (max(0, int(status.st_mtime)), 0)
    message = Message(names.unique_id(base), sizes.wire, wire_form, sizes.surrogate)
    order = NOT_ADOPTED, seconds, microseconds
    return Stored(message, paths, status.st_ino, sizes.stored, status.st_mtime_ns, order, settled)


def unknown(paths: Paths, inode: int) -> Stored:
    """Return what there is to say of a file of which the system tells nothing but its name."""
    base = names.base_name(paths[-1].partition("/")[2])
    order: Order = (NOT_ADOPTED, *(names.arrival(base) or (0, 0)))
    return Stored(Message(names.unique_id(base), 0), paths, inode, UNREADABLE, 0, order, settled=False)


def is_as_measured(stored: Stored, status: os.stat_result) -> bool:
    """Say whether a file is still what was measured."""
    return stat.S_ISREG(status.st_mode) and (status.st_size, status.st_mtime_ns) == (stored.size, stored.modified)


def _pieces(descriptor: int) -> Iterator[bytes]:
    os.lseek(descriptor, 0, os.SEEK_SET)
    return iter(lambda: os.read(descriptor, PIECE), b"")


def _stuffed(pieces: Iterable[bytes]) -> bool:
    """Say whether a line begins with a dot (P-013)."""
    before = b"\n"
    for piece in pieces:
        if b"\n." in before + piece:
            return True
        before = piece[-1:]
    return False
