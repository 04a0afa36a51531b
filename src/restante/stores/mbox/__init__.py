"""Mailboxes of many messages in one file, as in ``/var/mail``, shared with other programs (mbox(5))."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from restante.auth import Principal
from restante.errors import Condition, NoSuchMaildrop, TemporaryFailure, UpdateIncomplete
from restante.maildrop import Maildrop, MessageFile
from restante.stores.files import PathTemplate, check_space, in_delivery_thread, in_thread
from restante.stores.mbox.delivery import Incoming
from restante.stores.mbox.format import Format
from restante.stores.mbox.index import Index
from restante.stores.mbox.inspection import problems
from restante.stores.mbox.locks import Busy
from restante.stores.mbox.mailbox import Mailbox
from restante.stores.mbox.removal import remove
from restante.stores.mbox.side import Seen, Side
from restante.stores.mbox.slices import open_message

T = TypeVar("T")
log = logging.getLogger("restante.store")

OURS = ".restante"
"""The folder for our own files beside the mailboxes; no user has that name, because of its dot."""
LOGIN_PATIENCE = 2.0
"""Seconds that a login waits for another program that has the mailbox."""
UPDATE_PATIENCE = 10.0
"""The same of a QUIT that removes messages."""
DELIVERY_PATIENCE = 30.0
"""The same of a delivery."""
FIRST_PAUSE, LONGEST_PAUSE = 0.005, 0.25
"""Seconds between two tries."""


class MboxStore:
    """A `MaildropStore` of one mbox file for each user.

    Args:
        path: of a user's mailbox; ``{user}``, ``{local}`` and ``{domain}`` stand for the whole name and its
            parts.  The part of the path before the first of them must exist.
        kind: how lines that look like a From_ line are quoted: ``mboxrd``, or ``mboxo``, which is not undone.
        dotlock: whether programs here lock by ``mailbox.lock`` as well as by fcntl.
        index: a folder for our own files; ``""``: a folder `OURS` beside each mailbox.
        must_exist: a file that is there when the file system with the mail is; ``""``: none tells.
    """

    def __init__(
        self, path: str, kind: Format = "mboxrd", *, dotlock: bool = True, index: str = "", must_exist: str = ""
    ) -> None:
        self._template = PathTemplate(path, must_exist)
        self._kind: Format = kind
        self._dotlock = dotlock
        self._index = index
        self._seen = Seen()

    async def open(self, principal: Principal) -> Maildrop:
        """See `MaildropStore.open`."""
        mailbox = self.mailbox(principal.user)
        session = await in_thread(self._begin_session, mailbox)
        try:
            index = await _patiently(LOGIN_PATIENCE, lambda: _refresh(mailbox))
        except BaseException:
            os.close(session)  # P-043: released before the reply
            raise
        return _MboxMaildrop(mailbox, index, session)

    @asynccontextmanager
    async def deliver(self, user: str) -> AsyncIterator["_MboxDelivery"]:
        """See `MaildropStore.deliver`."""
        mailbox = self.mailbox(user)
        incoming = await in_delivery_thread(self._begin_delivery, mailbox)
        try:
            yield _MboxDelivery(incoming)
        finally:
            await in_delivery_thread(incoming.discard)

    async def check_room(self, user: str, octets: int) -> None:
        """See `Roomy.check_room`; an mbox has no quota but that of its file system."""
        await in_delivery_thread(self._check_room, self.mailbox(user), octets)

    async def holds(self, user: str) -> bool:
        """See `Roomy.holds`."""
        return await in_delivery_thread(self._holds, self.mailbox(user))

    async def inspect(self, user: str) -> Sequence[str]:
        """Say what is wrong with a user's mailbox, a line each; nothing for one that does not exist yet.

        Raises:
            NoSuchMaildrop, TemporaryFailure, PermanentFailure: it cannot be looked at.
        """
        mailbox = self.mailbox(user)
        self._template.check_mounted()
        return await in_thread(lambda: list(problems(mailbox)))

    def mailbox(self, user: str) -> Mailbox:
        """Return the mailbox of a user, which need not exist.

        Raises:
            NoSuchMaildrop: the name does not fit into a path (P-291), or is that of a dot-lock.
        """
        path = self._template.path(user)
        folder, name = os.path.split(path)
        if ".lock" in name:
            raise NoSuchMaildrop(f"{path} could be the dot-lock of another mailbox")
        ours = os.path.join(folder, OURS)
        if self._index:
            ours = os.path.join(self._index, os.path.relpath(folder, self._template.base))
        return Mailbox(path, Side(os.path.normpath(ours), name, self._seen), self._kind, self._dotlock, user)

    def _check_room(self, mailbox: Mailbox, octets: int) -> None:
        self._template.check_mounted()
        check_space(os.path.dirname(mailbox.path), octets)

    def _holds(self, mailbox: Mailbox) -> bool:
        self._template.check_mounted()
        return os.path.isfile(mailbox.path)

    def _begin_session(self, mailbox: Mailbox) -> int:
        self._make_folders(mailbox)
        return mailbox.side.lock()

    def _begin_delivery(self, mailbox: Mailbox) -> Incoming:
        self._make_folders(mailbox)
        return Incoming(mailbox)

    def _make_folders(self, mailbox: Mailbox) -> None:
        self._template.check_mounted()
        mailbox.side.create()
        os.makedirs(os.path.dirname(mailbox.path) or ".", mode=0o700, exist_ok=True)


class _MboxMaildrop:
    def __init__(self, mailbox: Mailbox, index: Index, session: int) -> None:
        self._mailbox = mailbox
        self._index = index
        self._session = session
        self._places = [place for place, entry in enumerate(index.entries) if not entry.hidden]
        self.listing = tuple(index.entries[place].message for place in self._places)

    async def retrieve(self, number: int) -> MessageFile:
        entry = self._index.entries[self._places[number - 1]]
        known = self._index.state if self._index.settled else None
        return await in_thread(open_message, self._mailbox.path, entry, known, self._mailbox.kind)

    def distrust(self, number: int) -> None:
        log.warning("%s: message %d is not what the index says; the index is dropped", self._mailbox.path, number)
        self._mailbox.forget()

    async def update(self, deleted: Collection[int]) -> None:
        marked = {self._places[number - 1] for number in deleted}
        if not marked:
            return
        try:
            await _patiently(UPDATE_PATIENCE, lambda: _remove(self._mailbox, self._index, marked))
        except UpdateIncomplete:
            raise
        except Condition as error:
            raise UpdateIncomplete(str(error)) from error

    async def close(self) -> None:
        if self._session >= 0:
            session, self._session = self._session, -1
            os.close(session)


class _MboxDelivery:
    def __init__(self, incoming: Incoming) -> None:
        self._incoming = incoming
        self._prepared = False

    async def write(self, octets: bytes) -> None:
        await in_delivery_thread(self._incoming.write, octets)

    async def prepare(self) -> None:
        """The mailbox itself is not touched before `commit`, which makes all of it durable."""
        if not self._prepared:
            await in_delivery_thread(self._incoming.finish)
            self._prepared = True

    async def commit(self) -> None:
        await self.prepare()
        await _patiently(DELIVERY_PATIENCE, self._incoming.append, in_delivery_thread)


def _refresh(mailbox: Mailbox) -> Index:
    with mailbox.locked() as descriptor:
        return mailbox.refresh(descriptor)


def _remove(mailbox: Mailbox, index: Index, marked: Collection[int]) -> None:
    with mailbox.locked() as descriptor:
        remove(mailbox, descriptor, index, marked)


async def _patiently(
    patience: float, function: Callable[[], T], thread: Callable[[Callable[[], T]], Awaitable[T]] = in_thread
) -> T:
    """Call something that needs the lock of a mailbox; no thread is kept waiting for it.

    Raises:
        TemporaryFailure: another program has it for all of that time, in seconds (P-178: a lock is temporary).
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + patience
    pause = FIRST_PAUSE
    last = False
    while True:
        try:
            return await thread(function)
        except Busy as error:
            if last:
                raise TemporaryFailure(str(error)) from None
        last = clock() > deadline  # however long a try has taken, it is not the only one
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
