"""The index of a Maildir: a snapshot on disk (M-010).

It is a cache.  Nothing is lost with it: sizes are measured again, ids come from base names and from the list of
adopted ids.  So it is not synced, and one that is damaged, cut short or of another version counts as missing.
It is written under the session's lock, aside, and renamed.

The file: a line that names the version, four octets of CRC-32, then a MessagePack array of the fields of `Snapshot`
without `listing`, and one that tells how names are written.
"""

import contextlib
import gc
import os
import threading
import zlib
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import quote_from_bytes, unquote_to_bytes

import msgspec

from restante.errors import PermanentFailure
from restante.maildrop import Listing
from restante.stores.files import create, read_file, unlink_if_there, write_all
from restante.stores.maildir.records import EMPTY, Snapshot, Stamp, Stored

NAME = "index"
"""Below our subfolder."""
_MAGIC = b"restante index 1\n"


class _Content(NamedTuple):
    blocks: tuple[msgspec.Raw, ...]
    """The messages, in pieces: nobody waits for the interpreter until all are decoded."""
    scanned: float
    new: Stamp | None
    cur: Stamp | None
    ids: Stamp | None
    quoted: bool
    """Names are not UTF-8, so that all paths are percent-encoded."""


_LONGEST = 1 << 28
"""Octets of the largest index that is read."""
_BLOCK = 1000
"""Messages in a block."""
_decoder = msgspec.msgpack.Decoder(_Content)
_block_decoder = msgspec.msgpack.Decoder(tuple[Stored, ...])
_encoder = msgspec.msgpack.Encoder()


def stamp(path: str) -> Stamp | None:
    """Return what tells that a file has not been replaced; None: there is none."""
    try:
        status = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def read(path: str) -> Snapshot:
    """Read an index; one that is missing, damaged or not readable is an empty snapshot.

    So is one that belongs to somebody else than whom we run as, or root: it decides which files are shown.
    """
    try:
        octets, _ = read_file(path, _LONGEST, own=True) or (b"", None)
        start = len(_MAGIC) + 4
        content = memoryview(octets)[start:]
        if octets[: len(_MAGIC)] != _MAGIC:
            return EMPTY
        if zlib.crc32(content).to_bytes(4, "big") != octets[start - 4 : start]:
            return EMPTY
        found = _decoder.decode(content)
        messages: list[Stored] = []
        with without_collection():
            for block in found.blocks:  # a loop of the interpreter's, which lets others have their turn
                messages += _block_decoder.decode(block)
    except (OSError, PermanentFailure, msgspec.MsgspecError, UnicodeError):
        return EMPTY
    if not all(_is_path(path) for one in messages for path in one.paths) or not all(one.paths for one in messages):
        return EMPTY
    if found.quoted:
        messages = [one._replace(paths=tuple(map(_unquoted, one.paths))) for one in messages]
    listing = Listing(one.message for one in messages)
    return Snapshot(tuple(messages), listing, found.scanned, found.new, found.cur, found.ids)


def write(path: str, snapshot: Snapshot) -> Stamp:
    """Replace the index; returns the stamp of the new one.

    Raises:
        OSError: the old one is still there.
        OverflowError: so it is, because somebody has given a file a time or a size that cannot be.
    """
    try:
        octets = _encode(snapshot, snapshot.messages)
    except UnicodeEncodeError:
        quoted = tuple(one._replace(paths=tuple(map(_quoted, one.paths))) for one in snapshot.messages)
        octets = _encode(snapshot, quoted, quoted=True)
    aside = f"{path}.new"
    unlink_if_there(aside)
    descriptor = create(aside, own=True)
    try:
        write_all(descriptor, octets, 0)
        status = os.fstat(descriptor)
        os.rename(aside, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(aside)
        raise
    finally:
        os.close(descriptor)
    return status.st_ino, status.st_mtime_ns, status.st_size


def _is_path(path: str) -> bool:
    """Say whether a name leads to a message of this Maildir; names may be percent-encoded, and lead there, too."""
    return path[:4] in ("new/", "cur/") and path.find("/", 4) < 0


class _Collection:
    """Holds the garbage collector off: it would walk through what is just being made, again and again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holding = 0
        self._was_on = False

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            if not self._holding:
                self._was_on = gc.isenabled()
                gc.disable()
            self._holding += 1
        try:
            yield
        finally:
            with self._lock:
                self._holding -= 1
                if self._was_on and not self._holding:
                    gc.enable()


without_collection = _Collection()


def _encode(snapshot: Snapshot, messages: tuple[Stored, ...], *, quoted: bool = False) -> bytes:
    starts = range(0, len(messages), _BLOCK)
    blocks = tuple(msgspec.Raw(_encoder.encode(messages[start : start + _BLOCK])) for start in starts)
    content = _encoder.encode(_Content(blocks, snapshot.scanned, snapshot.new, snapshot.cur, snapshot.ids, quoted))
    return b"".join((_MAGIC, zlib.crc32(content).to_bytes(4, "big"), content))


def _quoted(path: str) -> str:
    return quote_from_bytes(os.fsencode(path), safe="/")


def _unquoted(path: str) -> str:
    return os.fsdecode(unquote_to_bytes(path))
