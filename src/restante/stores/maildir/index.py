"""The index of a Maildir: a snapshot on disk (M-010).

It is a cache.  Nothing is lost with it: sizes are measured again, ids come from base names and from the list of
adopted ids.  So it is not synced, and one that is damaged, cut short or of another version counts as missing.
It is written under the session's lock: whole, aside, and renamed; or, when little has changed, added to.

The file: a line that names the version, then parts, each with its CRC-32, which goes on from that of the part before,
and its octets before it.  The first is a MessagePack array of the fields of `Snapshot` without `listing`, and one that
tells how names are written; each further one has what has changed since.
"""

import contextlib
import gc
import os
import stat
import struct
import threading
import zlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple
from urllib.parse import quote_from_bytes, unquote_to_bytes

import msgspec

from restante.errors import PermanentFailure
from restante.stores import systems
from restante.stores.files import READ_FLAGS, create, read_file, unlink_if_there, write_all
from restante.stores.maildir.records import DIRECTORIES, UNKNOWN, Change, Indexed, Place, Snapshot, Stamp, Stored

NAME = "index"
"""Below our subfolder."""
_MAGIC = b"restante index 2\n"
_HEAD = struct.Struct(">II")
"""Before each part: its CRC-32, and its octets."""


class _Content(NamedTuple):
    blocks: tuple[msgspec.Raw, ...]
    """The messages, in pieces: nobody waits for the interpreter until all are decoded."""
    scanned: float
    new: Stamp | None
    cur: Stamp | None
    ids: Stamp | None
    quoted: bool
    """Names are not UTF-8, so that all paths are percent-encoded."""
    gone: tuple[Place, ...] = ()
    """Of the messages before: those that are no longer there, or are among `blocks` as they are now."""


_LONGEST = 1 << 28
"""Octets of the largest index that is read."""
_SHORT = 1 << 16
"""The same of one that is read in the event loop."""
_BLOCK = 1000
"""Messages in a block."""
_FEW = 1 << 14
"""Octets that may be added to any index; to a long one, as many as it has."""
_BEGINNINGS = tuple(f"{directory}/" for directory in DIRECTORIES)
_decoder = msgspec.msgpack.Decoder(_Content)
_block_decoder = msgspec.msgpack.Decoder(tuple[Stored, ...])
_encoder = msgspec.msgpack.Encoder()
_DAMAGED = (ValueError, msgspec.MsgspecError)


def stamp(path: str) -> Stamp | None:
    """Return what tells that a file has not been replaced, nor added to; None: there is none."""
    try:
        status = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return _stamp(status)


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_ino, status.st_mtime_ns, status.st_size


# -- reading ----------------------------------------------------------------------------------------


def read(path: str, known: Indexed = UNKNOWN) -> Indexed:
    """Read an index; one that is missing, damaged or not readable is an empty snapshot.

    So is one that belongs to somebody else than whom we run as, or root: it decides which files are shown.

    Args:
        path: of the index.
        known: what was read or written before; if the index has only been added to since, no more than that is read.
    """
    return _read_on(path, known) or _read_whole(path)


def _read_on(path: str, known: Indexed) -> Indexed | None:
    """Read what was added to an index; None: that is not all that has happened to it."""
    inode, _, size = known.stamp or (0, 0, 0)
    found = _octets(path, size) if known.whole else None
    if found is None or found[1][0] != inode or found[1][2] <= size:
        return None
    octets, now = found
    more = _added(known._replace(stamp=now), memoryview(octets))
    return more if more.whole else None


def _read_whole(path: str) -> Indexed:
    return _parsed(*(_octets(path) or (b"", stamp(path))))


def read_now(path: str, known: Indexed) -> Indexed | None:
    """Do the same for a short index that is in memory; None: somebody must read it who may wait."""
    descriptor = systems.open_cached(path, READ_FLAGS)
    if descriptor < 0:
        return None
    try:
        status = os.fstat(descriptor)
        ours = stat.S_ISREG(status.st_mode) and status.st_uid in (os.geteuid(), 0) and status.st_size <= _SHORT
        octets = systems.read_cached(descriptor, status.st_size) if ours else None
    finally:
        os.close(descriptor)
    if octets is None:
        return None
    inode, _, size = known.stamp or (0, 0, 0)
    if known.whole and inode == status.st_ino and size < len(octets):
        more = _added(known._replace(stamp=_stamp(status)), memoryview(octets)[size:])
        if more.whole:
            return more
    return _parsed(octets, _stamp(status))


def _parsed(octets: bytes, now: Stamp | None) -> Indexed:
    if octets[: len(_MAGIC)] != _MAGIC:
        return Indexed(stamp=now)
    try:
        first, rest, crc = _first(memoryview(octets)[len(_MAGIC) :], 0)
        content, messages = _understood(first)
    except _DAMAGED:
        return Indexed(stamp=now)
    snapshot = _stamped(Snapshot.of(messages), content)
    return _added(Indexed(snapshot, now, len(octets) - len(rest), crc), rest)


def _added(indexed: Indexed, rest: memoryview) -> Indexed:
    """Return what parts that were added make of an index.

    What stands before damage was right once, and is no worse than an index that is a little old.
    """
    now = indexed
    try:
        while rest:
            part, rest, crc = _first(rest, now.crc)
            content, messages = _understood(part)
            gone = [now.snapshot.messages[now.snapshot.where(place)] for place in content.gone]
            now = now.changed(Change(gone, messages))
            now = now._replace(snapshot=_stamped(now.snapshot, content), crc=crc)
    except _DAMAGED:
        return now._replace(whole=0, lookup=None)
    return now


def _octets(path: str, start: int = 0) -> tuple[bytes, Stamp] | None:
    try:
        found = read_file(path, _LONGEST, start=start, own=True)
    except (OSError, PermanentFailure):
        return None
    return None if found is None else (found[0], _stamp(found[1]))


def _first(octets: memoryview, before: int) -> tuple[memoryview, memoryview, int]:
    """Cut off the first part; returns it, the rest, and its CRC.

    Args:
        octets: of some parts.
        before: the CRC of the part before, so that what was added to one index is never read as an addition to another.

    Raises:
        ValueError: it is damaged.
    """
    if len(octets) < _HEAD.size:
        raise ValueError
    crc, length = _HEAD.unpack_from(octets)
    end = _HEAD.size + length
    part = octets[_HEAD.size : end]
    if len(part) != length or zlib.crc32(part, before) != crc:
        raise ValueError
    return part, octets[end:], crc


def _understood(part: memoryview) -> tuple[_Content, list[Stored]]:
    """Return what a part says, and its messages.

    Raises:
        ValueError, msgspec.MsgspecError: it makes no sense.
    """
    content = _decoder.decode(part)
    messages: list[Stored] = []
    with without_collection():
        for block in content.blocks:  # a loop of the interpreter's, which lets others have their turn
            messages += _block_decoder.decode(block)
    for one in messages:
        for path in one.paths or ("",):
            # A message of this Maildir; names may be percent-encoded, and lead there, too.
            if path[:4] not in _BEGINNINGS or path.find("/", 4) >= 0:
                raise ValueError
    if content.quoted:
        messages = [one._replace(paths=tuple(map(_unquoted, one.paths))) for one in messages]
        content = content._replace(gone=tuple((order, _unquoted(base), inode) for order, base, inode in content.gone))
    return content, messages


def _stamped(snapshot: Snapshot, content: _Content) -> Snapshot:
    return snapshot._replace(scanned=content.scanned, new=content.new, cur=content.cur, ids=content.ids)


# -- writing ----------------------------------------------------------------------------------------


def add(path: str, known: Indexed, change: Change, snapshot: Snapshot) -> Indexed:
    """Let the index say what a snapshot says, by adding to it or by replacing it.

    Args:
        path: of the index.
        known: what it says, as far as that is known.
        change: from there to the snapshot.
        snapshot: what it is to say.

    Raises:
        OSError, OverflowError: see `write`.
    """
    if known.stamp is not None and known.whole and len(change.come) + len(change.gone) <= _BLOCK:
        octets, crc = _part(snapshot, change.come, change.gone, before=known.crc)
        room = max(2 * known.whole, known.whole + _FEW) - known.stamp[2]
        now = _append(path, known.stamp, octets) if len(octets) <= room else None
        if now is not None:
            return Indexed(snapshot, now, known.whole, crc)
    return write(path, snapshot)


def _append(path: str, known: Stamp, octets: bytes) -> Stamp | None:
    """Add to the file that had that stamp; None: it is another one, or somebody else's, or there is no room."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        status = os.fstat(descriptor)
        if _stamp(status) != known or status.st_nlink != 1:
            return None
        try:
            write_all(descriptor, octets, status.st_size)
        except OSError:
            os.ftruncate(descriptor, status.st_size)
            return None
        return _stamp(os.fstat(descriptor))
    finally:
        os.close(descriptor)


def write(path: str, snapshot: Snapshot) -> Indexed:
    """Replace the index.

    Raises:
        OSError: the old one is still there.
        OverflowError: so it is, because somebody has given a file a time or a size that cannot be.
    """
    part, crc = _part(snapshot, snapshot.messages)
    octets = _MAGIC + part
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
    return Indexed(snapshot, _stamp(status), len(octets), crc)


def _part(
    snapshot: Snapshot, messages: Iterable[Stored], gone: Iterable[Stored] = (), before: int = 0
) -> tuple[bytes, int]:
    """Return a part of the file, and its CRC; names that are not UTF-8 are percent-encoded, with all others."""
    messages = tuple(messages)
    places = tuple(one.place for one in gone)
    try:
        content = _encoded(snapshot, messages, places)
    except UnicodeEncodeError:
        messages = tuple(one._replace(paths=tuple(map(_quoted, one.paths))) for one in messages)
        places = tuple((order, _quoted(base), inode) for order, base, inode in places)
        content = _encoded(snapshot, messages, places, quoted=True)
    crc = zlib.crc32(content, before)
    return _HEAD.pack(crc, len(content)) + content, crc


def _encoded(
    snapshot: Snapshot, messages: tuple[Stored, ...], gone: tuple[Place, ...], *, quoted: bool = False
) -> bytes:
    starts = range(0, len(messages), _BLOCK)
    blocks = tuple(msgspec.Raw(_encoder.encode(messages[start : start + _BLOCK])) for start in starts)
    stamps = snapshot.scanned, snapshot.new, snapshot.cur, snapshot.ids
    return _encoder.encode(_Content(blocks, *stamps, quoted, gone))


def _quoted(path: str) -> str:
    return quote_from_bytes(os.fsencode(path), safe="/")


def _unquoted(path: str) -> str:
    return os.fsdecode(unquote_to_bytes(path))


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
