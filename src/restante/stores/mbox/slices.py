"""Reading one message of a mailbox that other programs may change at any time.  Everything here blocks."""

import errno
import io
import os
import zlib

from restante.maildrop import MessageFile
from restante.stores.files import PIECE
from restante.stores.mbox.format import Format, reader
from restante.stores.mbox.index import State
from restante.stores.mbox.locks import close_mailbox, open_mailbox
from restante.stores.mbox.scan import HEADER, Entry, identity, pieces, read_exactly

SMALL = 1 << 18
"""Octets of a message that is read as a whole when it is opened, and so is known to be right before it is sent."""


class MovedError(OSError):
    """The message is not where it was: another program has rewritten the mailbox."""

    def __init__(self, path: str) -> None:
        super().__init__(errno.ESTALE, "rewritten by another program during the session", path)


def open_message(path: str, entry: Entry, known: State | None, kind: Format) -> MessageFile:
    """Open a message of the listing.

    Args:
        path: of the mailbox.
        entry: the message.
        known: the mailbox when it was listed; None: that would not tell a change.
        kind: of quoting.

    Raises:
        OSError: it cannot be read, or it is not there as it was listed.
    """
    descriptor = open_mailbox(path, os.O_RDONLY)
    if descriptor is None:
        raise MovedError(path)
    message = MessageSlice(path, descriptor, entry, known, kind)
    try:
        message.check()
        if entry.octets > SMALL:
            return message
        whole = message.read()
    except BaseException:
        message.close()
        raise
    message.close()
    return io.BytesIO(whole)


class MessageSlice:
    """A message inside a mailbox, as it was delivered: without its From_ line and quoting.

    When the file changes while it is read, the whole message is looked at again before the last piece is given: one
    that has changed or moved ends in an error, never in a clean end (P-095).  See `open_message`.
    """

    def __init__(self, path: str, descriptor: int, entry: Entry, known: State | None, kind: Format) -> None:
        self._path = path
        self._descriptor = descriptor
        self._entry = entry
        self._known = known
        self._at = entry.body
        self._lines = reader(kind)
        self._ready = b""
        self._finished = False

    def read(self, size: int = -1, /) -> bytes:
        """See `MessageFile.read`.

        Raises:
            OSError: it cannot be read, or is not what was listed.
        """
        if size < 0:
            return b"".join(iter(lambda: self.read(PIECE), b""))
        while not self._ready and not self._finished:
            octets = min(PIECE, self._entry.end - self._at)
            self._ready = self._lines.feed(read_exactly(self._descriptor, octets, self._at))
            self._at += octets
            if self._at == self._entry.end:
                self._ready += self._lines.finish()
                self.check()
                self._finished = True
        piece, self._ready = self._ready[:size], self._ready[size:]
        return piece

    def close(self) -> None:
        """See `MessageFile.close`; may be called again."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            close_mailbox(self._path, descriptor)

    def check(self) -> None:
        """See to it that the message is still what was listed.

        Raises:
            OSError: it is not, or cannot be read.
        """
        now = State.of(self._descriptor)
        if now == self._known:
            return
        if not is_unchanged(self._descriptor, self._entry):
            raise MovedError(self._path)
        self._known = now


def is_there(descriptor: int, entry: Entry) -> bool:
    """Say whether the From_ line of a message is where it was.

    Raises:
        OSError: it cannot be read.
    """
    line = os.pread(descriptor, entry.body - entry.start, entry.start)
    return len(line) == entry.body - entry.start and zlib.crc32(line) == entry.check


def is_unchanged(descriptor: int, entry: Entry) -> bool:
    """Say whether a message is what it was, notes of other programs in its header apart.

    Raises:
        OSError: it cannot be read.
    """
    if not is_there(descriptor, entry):
        return False
    line = read_exactly(descriptor, entry.body - entry.start, entry.start)
    head = read_exactly(descriptor, min(entry.end - entry.body, HEADER), entry.body)
    return identity(line, head, pieces(descriptor, entry.body + len(head), entry.end)) == entry.identity
