"""Maildirs that Postfix, procmail, mutt and Dovecot can share with us (maildir(5))."""

import asyncio
import logging
import os
import re
import socket
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from restante.auth import Principal
from restante.errors import NoSuchMaildrop, TemporaryFailure, UpdateIncomplete
from restante.maildrop import Maildrop, MessageFile
from restante.stores.maildir.delivery import Incoming
from restante.stores.maildir.folder import Folder, condition
from restante.stores.maildir.inspection import problems
from restante.stores.maildir.names import NameGenerator
from restante.stores.maildir.records import Memory, Stored

T = TypeVar("T")
log = logging.getLogger("restante.store")

_PLACEHOLDER = re.compile(r"\{(user|local|domain)\}")

PURGE_EVERY = 3600.0
"""Seconds between two looks for deleted messages whose time is over."""


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
    """

    def __init__(
        self,
        path: str,
        undo: float = 7 * 86400,
        hostname: str = "",
        *,
        login_delay: float = 0,
        expire: int | None = None,
    ) -> None:
        self._login_delay = login_delay
        self._expire = expire
        self._path = path
        self._undo = undo
        self._names = NameGenerator(hostname or socket.gethostname())
        self._memory = Memory()

    async def open(self, principal: Principal) -> Maildrop:
        """See `MaildropStore.open`."""
        return await _in_thread(self._open, principal.user)

    @asynccontextmanager
    async def deliver(self, user: str) -> AsyncIterator["_MaildirDelivery"]:
        """See `MaildropStore.deliver`."""
        incoming = await _in_thread(self._begin_delivery, user)
        try:
            yield _MaildirDelivery(incoming)
        finally:
            await _in_thread(incoming.discard)

    async def inspect(self, user: str) -> Sequence[str]:
        """Say what is wrong with a user's maildrop, a line each; nothing for one that does not exist yet.

        Raises:
            NoSuchMaildrop, TemporaryFailure, PermanentFailure: it cannot be looked at.
        """
        folder = self.folder(user)
        return await _in_thread(self._problems, folder)

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
        return Folder(_PLACEHOLDER.sub(lambda match: parts[match[1]], self._path), self._memory)

    def _open(self, user: str) -> Maildrop:
        folder = self._existing(user)
        lock = folder.lock()
        try:
            if self._login_delay:
                folder.check_delay(self._login_delay)
            stored = folder.scan()
            if self._expire:
                # Before the session sees anything: what it is shown stays to its end (P-143).
                stored = self._without_expired(folder, stored, self._expire)
            if self._login_delay:
                folder.note_login()
        except BaseException:
            os.close(lock)  # P-043: released before the reply
            raise
        return _MaildirMaildrop(folder, stored, lock, self._undo)

    def _without_expired(self, folder: Folder, stored: list[Stored], days: int) -> list[Stored]:
        expired = folder.expired(stored, days)
        if not expired:
            return stored
        try:
            folder.remove(expired, keep=self._undo > 0)
        except UpdateIncomplete as error:  # that must keep nobody from the mail
            log.warning("expired messages not removed: %s", error)
            return folder.scan()
        gone = {entry.key for entry in expired}
        return [entry for entry in stored if entry.key not in gone]

    def _problems(self, folder: Folder) -> list[str]:
        self._check_mounted()
        return list(problems(folder)) if os.path.lexists(folder.path) else []

    def _existing(self, user: str) -> Folder:
        folder = self.folder(user)
        self._check_mounted()
        folder.create()
        return folder

    def _check_mounted(self) -> None:
        base = os.path.dirname(_PLACEHOLDER.split(self._path)[0]) or "."
        if not os.path.isdir(base):
            raise TemporaryFailure(f"{base}: the folder of all maildrops is missing; is it mounted?")

    def _begin_delivery(self, user: str) -> Incoming:
        return Incoming(self._existing(user), self._names.next())


class _MaildirMaildrop:
    def __init__(self, folder: Folder, stored: list[Stored], lock: int, undo: float) -> None:
        self._folder = folder
        self._stored = stored
        self._lock = lock
        self._undo = undo
        self._updated = False
        self.listing = tuple(entry.message for entry in stored)

    async def retrieve(self, number: int) -> MessageFile:
        return await _in_thread(self._retrieve, number)

    def _retrieve(self, number: int) -> MessageFile:
        try:
            return self._folder.open_message(self._stored[number - 1])
        except FileNotFoundError:
            # Another program moves or flags messages, seldom only one: learn the new names of all.
            places = self._folder.places()
            self._stored = [stored._replace(paths=places.get(stored.key, stored.paths)) for stored in self._stored]
        return self._folder.open_message(self._stored[number - 1])

    def distrust(self, number: int) -> None:
        self._folder.distrust(self._stored[number - 1])

    async def update(self, deleted: Collection[int]) -> None:
        marked = [self._stored[number - 1] for number in sorted(deleted)]
        self._updated = True
        await _in_thread(lambda: self._folder.remove(marked, keep=self._undo > 0))

    async def close(self) -> None:
        if self._lock < 0:
            return
        lock, self._lock = self._lock, -1
        os.close(lock)
        if self._updated:  # nobody waits for the house-keeping: the lock is free and the reply on its way
            asyncio.get_running_loop().run_in_executor(None, _purge, self._folder, self._undo)


class _MaildirDelivery:
    def __init__(self, incoming: Incoming) -> None:
        self._incoming = incoming

    async def write(self, octets: bytes) -> None:
        await _in_thread(self._incoming.write, octets)

    async def commit(self) -> None:
        await _in_thread(self._incoming.commit)


def _purge(folder: Folder, undo: float) -> None:
    try:
        folder.purge(undo, PURGE_EVERY)
    except OSError as error:
        log.warning("purging failed: %s", error)


async def _in_thread(function: Callable[..., T], *arguments: object) -> T:
    """Call something that blocks, and turn errors of the system into conditions."""
    try:
        return await asyncio.to_thread(function, *arguments)
    except OSError as error:
        raise condition(error) from error
