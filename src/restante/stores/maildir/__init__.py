"""Maildirs that Postfix, procmail, mutt and Dovecot can share with us (maildir(5))."""

import asyncio
import logging
import os
import re
import socket
import time
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import asynccontextmanager

from restante.auth import Principal
from restante.errors import MaildropInUse, NoSuchMaildrop, PermanentFailure, TemporaryFailure, UpdateIncomplete
from restante.maildrop import Deleted, Maildrop
from restante.stores.maildir import deleted, inspection
from restante.stores.maildir.delivery import Incoming
from restante.stores.maildir.folder import OURS, Folder
from restante.stores.maildir.listing import scan
from restante.stores.maildir.names import NameGenerator
from restante.stores.maildir.quota import Limits, Quota
from restante.stores.maildir.records import Memory, Snapshot
from restante.stores.maildir.removal import remove
from restante.stores.maildir.seen import Seen
from restante.stores.maildir.session import MaildirMaildrop
from restante.stores.maildir.system import in_thread

log = logging.getLogger("restante.store")

_PLACEHOLDER = re.compile(r"\{(user|local|domain)\}")
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
    ) -> None:
        self._login_delay = login_delay
        self._expire = expire
        self._path = path
        self._undo = undo
        self._names = NameGenerator(hostname or socket.gethostname())
        self._quota = quota
        self._must_exist = must_exist
        self._memory = Memory()
        self._seen = Seen()

    async def open(self, principal: Principal) -> Maildrop:
        """See `MaildropStore.open`."""
        return await in_thread(self._open, principal.user)

    @asynccontextmanager
    async def deliver(self, user: str) -> AsyncIterator["_MaildirDelivery"]:
        """See `MaildropStore.deliver`."""
        incoming = await in_thread(self._begin_delivery, user)
        try:
            yield _MaildirDelivery(incoming)
        finally:
            await in_thread(incoming.discard)

    # -- add-ons ------------------------------------------------------------------------------------

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
        self._check_mounted()
        for path in self._maildirs():
            steps = self._purged(Folder(path))
            began = time.monotonic()
            while await in_thread(next, steps, None) is not None:
                await asyncio.sleep(time.monotonic() - began)  # sessions come first: half of the time at most
                began = time.monotonic()
            await asyncio.sleep(0)

    def _purged(self, folder: Folder) -> Iterator[str]:
        try:
            yield from deleted.purge(folder, self._undo)
            deleted.forget_ids(folder)
        except MaildropInUse:  # there is no hurry
            return
        except (OSError, PermanentFailure) as error:
            log.warning("purging failed: %s", error)

    def _maildirs(self) -> Iterator[str]:
        """Give the Maildirs of all users, as far as we have been in them, one at a time."""
        parts = self._path.split(os.sep)
        first = next(number for number, part in enumerate(parts) if _PLACEHOLDER.search(part))
        root = os.sep if self._path.startswith(os.sep) else os.curdir
        return _matching(os.path.join(root, *parts[:first]), parts[first:])

    def folder(self, user: str) -> Folder:
        """Return the Maildir of a user, which need not exist.

        Raises:
            NoSuchMaildrop: the name does not fit into a path (P-291).
        """
        local, _, domain = user.rpartition("@") if "@" in user else (user, "", "")
        parts = {"user": user, "local": local, "domain": domain}
        for name in _PLACEHOLDER.findall(self._path):
            value = parts[name]
            if not value or value.startswith(".") or "/" in value or "\0" in value:
                raise NoSuchMaildrop(f"{user!r} gives no folder name for {{{name}}}")
        return Folder(_PLACEHOLDER.sub(lambda match: parts[match[1]], self._path))

    def _open(self, user: str) -> Maildrop:
        folder = self._existing(user)
        lock = folder.lock()
        try:
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
        return MaildirMaildrop(folder, self._memory, snapshot, lock, Quota(folder, self._quota), keep=self._undo > 0)

    def _without_expired(self, folder: Folder, snapshot: Snapshot, days: int) -> Snapshot:
        expired = folder.expired(snapshot.messages, days)
        if not expired:
            return snapshot
        try:
            remove(folder, expired, keep=self._undo > 0)
        except UpdateIncomplete as error:  # that must keep nobody from the mail
            log.warning("expired messages not removed: %s", error)
        else:
            Quota(folder, self._quota).note_names([(stored.path, stored.size) for stored in expired], -1)
        return scan(folder, self._memory)

    def _problems(self, folder: Folder) -> list[str]:
        self._check_mounted()
        return list(inspection.problems(folder)) if os.path.lexists(folder.path) else []

    def _repair(self, folder: Folder) -> list[str]:
        self._check_mounted()
        return list(inspection.repaired(folder, self._quota)) if os.path.isdir(folder.path) else []

    def _deleted(self, folder: Folder) -> list[Deleted]:
        self._check_mounted()
        found = []
        for one in deleted.kept(folder):
            with open(one.path, "rb") as file:
                header = file.read(_HEADER)
            found.append(Deleted(one.unique_id, one.status.st_size, one.status.st_ctime, header))
        return found

    def _restore(self, folder: Folder, unique_ids: Collection[str]) -> list[str]:
        self._check_mounted()
        if not os.path.isdir(folder.ours("deleted")):
            return []
        lock = folder.lock()
        try:
            back = deleted.restore(folder, unique_ids)
            Quota(folder, self._quota).note_names([(one.targets[0], one.status.st_size) for one in back])
            return [one.unique_id for one in back]
        finally:
            os.close(lock)

    def _existing(self, user: str) -> Folder:
        folder = self.folder(user)
        self._check_mounted()
        folder.create(had_mail=folder.path in self._seen)
        return folder

    def _check_mounted(self) -> None:
        base = os.path.dirname(_PLACEHOLDER.split(self._path)[0]) or "."
        if not os.path.isdir(base):
            raise TemporaryFailure(f"{base}: the folder of all maildrops is missing; is it mounted?")
        if self._must_exist and not os.path.exists(self._must_exist):
            raise TemporaryFailure(f"{self._must_exist} is missing; is the file system with the mail mounted?")

    def _begin_delivery(self, user: str) -> Incoming:
        folder = self._existing(user)
        return Incoming(folder, self._names.next(), Quota(folder, self._quota))


class _MaildirDelivery:
    def __init__(self, incoming: Incoming) -> None:
        self._incoming = incoming

    async def write(self, octets: bytes) -> None:
        await in_thread(self._incoming.write, octets)

    async def commit(self) -> None:
        await in_thread(self._incoming.commit)


def _matching(folder: str, parts: list[str]) -> Iterator[str]:
    """Give the folders below one that have our subfolder, where the placeholders of a path may stand for anything."""
    if not parts:
        if os.path.isdir(os.path.join(folder, OURS)):
            yield folder
        return
    if not _PLACEHOLDER.search(parts[0]):
        yield from _matching(os.path.join(folder, parts[0]), parts[1:])
        return
    pattern = re.compile("(.+)".join(map(re.escape, _PLACEHOLDER.split(parts[0])[::2])), re.DOTALL)
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if pattern.fullmatch(entry.name) and not entry.name.startswith(".") and entry.is_dir():
                    yield from _matching(entry.path, parts[1:])
    except OSError as error:
        log.warning("purging failed: %s", error)
