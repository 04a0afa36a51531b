"""The UPDATE state: which parts of a mailbox go, and what is known of it then.  Everything here blocks."""

import contextlib
import logging
import os
from collections.abc import Collection

from restante.errors import Condition, UpdateIncomplete
from restante.stores.mbox import journal
from restante.stores.mbox.index import Index, State, retired
from restante.stores.mbox.mailbox import Mailbox, grown, numbers

log = logging.getLogger("restante.store")


def remove(mailbox: Mailbox, descriptor: int | None, listed: Index, marked: Collection[int]) -> None:
    """Remove messages durably; what was appended since they were listed stays (P-136).

    Args:
        mailbox: which is locked.
        descriptor: of it; None: there is none any more, so that all messages have gone (P-145).
        listed: the mailbox as it was listed.
        marked: places in ``listed.entries`` of the messages to remove.

    Raises:
        UpdateIncomplete: another program has done more to the mailbox than append: nothing was removed (M-023).
        OSError: they are not removed, or not for certain.
    """
    if descriptor is None or not os.fstat(descriptor).st_size:
        return
    mailbox.recover(descriptor)
    now = grown(descriptor, listed, mailbox.kind)
    if now is None or [_what(entry) for entry in now.entries[: len(listed.entries)]] != [
        _what(entry) for entry in listed.entries
    ]:
        raise UpdateIncomplete(f"{mailbox.path} was rewritten by another program during the session")
    status = os.fstat(descriptor)
    planned, keep = _without(now, marked, status.st_size)
    journal.remove(mailbox.side, descriptor, keep, now.entries[min(marked)].start, planned)
    # Removing is no arrival of mail, which is what programs take a new time of change for.
    with contextlib.suppress(PermissionError):
        os.utime(descriptor, ns=(status.st_atime_ns, status.st_mtime_ns))
    try:
        mailbox.keep(planned._replace(state=State.of(descriptor)))
        mailbox.side.remove("journal")
    except (OSError, Condition) as error:  # the messages are gone; the next session finds the journal
        log.warning("%s: the index is not up to date: %s", mailbox.path, error)


def _what(entry: tuple[object, ...]) -> tuple[object, ...]:
    """What a message keeps when the line end is added that its last line lacked."""
    start, body, _, octets, surrogate, check, identity, copy, *_ = entry
    return start, body, octets, surrogate, check, identity, copy


def _without(now: Index, marked: Collection[int], size: int) -> tuple[Index, list[tuple[int, int]]]:
    """Return the index without some messages, and the parts of the file that stay behind the first of them."""
    entries, keep = [], []
    gone = 0
    stops = [entry.start for entry in now.entries[1:]] + [size]
    for place, (entry, stop) in enumerate(zip(now.entries, stops, strict=True)):
        if place in marked:
            gone += stop - entry.start
            continue
        moved = entry._replace(start=entry.start - gone, body=entry.body - gone, end=entry.end - gone)
        entries.append(moved)
        if gone:
            keep.append((entry.start, stop))
    state = State(now.state.inode, size - gone, 0, 0)
    return Index(state, now.kind, tuple(entries), retired(numbers(now), entries), device=now.device), keep
