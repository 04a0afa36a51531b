"""One mailbox: what is in it, and what was known of it before.  Everything here blocks.

What changes the file or reads all of it is called with its lock held (`Mailbox.locked`).
"""

import logging
import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from restante.errors import PermanentFailure, TemporaryFailure
from restante.stores.files import sync_directory
from restante.stores.mbox import appending, journal, locks
from restante.stores.mbox.format import Format
from restante.stores.mbox.index import NOWHERE, Index, State, retired, unpack, with_copies
from restante.stores.mbox.scan import scan
from restante.stores.mbox.side import Side
from restante.stores.mbox.slices import is_there

log = logging.getLogger("restante.store")


class Mailbox(NamedTuple):
    """A mailbox and our files about it."""

    path: str
    """Of the mailbox, which need not exist."""
    side: Side
    kind: Format
    dotlock: bool
    """Whether programs here use dot-locks."""
    owner: str
    """The user that mail is for."""

    @contextmanager
    def locked(self, *, create: bool = False) -> Iterator[int | None]:
        """Hold its lock; gives a descriptor, None where there is no mailbox (and none is made).

        Raises:
            Busy: another program has it.
            PermanentFailure: what is there is no mailbox of this user.
            OSError: it cannot be opened.
        """
        with locks.locked(self.path, dotlock=self.dotlock, create=self._create if create else None) as descriptor:
            if descriptor is not None:
                self._check_owner(descriptor)
            yield descriptor

    def _create(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self.path, flags, 0o600)
        account = self._account()
        if account is not None:
            os.fchown(descriptor, account.pw_uid, -1)
        sync_directory(os.path.dirname(self.path) or ".")
        return descriptor

    def _account(self) -> pwd.struct_passwd | None:
        """Whose the file must be: only root can give it to somebody, and only root has to mind whose it is."""
        if os.geteuid() == 0:
            try:
                return pwd.getpwnam(self.owner)
            except (KeyError, ValueError):
                pass
        return None

    def _check_owner(self, descriptor: int) -> None:
        account = self._account()
        if account is not None and os.fstat(descriptor).st_uid not in (account.pw_uid, 0):
            raise PermanentFailure(f"{self.path}: must belong to {self.owner}, for whom it is")

    # -- what is in it ------------------------------------------------------------------------------

    def refresh(self, descriptor: int | None) -> Index:
        """Find out what is in the mailbox, and keep it; ids are durable when this returns (P-129).

        Args:
            descriptor: of the locked mailbox; None: there is none.

        Raises:
            TemporaryFailure: ids cannot be kept, or the mailbox is out of reach.
            PermanentFailure: it is no mailbox.
            OSError: it cannot be read.
        """
        before = self.known()
        is_finished = False
        if descriptor is None:
            now = self._without_file(before)
        else:
            recovered = self.recover(descriptor)
            is_finished = recovered is not None
            now = self._listed(descriptor, before, recovered.contents if recovered else None)
        device = os.stat(os.path.dirname(self.path) or ".").st_dev
        now = now._replace(device=device)
        if now != before:
            self.keep(now)
        if is_finished:
            self.side.remove("journal")
        return now

    def known(self) -> Index | None:
        """Return what was known when the mailbox was last looked at.

        Raises:
            OSError: the index is there and cannot be read.
        """
        return unpack(self.side.read("index"))

    def keep(self, index: Index) -> None:
        """Write the index; ids that would be made again may also be shown without it.

        Raises:
            TemporaryFailure: some ids would be lost.
        """
        try:
            self.side.replace("index", index.pack())
        except OSError as error:
            if not index.is_derivable:
                raise TemporaryFailure(f"ids of {self.path} cannot be kept: {error}") from error
            log.warning("%s: the index cannot be kept: %s", self.path, error)

    def forget(self) -> None:
        """Let the next session measure all messages anew; their ids stay."""
        index = self.known()
        if index is not None:
            self.side.replace("index", index._replace(state=NOWHERE).pack())

    def recover(self, descriptor: int) -> journal.Recovered | None:
        """Finish what a process of ours has begun that died; returns what there was to finish at a removal.

        Raises:
            OSError: it could not be finished.
        """
        appending.recover(self.side, descriptor)
        return journal.recover(self.path, self.side, descriptor)

    def _listed(self, descriptor: int, before: Index | None, planned: Index | None) -> Index:
        for index in (planned, before):
            now = grown(descriptor, index, self.kind) if index is not None else None
            if now is not None:
                return now
        return anew(self.path, descriptor, before, self.kind)

    def _without_file(self, before: Index | None) -> Index:
        """Programs remove a mailbox that is empty; that it is only out of reach must not look the same."""
        if before is None:
            return Index(NOWHERE, self.kind, (), {})
        if before.entries and before.device != os.stat(os.path.dirname(self.path) or ".").st_dev:
            raise TemporaryFailure(f"{self.path} is missing, and its folder is on another file system than before")
        return Index(NOWHERE, self.kind, (), retired(numbers(before), ()))


def grown(descriptor: int, before: Index, kind: Format) -> Index | None:
    """Return what is in a mailbox if nothing but appending has happened to it, else None (M-023).

    Every From_ line must be where it was.  The last message is measured again: who appends to a file without a
    blank line at its end appends to that message.

    Raises:
        OSError: it cannot be read.
    """
    state = State.of(descriptor)
    if kind != before.kind:
        return None
    if before.settled and state == before.state:
        return before
    if state.inode != before.state.inode or state.size < before.state.size:
        return None
    if state.size == before.state.size and state != before.state:
        return None  # something was written, and not at the end
    if not all(is_there(descriptor, entry) for entry in before.entries):
        return None
    last = before.entries[-1:]
    highest = numbers(before)
    found = scan(descriptor, last[0].start if last else 0, state.size, kind)
    entries = (*before.entries[:-1], *with_copies(list(found), last, highest))
    return Index(state, kind, entries, retired(highest, entries), state.is_quiet(), before.device)


def anew(path: str, descriptor: int, before: Index | None, kind: Format) -> Index:
    """Read the whole mailbox; messages that were there keep their ids.

    Raises:
        PermanentFailure: it is no mailbox.
        OSError: it cannot be read.
    """
    state = State.of(descriptor)
    highest = numbers(before) if before else {}
    try:
        found = list(scan(descriptor, 0, state.size, kind))
    except PermanentFailure as error:
        raise PermanentFailure(f"{path}: {error}") from None
    entries = tuple(with_copies(found, before.entries if before else (), highest))
    return Index(state, kind, entries, retired(highest, entries), state.is_quiet())


def numbers(index: Index) -> dict[bytes, int]:
    """Return the highest number that has been given to a copy of each message."""
    highest = dict(index.retired)
    for entry in index.entries:
        highest[entry.identity] = max(entry.copy, highest.get(entry.identity, 0))
    return highest
