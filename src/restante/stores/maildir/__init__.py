"""Maildirs that Postfix, procmail, mutt and Dovecot can share with us (maildir(5))."""

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import asynccontextmanager

from restante.auth import Principal
from restante.errors import (
    Condition,
    MaildropInUse,
    PermanentFailure,
    QuotaExceeded,
    TemporaryFailure,
    UpdateIncomplete,
)
from restante.maildrop import Deleted, Delivery, Maildrop
from restante.stores.files import PathTemplate, check_space, in_delivery_thread, in_thread
from restante.stores.flushing import Durability
from restante.stores.maildir import deleted, inspection, together, tracing
from restante.stores.maildir.delivery import Incoming
from restante.stores.maildir.disks import Disk, Disks
from restante.stores.maildir.folder import Folder
from restante.stores.maildir.held import Held, HeldDelivery
from restante.stores.maildir.listing import scan
from restante.stores.maildir.names import NameGenerator
from restante.stores.maildir.prompt import open_known
from restante.stores.maildir.quota import Limits, Quota
from restante.stores.maildir.records import Memory, Snapshot
from restante.stores.maildir.removal import remove
from restante.stores.maildir.seen import Seen
from restante.stores.maildir.session import MaildirMaildrop

log = logging.getLogger("restante.store")

_HEADER = 8192


class MaildirStore:
    """A `MaildropStore` of one Maildir for each user.

    Args:
        path: where the Maildir of a user is; ``{user}``, ``{local}`` and ``{domain}`` stand for the whole
            name and its parts.  The part of the path before the first of them must exist: that it is
            missing means a file system is not mounted, not that everybody's maildrop is empty.
        undo: how long a deleted message can be brought back, in seconds; 0 removes it at once.
        hostname: part of the names of delivered messages; default: the machine's name.
        login_delay: seconds between two logins to one maildrop (RFC 2449 section 6.5).
        expire: days after which messages go, at the next login; 0 and None: they stay (RFC 2449 section 6.7).
        quota: what may be in a maildrop; None: what its own ``maildirsize`` says (M-016).
        must_exist: a file without which no maildrop is what it seems, because the file system that holds it is not
            mounted; ``""``: none.
        durability: how deliveries become durable; None: each has flushes of its own.
    """

    def __init__(  # noqa: PLR0913  (one for each key of the table [store])
        self,
        path: str,
        undo: float = 7 * 86400,
        hostname: str = "",
        *,
        login_delay: float = 0,
        expire: int | None = None,
        quota: Limits | None = None,
        must_exist: str = "",
        durability: Durability | None = None,
    ) -> None:
        self._login_delay = login_delay
        self._expire = expire
        self._template = PathTemplate(path, must_exist)
        self._undo = undo
        self._names = NameGenerator(hostname or socket.gethostname())
        self._quota = quota
        self._durability = durability
        self._memory = Memory()
        self._seen = Seen()
        self._disks = Disks()
        self.held = Held()
        """What deliveries hold in memory."""

    async def open(self, principal: Principal) -> Maildrop:
        """See `MaildropStore.open`."""
        opened = self.open_now(principal)
        return await in_thread(self._open, self.folder(principal.user)) if opened is None else opened

    def open_now(self, principal: Principal) -> Maildrop | None:
        """See `PromptStore.open_now`."""
        folder = self.folder(principal.user)
        opened = None if self._login_delay or self._expire else open_known(folder, self._memory, self._disks)
        if opened is None:
            return None
        if opened.snapshot is not opened.known and opened.snapshot.messages:
            self._seen.add(folder.path)
        return self._maildrop(folder, opened.known, opened.snapshot, opened.lock, opened.disk)

    @asynccontextmanager
    async def deliver(self, user: str) -> AsyncIterator[HeldDelivery]:
        """See `MaildropStore.deliver`."""
        folder = self.folder(user)
        base = self._names.next()  # now: threads finish in any order, and names sort in the order of arrival
        delivery = HeldDelivery(lambda: self.begin_delivery(folder, base), self.held)
        try:
            yield delivery
        finally:
            await delivery.close()

    # -- add-ons ------------------------------------------------------------------------------------

    async def check_room(self, user: str, octets: int) -> None:
        """See `Roomy.check_room`."""
        await in_delivery_thread(self._check_room, self.folder(user), octets)

    async def holds(self, user: str) -> bool:
        """See `Roomy.holds`."""
        return await in_delivery_thread(self._holds, self.folder(user))

    async def prepare_together(self, deliveries: Sequence[Delivery]) -> Sequence[Condition | None]:
        """See `Traceable.prepare_together`."""
        return await together.prepare(deliveries)

    async def commit_together(self, deliveries: Sequence[Delivery]) -> Sequence[Condition | None]:
        """See `Traceable.commit_together`."""
        return await together.commit(deliveries)

    async def settle(self, user: str, receipt: str) -> bool:
        """See `Traceable.settle`."""
        return await in_delivery_thread(self._settle, self.folder(user), receipt)

    async def inspect(self, user: str) -> Sequence[str]:
        """Say what is wrong with a user's maildrop, a line each; nothing for one that does not exist yet.

        Raises:
            NoSuchMaildrop, TemporaryFailure, PermanentFailure: it cannot be looked at.
        """
        return await in_thread(self._problems, self.folder(user))

    async def repair(self, user: str) -> Sequence[str]:
        """See `Repairable.repair`."""
        return await in_thread(self._repair, self.folder(user))

    async def deleted(self, user: str) -> Sequence[Deleted]:
        """See `Restorable.deleted`."""
        return await in_thread(self._deleted, self.folder(user))

    async def restore(self, user: str, unique_ids: Collection[str]) -> Sequence[str]:
        """See `Restorable.restore`."""
        return await in_thread(self._restore, self.folder(user), unique_ids)

    async def keep_house(self) -> None:
        """See `Housekept.keep_house`: deleted messages and unfinished deliveries whose time is over go."""
        self._template.check_mounted()
        steps = self._purging()
        began = time.monotonic()
        while await in_thread(next, steps, None) is not None:
            await asyncio.sleep(time.monotonic() - began)  # sessions come first: half of the time at most
            began = time.monotonic()

    def _purging(self) -> Iterator[str]:
        """Go through all Maildirs that we have been in; gives a name whenever it can pause."""
        for path in self._template.existing():
            folder = Folder(path)
            if os.path.isdir(folder.ours()):
                yield from self._purged(folder)
                yield path

    def _purged(self, folder: Folder) -> Iterator[str]:
        try:
            folder.check_links()
            yield from deleted.purge(folder, self._undo)
            deleted.forget_ids(folder)
        except MaildropInUse:  # there is no hurry
            return
        except (OSError, PermanentFailure) as error:
            log.warning("purging failed: %s", error)
        except Exception:  # of one maildrop: the others have their turn
            log.exception("purging %s failed", folder.path)

    def folder(self, user: str) -> Folder:
        """Return the Maildir of a user, which need not exist.

        Raises:
            NoSuchMaildrop: the name does not fit into a path (P-291).
        """
        return Folder(self._template.path(user))

    def _open(self, folder: Folder) -> Maildrop:
        self._make(folder)
        lock = folder.lock()
        try:
            disk = self._disks.learn(folder, lock)
            if self._login_delay:
                folder.check_delay(self._login_delay)
            snapshot = scan(folder, self._memory)
            if self._expire:
                # Before the session sees anything: what it is shown stays to its end (P-143).
                snapshot = self._without_expired(folder, snapshot, self._expire)
            if self._login_delay:
                folder.note_login()
            if snapshot.messages:
                self._seen.add(folder.path)
        except BaseException:
            os.close(lock)  # P-043: released before the reply
            raise
        _ = snapshot.listing.octets, snapshot.listing.ascii  # worked out here, where nobody waits for it
        return self._maildrop(folder, snapshot, snapshot, lock, disk)

    def _maildrop(self, folder: Folder, known: Snapshot, snapshot: Snapshot, lock: int, disk: Disk | None) -> Maildrop:
        return MaildirMaildrop(
            folder,
            self._memory,
            known,
            snapshot,
            lock,
            self._quota,
            keep=self._undo > 0,
            disk=disk,
        )

    def _without_expired(self, folder: Folder, snapshot: Snapshot, days: int) -> Snapshot:
        expired = folder.expired(snapshot.messages, days)
        if not expired:
            return snapshot
        try:
            removed = remove(folder, expired, snapshot.messages, keep=self._undo > 0)
        except UpdateIncomplete as error:  # that must keep nobody from the mail
            log.warning("expired messages not removed: %s", error)
        else:
            Quota(folder, self._quota).note_names([(stored.path, stored.size) for stored in removed], -1)
        return scan(folder, self._memory)

    def _settle(self, folder: Folder, receipt: str) -> bool:
        self._template.check_mounted()
        folder.check_links()
        return tracing.settle(folder, receipt)

    def _problems(self, folder: Folder) -> list[str]:
        self._template.check_mounted()
        folder.check_links()
        try:
            os.lstat(folder.path)
        except FileNotFoundError:  # but a folder above it that is closed is a problem
            return []
        return list(inspection.problems(folder))

    def _repair(self, folder: Folder) -> list[str]:
        self._template.check_mounted()
        folder.check_links()
        return list(inspection.repaired(folder, self._quota)) if os.path.isdir(folder.path) else []

    def _deleted(self, folder: Folder) -> list[Deleted]:
        self._template.check_mounted()
        folder.check_links()
        found = []
        for one in deleted.kept(folder):
            header = b""
            with contextlib.suppress(OSError, TemporaryFailure):  # listed all the same
                file, _ = folder.open(os.path.relpath(one.path, folder.path))
                with file:
                    header = file.read(_HEADER)
            found.append(Deleted(one.unique_id, one.status.st_size, one.status.st_ctime, header))
        return found

    def _restore(self, folder: Folder, unique_ids: Collection[str]) -> list[str]:
        self._template.check_mounted()
        folder.check_links()
        if not os.path.isdir(folder.ours("deleted")):
            return []
        lock = folder.lock()
        try:
            back = deleted.restore(folder, unique_ids)
            Quota(folder, self._quota).note_names([(one.targets[0], one.status.st_size) for one in back])
            return [one.unique_id for one in back]
        finally:
            os.close(lock)

    def _make(self, folder: Folder) -> None:
        self._template.check_mounted()
        folder.create(had_mail=folder.path in self._seen)

    def begin_delivery(self, folder: Folder, base: str) -> Incoming:
        """Begin a delivery; blocks.

        Raises:
            OSError, TemporaryFailure, PermanentFailure: it cannot begin.
        """
        self._make(folder)
        return Incoming(folder, base, Quota(folder, self._quota), self._durability)

    def _check_room(self, folder: Folder, octets: int) -> None:
        self._template.check_mounted()
        check_space(folder.path, octets)
        if os.path.isdir(folder.join("tmp")):  # any program may have made it
            Quota(folder, self._quota).check(octets)
        elif self._quota is not None and not self._quota.allow(octets, 1):
            raise QuotaExceeded(f"{folder.path}: a message of {octets} octets alone is more than the quota")

    def _holds(self, folder: Folder) -> bool:
        self._template.check_mounted()
        return os.path.isdir(folder.path)
