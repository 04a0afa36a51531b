"""Appending a message to a mailbox, so that it is there as a whole or not at all (M-022, M-002).

While a message is being appended, the file ``append`` among ours tells where it begins and how long it is.  If the
process dies, the next one that locks the mailbox cuts off what is incomplete, unless something follows it.
"""

import fcntl
import json
import os
from collections.abc import Iterable
from itertools import chain
from typing import NamedTuple

from restante.stores.files import PIECE, unlink_if_there, write_all
from restante.stores.mbox.scan import read_exactly
from restante.stores.mbox.side import Side


class _Note(NamedTuple):
    """What is being appended."""

    inode: int
    """Of the mailbox."""
    size: int
    """Of the mailbox before."""
    octets: int
    """That it will grow by."""
    begin: bytes
    """How that begins: what completes the message before, and the From_ line."""


def append(side: Side, descriptor: int, line: bytes, message: Iterable[bytes], octets: int) -> None:
    """Append a message durably to a locked mailbox; when that fails, the mailbox is as it was.

    Args:
        side: our files.
        descriptor: of the mailbox.
        line: the From_ line.
        message: quoted, its last line complete.
        octets: of `message`.

    Raises:
        OSError: the message is not in the mailbox, or not for certain.
    """
    status = os.fstat(descriptor)
    begin = _completion(descriptor, status.st_size) + line
    note = _Note(status.st_ino, status.st_size, len(begin) + octets + 1, begin)
    _write_note(side, note)
    # Programs that lock nothing append as well: nothing of theirs is overwritten.
    fcntl.fcntl(descriptor, fcntl.F_SETFL, os.O_APPEND)
    at = note.size
    try:
        for piece in chain([begin], message, [b"\n"]):
            at = write_all(descriptor, piece, at)
        os.fsync(descriptor)
    except BaseException:
        _cut(descriptor, note, whole=True)
        os.unlink(side.path("append"))
        raise
    os.unlink(side.path("append"))


def recover(side: Side, descriptor: int) -> None:
    """Cut off what a process that died has left of a message.

    Raises:
        OSError: that is not possible.
    """
    note = _read_note(side)
    if note is not None and note.inode == os.fstat(descriptor).st_ino:
        _cut(descriptor, note, whole=False)
    unlink_if_there(side.path("append"))


def _write_note(side: Side, note: _Note) -> None:
    """Not synced: after a power cut the end of a mailbox is what the file system makes of it."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(side.path("append"), flags, 0o600)
    try:
        write_all(descriptor, json.dumps(note._replace(begin=note.begin.hex())).encode(), 0)  # type: ignore[arg-type]
    finally:
        os.close(descriptor)


def _read_note(side: Side) -> _Note | None:
    try:
        inode, size, octets, begin = json.loads(side.read("append"))
        return _Note(inode, size, octets, bytes.fromhex(begin))
    except ValueError:  # none, or half of one: then nothing was appended yet
        return None


def _cut(descriptor: int, note: _Note, *, whole: bool) -> None:
    """Cut off what was appended, if it is at the end.

    Args:
        descriptor: of the mailbox.
        note: what was being appended.
        whole: cut it even if it is complete.
    """
    size = os.fstat(descriptor).st_size
    grown = size - note.size
    if not 0 < grown <= note.octets - (not whole):
        return
    begin = os.pread(descriptor, len(note.begin), note.size)
    if not note.begin.startswith(begin):
        return
    at, held = note.size + len(begin), b""
    while at < size:  # in what is ours, every other line that begins with From is quoted
        piece = read_exactly(descriptor, min(PIECE, size - at), at)
        if b"\nFrom " in held + piece:
            return
        at += len(piece)
        held = piece[-5:]
    os.ftruncate(descriptor, note.size)
    os.fsync(descriptor)


def _completion(descriptor: int, size: int) -> bytes:
    """Return what the last message lacks: its line end, and the blank line that ends it.

    A CR at the very end is an octet of the message, and stays one (P-087).
    """
    if not size:
        return b""
    tail = b"\n" + read_exactly(descriptor, size, 0) if size < 3 else read_exactly(descriptor, 3, size - 3)
    if tail.endswith((b"\n\n", b"\n\r\n")):
        return b""
    return b"\n" if tail.endswith(b"\n") else b"\r\n\n" if tail.endswith(b"\r") else b"\n\n"
