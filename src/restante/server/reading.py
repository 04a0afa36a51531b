"""Reading stored messages without stopping the event loop."""

import asyncio
import errno
import io
import os

from restante.maildrop import MessageFile

PIECE = 131072
"""Octets read at a time."""
PIECES = 2
"""So many are sent before others have their turn (P-295)."""

WHOLE = 262144
"""Octets up to which a message is read at once, if the page cache holds it."""

_WOULD_BLOCK = {errno.EAGAIN, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
_NOWAIT = getattr(os, "RWF_NOWAIT", 0)


def read_now(descriptor: int, octets: int, room: memoryview) -> bytes | None:
    """Return all octets of a file if the page cache holds them; None: it does not, or they are too many.

    Args:
        descriptor: of a regular file.
        octets: that it has.
        room: for them.
    """
    if not _NOWAIT or octets > len(room):
        return None
    room = room[:octets]
    try:
        read = os.preadv(descriptor, [room], 0, _NOWAIT)
    except OSError:  # who reads it in a thread says what is wrong
        return None
    return bytes(room) if read == octets else None


def _cached(descriptor: int, room: memoryview, offset: int) -> bytes | None:
    """Return what there is from an offset on, as far as room and page cache go; None: a disk must be waited for.

    Raises:
        OSError: it cannot be read.
    """
    if not _NOWAIT:
        return None
    try:
        octets = os.preadv(descriptor, [room], offset, _NOWAIT)
    except OSError as error:
        if error.errno in _WOULD_BLOCK:
            return None
        raise
    return bytes(room[:octets])


class MessageReader:
    """Gives the octets of a message piece by piece.

    What the page cache holds is read at once, which is cheaper than a change of threads; what must come from a
    disk is read in a thread.

    Args:
        file: open, at its start.
        room: at least `PIECE` octets, which nobody else uses in the same turn of the loop.
    """

    __slots__ = ("_descriptor", "_file", "_offset", "_room")

    def __init__(self, file: MessageFile, room: memoryview) -> None:
        self._file = file
        self._room = room[:PIECE]
        self._offset = 0
        self._descriptor = file.fileno() if isinstance(file, io.FileIO) else -1

    async def read(self) -> bytes:
        """Return the next piece, ``b""`` at the end.

        Raises:
            OSError: it cannot be read.
        """
        if isinstance(self._file, io.BytesIO):
            return self._file.read(PIECE)
        if self._descriptor < 0:
            return await asyncio.to_thread(self._file.read, PIECE)
        piece = _cached(self._descriptor, self._room, self._offset)
        if piece is None:
            piece = await asyncio.to_thread(os.pread, self._descriptor, PIECE, self._offset)
        self._offset += len(piece)
        return piece

    def close(self) -> None:
        """Close the file."""
        self._file.close()
