"""What is wrong with a mailbox, for ``restante check``; looks, and changes nothing."""

import os
import stat
from collections.abc import Iterator

from restante.errors import Condition
from restante.stores.mbox.locks import close_mailbox, is_stale, open_mailbox
from restante.stores.mbox.mailbox import Mailbox, anew
from restante.stores.mbox.scan import read_exactly


def problems(mailbox: Mailbox) -> Iterator[str]:
    """Say what is wrong with a mailbox, a line each, path first.

    Raises:
        OSError: it cannot be looked at.
    """
    lock = f"{mailbox.path}.lock"
    if os.path.lexists(lock) and is_stale(lock):
        yield f"{lock}: left over by a program that has died; it may be removed"
    try:
        descriptor = open_mailbox(mailbox.path, os.O_RDWR)
    except OSError as error:
        yield f"{mailbox.path}: cannot be opened: {error.strerror}"
        return
    except Condition as error:
        yield str(error)
        return
    if descriptor is not None:
        try:
            yield from _problems_of(mailbox, descriptor)
        finally:
            close_mailbox(mailbox.path, descriptor)
    if mailbox.side.exists():
        yield from _problems_beside(mailbox)


def _problems_of(mailbox: Mailbox, descriptor: int) -> Iterator[str]:
    status = os.fstat(descriptor)
    if status.st_mode & stat.S_IWOTH or status.st_mode & stat.S_IROTH:
        yield f"{mailbox.path}: mode {status.st_mode & 0o777:o} lets everybody in; right are 600 and 660"
    before = mailbox.known()
    try:
        now = anew(mailbox.path, descriptor, before, mailbox.kind)
    except Condition as error:
        yield str(error)
        return
    except OSError as error:
        yield f"{mailbox.path}: cannot be read: {error.strerror}"
        return
    for entry in now.entries[:1]:
        if read_exactly(descriptor, entry.body, 0).endswith(b"\r\n"):
            yield f"{mailbox.path}: lines end in CRLF; other programs expect LF"
    if before is not None and before.state == now.state and before.kind == now.kind and before.entries != now.entries:
        yield f"{mailbox.side.path('index')}: is not what the mailbox holds; it may be removed"


def _problems_beside(mailbox: Mailbox) -> Iterator[str]:
    if mailbox.side.read("index") and mailbox.known() is None:
        yield f"{mailbox.side.path('index')}: is damaged; it may be removed"
    if os.path.exists(mailbox.side.path("journal")):
        yield f"{mailbox.side.path('journal')}: a removal was interrupted; the next login finishes it"
    prefix = os.path.basename(mailbox.side.path(""))
    for name in sorted(os.listdir(mailbox.side.folder)):
        if name.startswith((f"{prefix}rescued-", f"{prefix}damaged")):
            yield f"{os.path.join(mailbox.side.folder, name)}: mail of a mailbox that was changed amid a removal"
