"""A Maildir of somebody who has it for himself: mail is put into it, and nothing else of ours."""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from restante.errors import Condition, TemporaryFailure
from restante.maildrop import Delivery
from restante.stores.files import in_delivery_thread, sync_directory
from restante.stores.maildir import deleted, together, tracing
from restante.stores.maildir.delivery import Incoming
from restante.stores.maildir.folder import Folder
from restante.stores.maildir.held import Held, HeldDelivery
from restante.stores.maildir.names import NameGenerator
from restante.stores.maildir.quota import Quota


class SingleMaildir:
    """The part of a `MaildropStore` that takes deliveries, for one Maildir, which is made if only it is missing.

    Args:
        path: of the Maildir.
        hostname: part of the names of messages.
    """

    def __init__(self, path: str, hostname: str) -> None:
        self._folder = Folder(path)
        self._names = NameGenerator(hostname)
        self._held = Held()
        self._tidied = False

    @asynccontextmanager
    async def deliver(self, _user: str) -> AsyncIterator[HeldDelivery]:
        """See `MaildropStore.deliver`."""
        base = self._names.next()  # in the order of arrival
        delivery = HeldDelivery(lambda: self._begin(base), self._held)
        try:
            yield delivery
        finally:
            await delivery.close()

    async def prepare_together(self, deliveries: Sequence[Delivery]) -> Sequence[Condition | None]:
        """See `Traceable.prepare_together`."""
        return await together.prepare(deliveries)

    async def commit_together(self, deliveries: Sequence[Delivery]) -> Sequence[Condition | None]:
        """See `Traceable.commit_together`."""
        return await together.commit(deliveries)

    async def settle(self, _user: str, receipt: str) -> bool:
        """See `Traceable.settle`."""
        return await in_delivery_thread(self._settle, receipt)

    def _begin(self, base: str) -> Incoming:
        self._make()
        return Incoming(self._folder, base, Quota(self._folder, None))

    def _settle(self, receipt: str) -> bool:
        self._make()
        return tracing.settle(self._folder, receipt)

    def _make(self) -> None:
        path = self._folder.path
        self._folder.check_links()
        if os.path.isdir(os.path.join(path, "cur")):  # made last
            if not self._tidied:
                self._tidied = True
                for _ in deleted.purge_unfinished(self._folder):  # nobody else may be there to do it
                    pass
            return
        above = os.path.dirname(path) or os.curdir
        if not os.path.isdir(above):
            raise TemporaryFailure(f"{above}: the folder of the Maildir is missing; is it mounted?")
        with suppress(FileExistsError):
            os.mkdir(path, mode=0o700)
        for part in ("tmp", "new", "cur"):
            self._folder.make(part)
        sync_directory(path)
        sync_directory(above)
