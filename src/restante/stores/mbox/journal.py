"""Removing messages in place, so that a crash at any moment loses and doubles nothing (M-024, P-140).

A mailbox is not replaced by a copy: programs that open it first and then wait for its lock would append to the file
that has just been removed, and their mail would be lost (decision 0017).  Instead all that stays behind the first
removed message is written to the file ``journal`` among ours.  Once that is durable the removal is decided, and is
carried out:

1. a mark is written where the mailbox will end, which tells later that the rest is still to be cut off
2. what stays is written to its place
3. the rest is cut off

Each step is durable before the next.  Who locks the mailbox next and finds the journal carries it out again.
"""

import hashlib
import json
import logging
import os
import secrets
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple

from restante.stores.files import write_all
from restante.stores.mbox.index import Index, State, unpack
from restante.stores.mbox.scan import pieces, read_exactly
from restante.stores.mbox.side import Side

log = logging.getLogger("restante.store")

MARK = 16
"""Octets of the mark; every message is longer, for the sake of its From_ line."""
WITNESS = 4096
"""Octets of the mailbox that tell whether it is still the one that was to be changed."""

_MAGIC = b"restante mbox journal 1\n"
_HASH = 32


class Plan(NamedTuple):
    """A removal that is decided; places are octets from the start of the mailbox."""

    inode: int
    """Of the mailbox."""
    start: int
    """Where the first removed message begins: nothing changes before."""
    old: int
    """Where the mailbox ended."""
    new: int
    """Where it will end; from `start` to here the octets are in the journal."""
    before: str
    """Hash of what stands right before `start`."""
    after: str
    """Hash of what stood right before `old`, the mark left out."""
    mark: str
    """The mark."""


class Recovered(NamedTuple):
    """There was a journal."""

    contents: Index | None
    """What is in the mailbox now; None: look."""


class _Journal(NamedTuple):
    """An open journal that is whole."""

    descriptor: int
    plan: Plan
    packed: bytes
    """The index as it will be."""
    content: int
    """Where the octets for the mailbox begin."""

    def octets(self) -> Iterator[bytes]:
        """What stays behind the first removed message."""
        return pieces(self.descriptor, self.content, self.content + self.plan.new - self.plan.start)


def remove(side: Side, descriptor: int, keep: list[tuple[int, int]], start: int, index: Index) -> None:
    """Remove what stands in a locked mailbox from `start` on, but for some parts.

    Args:
        side: our files; `recover` or `Side.remove` takes the journal away.
        descriptor: of the mailbox.
        keep: the parts that stay, in order.
        start: where a message begins.
        index: of the mailbox as it will be.

    Raises:
        OSError: it is not done, or not for certain; if it was decided, `recover` does it.
    """
    status = os.fstat(descriptor)
    new = start + sum(end - begin for begin, end in keep)
    plan = _plan(descriptor, status.st_ino, start, status.st_size, new)
    _decide(side, plan, index.pack(), chain.from_iterable(pieces(descriptor, *part) for part in keep))
    _carry_out(side, descriptor)


def recover(path: str, side: Side, descriptor: int) -> Recovered | None:
    """Finish a removal whose process died; None when there was none.  The journal stays.

    Raises:
        OSError: it could not be finished.
    """
    found = _open(side)
    if found is None:
        return None
    try:
        plan = found.plan
        status = os.fstat(descriptor)
        size = status.st_size
        is_ours = status.st_ino == plan.inode and size >= plan.new and _witness(descriptor, plan.start) == plan.before
        is_written = is_ours and all(_matches(descriptor, plan.start, found.octets()))
        is_old = is_ours and size >= plan.old and _witness(descriptor, plan.old, plan.new + MARK) == plan.after
        is_marked = is_old and read_exactly(descriptor, MARK, plan.new).hex() == plan.mark
        if is_old and (is_marked or not is_written):
            log.warning("%s: a removal that was interrupted is finished", path)
            if size > plan.old:  # mail has come since: it stays as well
                new = plan.new + size - plan.old
                more = chain(found.octets(), pieces(descriptor, plan.old, size))
                _decide(side, _plan(descriptor, plan.inode, plan.start, size, new), found.packed, more)
            _carry_out(side, descriptor)
        elif not is_written:
            _rescue(path, side, found)
            return Recovered(None)
        elif is_old:  # it had not begun, and is forgotten; or it is done, and as much mail has come as had gone
            return Recovered(None)
        index = unpack(found.packed)
    finally:
        os.close(found.descriptor)
    if index is not None:
        now = State.of(descriptor)
        index = index._replace(state=State(now.inode, min(plan.new, now.size), now.modified, now.changed))
    return Recovered(index)


def _plan(descriptor: int, inode: int, start: int, old: int, new: int) -> Plan:
    before, after = _witness(descriptor, start), _witness(descriptor, old, new + MARK)
    return Plan(inode, start, old, new, before, after, secrets.token_hex(MARK))


def _witness(descriptor: int, end: int, start: int = 0) -> str:
    start = max(start, end - WITNESS, 0)
    return hashlib.sha256(read_exactly(descriptor, max(end - start, 0), start)).hexdigest()


def _matches(descriptor: int, at: int, octets: Iterable[bytes]) -> Iterator[bool]:
    for piece in octets:
        yield read_exactly(descriptor, len(piece), at) == piece
        at += len(piece)


def _decide(side: Side, plan: Plan, index: bytes, octets: Iterable[bytes]) -> None:
    head = _MAGIC + json.dumps({"plan": plan, "index": len(index)}).encode() + b"\n" + index
    digest = hashlib.sha256()
    descriptor = side.begin("journal")
    try:
        at = 0
        for piece in chain([head], octets):
            digest.update(piece)
            at = write_all(descriptor, piece, at)
        write_all(descriptor, digest.digest(), at)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    side.publish("journal")


def _carry_out(side: Side, descriptor: int) -> None:
    found = _open(side)
    if found is None:
        raise OSError(f"{side.path('journal')} has gone")
    try:
        plan = found.plan
        if plan.new > plan.start:
            write_all(descriptor, bytes.fromhex(plan.mark), plan.new)
            os.fsync(descriptor)
            at = plan.start
            for piece in found.octets():
                at = write_all(descriptor, piece, at)
            os.fsync(descriptor)
        os.ftruncate(descriptor, plan.new)
        os.fsync(descriptor)
    finally:
        os.close(found.descriptor)


def _open(side: Side) -> _Journal | None:
    """Open the journal if there is one; one that the disk has damaged is put aside."""
    descriptor = side.open("journal")
    if descriptor is None:
        return None
    try:
        size = os.fstat(descriptor).st_size - _HASH
        digest = hashlib.sha256()
        for piece in pieces(descriptor, 0, max(size, 0)):
            digest.update(piece)
        if size > 0 and os.pread(descriptor, _HASH, size) == digest.digest():
            head = os.pread(descriptor, 4096, len(_MAGIC)).partition(b"\n")[0]
            values = json.loads(head)
            start = len(_MAGIC) + len(head) + 1
            index = read_exactly(descriptor, values["index"], start)
            return _Journal(descriptor, Plan(*values["plan"]), index, start + len(index))
        log.error("%s is damaged, and is put aside as .damaged", side.path("journal"))
        os.rename(side.path("journal"), side.path("damaged"))
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _rescue(path: str, side: Side, found: _Journal) -> None:
    """Another program has changed the mailbox amid a removal: what was to stay is kept for a person to look at."""
    descriptor = side.begin("rescued")
    try:
        at = 0
        for piece in found.octets():
            at = write_all(descriptor, piece, at)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    name = f"rescued-{secrets.token_hex(4)}"
    os.rename(side.path("rescued-new"), side.path(name))
    log.error("%s was changed amid an interrupted removal: what it held is also in %s", path, side.path(name))
