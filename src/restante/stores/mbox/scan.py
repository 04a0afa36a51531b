"""Finding the messages of a mailbox, and measuring them (M-020).  Everything here blocks.

A message begins at a From_ line that is the first line of the file or comes after a blank line.  A line counts as one
only with a date in it: that tells it from a sentence at the beginning of a paragraph.  The blank line before the next
From_ line, or at the end of the file, ends the message and is no part of it.
"""

import errno
import hashlib
import os
import re
import zlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from restante.errors import PermanentFailure
from restante.maildrop import Message
from restante.protocol.framing import wire_octets
from restante.protocol.surrogate import surrogate_octets
from restante.stores.files import PIECE
from restante.stores.mbox.format import MAX_FROM_LINE, Format, is_from_line, reader

BLOCK = 1 << 18
"""Octets read at a time when From_ lines are looked for."""
HEADER = 1 << 20
"""A longer header is taken as a part of the body when a message is identified, in octets (D-024)."""

# What mail programs add, change and remove in a message that stays the same for a person.
_CHANGEABLE = re.compile(
    rb"^(?:Status|X-Status|X-UID|X-UIDL|X-IMAP|X-IMAPbase|X-Keywords|Content-Length|Lines"
    rb"|X-Mozilla-Status2?|X-Mozilla-Keys)[ \t]*:[^\n]*+\n?+(?:[ \t][^\n]*+\n?+)*+",
    re.IGNORECASE | re.MULTILINE,
)
_HEADER_END = re.compile(rb"(?:\A|\n)\r?\n")
_FOLDER_DATA = re.compile(rb"^Subject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA", re.MULTILINE)
_IMAP_FIELD = re.compile(rb"^X-IMAP(?:base)?:", re.IGNORECASE | re.MULTILINE)


class Entry(NamedTuple):
    """A message and where it is; places are octets from the start of the file."""

    start: int
    """Of its From_ line."""
    body: int
    """Of the message itself, after the From_ line."""
    end: int
    """Of the message, without the blank line that separates it from the next."""
    octets: int
    """As RETR sends it (P-081)."""
    surrogate: int
    """The same of the form with ASCII headers, 0 if there is only one (P-256)."""
    check: int
    """CRC-32 of the From_ line: tells whether the message is still where it was."""
    identity: bytes
    """16 octets that stay what they are when other programs keep their notes in the header; equal for equal copies."""
    copy: int = 0
    """Which of the equal copies this is, from 1; 0: not known yet."""
    hidden: bool = False
    """Notes that c-client keeps in the mailbox as its first message; no mail."""

    @property
    def unique_id(self) -> str:
        """Made from the message alone, so that it can be made again (M-025)."""
        return self.identity.hex() + (f"-{self.copy}" if self.copy > 1 else "")

    @property
    def message(self) -> Message:
        """Its line of the listing."""
        return Message(self.unique_id, self.octets, surrogate=self.surrogate)


def scan(descriptor: int, start: int, size: int, kind: Format) -> Iterator[Entry]:
    """Give the messages from `start`, which is where a message begins, to `size`, where the file ends.

    Raises:
        PermanentFailure: there is something else than a message.
        OSError: the file cannot be read.
    """
    starts = _from_lines(descriptor, start, size)
    here = next(starts, None)
    _check_blank(descriptor, start, size if here is None else here[0])
    while here is not None:
        following = next(starts, None)
        yield measure(descriptor, here, size if following is None else following[0], kind)
        here = following


def _check_blank(descriptor: int, start: int, end: int) -> None:
    """Whatever comes before the first From_ line must be blank lines, or this is not an mbox."""
    while start < end:
        piece = read_exactly(descriptor, min(PIECE, end - start), start)
        if piece.strip(b"\r\n"):
            raise PermanentFailure("no mbox: it does not begin with a line such as 'From bob Thu Nov 24 18:22:48 1986'")
        start += len(piece)


def _from_lines(descriptor: int, start: int, size: int) -> Iterator[tuple[int, bytes]]:
    """Give the place of each From_ line, and the line."""
    text = b"\n\n"  # what is first counts as coming after a blank line
    offset, at = start - 2, start  # of text; of what is read next
    while True:
        piece = read_exactly(descriptor, min(BLOCK, size - at), at)
        at += len(piece)
        text += piece
        position = 0
        while (found := text.find(b"\nFrom ", position)) >= 0:
            end = text.find(b"\n", found + 1, found + 1 + MAX_FROM_LINE) + 1
            if not end and at < size and len(text) - found <= MAX_FROM_LINE:
                break  # the rest of the line is not here yet
            position = found + 1
            line = text[found + 1 : end]
            if text.endswith((b"\n", b"\n\r"), 0, found) and is_from_line(line):
                yield offset + found + 1, line
        if at >= size:
            return
        # Two octets before what is looked for tell a blank line.
        kept = max(position, found - 2) if found >= 0 else max(position, len(text) - 7)
        offset += kept
        text = text[kept:]


def measure(descriptor: int, from_line: tuple[int, bytes], stop: int, kind: Format) -> Entry:
    """Find out what there is to know of a message.

    Args:
        descriptor: of the mailbox.
        from_line: its place, and the line.
        stop: where the next message begins, or the file ends.
        kind: of quoting.

    Raises:
        OSError: it cannot be read.
    """
    start, line = from_line
    body = start + len(line)
    head = read_exactly(descriptor, min(stop - body, HEADER), body)
    tail = (b"\n" + head if body + len(head) == stop else read_exactly(descriptor, 3, stop - 3))[-3:]
    end = stop - (2 if tail == b"\n\r\n" else 1 if tail.endswith(b"\n\n") else 0)
    head = head[: end - body]
    rest = body + len(head)

    def stored() -> Iterator[bytes]:
        yield head
        yield from pieces(descriptor, rest, end)

    octets = wire_octets(unquoted(stored(), kind))
    surrogate = surrogate_octets(unquoted(stored(), kind))
    digest = identity(line, head, pieces(descriptor, rest, end))
    hidden = start == 0 and _IMAP_FIELD.search(head) is not None and _FOLDER_DATA.search(head) is not None
    return Entry(start, body, end, octets, surrogate, zlib.crc32(line), digest, hidden=hidden)


def identity(line: bytes, head: bytes, rest: Iterable[bytes]) -> bytes:
    """Return what tells a message from others: a hash of its From_ line, its lasting headers and its body.

    Line ends at the end of header and body are left out, which programs add where they are missing.

    Args:
        line: the From_ line.
        head: how the message begins, as it is stored; at most `HEADER` octets.
        rest: what follows.
    """
    header_end = _HEADER_END.search(head)
    split = header_end.start() if header_end else len(head)
    header = _CHANGEABLE.sub(b"", head[:split] + b"\n").rstrip(b"\r\n")
    digest = hashlib.sha256(line.rstrip(b"\r\n") + b"\n" + header + b"\n\n")
    lasting = digest.copy()
    for piece in (head[split:].lstrip(b"\r\n"), *rest) if header_end is None else (head[header_end.end() :], *rest):
        text = len(piece.rstrip(b"\r\n"))
        if text:
            digest.update(piece[:text])
            lasting = digest.copy()
        digest.update(piece[text:])
    return lasting.digest()[:16]


def unquoted(stored: Iterable[bytes], kind: Format) -> Iterator[bytes]:
    """Give the octets of a message from those that are stored."""
    lines = reader(kind)
    for piece in stored:
        yield lines.feed(piece)
    yield lines.finish()


def pieces(descriptor: int, start: int, end: int) -> Iterator[bytes]:
    """Give what is stored from one place to another.

    Raises:
        OSError: it cannot be read, or the file ends before.
    """
    while start < end:
        piece = read_exactly(descriptor, min(PIECE, end - start), start)
        start += len(piece)
        yield piece


def read_exactly(descriptor: int, octets: int, offset: int) -> bytes:
    """Read so many octets.

    Raises:
        OSError: they cannot be read, or the file ends before: it was cut while it was read.
    """
    data = os.pread(descriptor, octets, offset)
    while len(data) < octets:
        more = os.pread(descriptor, octets - len(data), offset + len(data))
        if not more:
            raise OSError(errno.EIO, f"the mailbox ends at {offset + len(data)}, not at {offset + octets} or later")
        data += more
    return data
