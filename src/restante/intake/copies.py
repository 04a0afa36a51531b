"""One message on its way into one or several maildrops."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack

from restante.addressing import Target
from restante.errors import Condition, InternalError
from restante.maildrop import Delivery, MaildropStore

log = logging.getLogger("restante.intake")

SPILL = 1 << 19
"""Octets of a message that are held in memory before they are given to the store."""
ROOM = 1 << 26
"""Octets that all messages together may hold in a worker; what comes beyond that is given to the store at once."""


class Held:
    """What messages that are not complete hold in memory: there may be thousands, of strangers who take their time."""

    def __init__(self) -> None:
        self.octets = 0


class Copy:
    """The copy for one maildrop: nobody's header lines are seen by anybody else (D-005).

    What goes wrong is kept in `failure`, because others may still get theirs.
    """

    def __init__(self, store: MaildropStore, target: Target, head: bytes) -> None:
        self.target = target
        self.failure: Condition | None = None
        """Why it cannot be delivered."""
        self.committed = False
        self._store = store
        self._head = head
        self._stack = AsyncExitStack()
        self._delivery: Delivery | None = None

    async def write(self, octets: bytes) -> None:
        """Add octets."""
        await self._attempt(lambda: self._write(octets))

    async def prepare(self) -> None:
        """Do all but the last step."""
        await self._attempt(self._prepare)

    async def commit(self) -> None:
        """Deliver it, durably."""
        await self._attempt(self._commit)

    async def close(self) -> None:
        """Let go of it; nothing is left of what is not committed."""
        await self._attempt(self._stack.aclose)

    async def _attempt(self, step: Callable[[], Awaitable[None]]) -> None:
        """Take a step; what goes wrong first is kept."""
        if self.failure is None or step == self._stack.aclose:
            try:
                await step()
            except Condition as error:
                self.failure = self.failure or error
            except Exception:  # whatever it is: this copy's trouble, and others have had their replies
                log.exception("internal error, account=%s", self.target.account)
                self.failure = self.failure or InternalError()

    async def _write(self, octets: bytes) -> None:
        delivery = self._delivery
        if delivery is None:
            delivery = self._delivery = await self._stack.enter_async_context(self._store.deliver(self.target.account))
            octets = self._head + octets
        await delivery.write(octets)

    async def _begun(self) -> Delivery:
        if self._delivery is None:  # an empty message
            await self._write(b"")
        assert self._delivery is not None
        return self._delivery

    async def _prepare(self) -> None:
        await (await self._begun()).prepare()

    async def _commit(self) -> None:
        await (await self._begun()).commit()
        self.committed = True


class Message:
    """The octets of a message, shared by its copies.

    Args:
        copies: at least one.
        all_held: of all messages.
    """

    def __init__(self, copies: Iterable[Copy], all_held: Held) -> None:
        self._all_held = all_held
        self.copies = list(copies)
        self.octets = 0
        """So far."""
        self.began = time.monotonic()
        self._pieces: list[bytes] = []
        self._held = 0

    def take(self, octets: bytes) -> bool:
        """Take octets; returns whether it is time to `spill` them."""
        self._pieces.append(octets)
        self._held += len(octets)
        self._all_held.octets += len(octets)
        self.octets += len(octets)
        return self._held >= SPILL or self._all_held.octets >= ROOM

    async def spill(self) -> None:
        """Give the store what is held in memory."""
        octets = b"".join(self._pieces)
        self._forget()
        if octets:
            await self._each(lambda copy: copy.write(octets))

    async def prepare(self) -> None:
        """The message is complete: do all but the last step for every copy."""
        await self.spill()
        await self._each(lambda copy: copy.prepare())

    async def close(self) -> None:
        """Let go of it; nothing is left of what is not committed."""
        self._forget()
        await self._each(lambda copy: copy.close())

    def _forget(self) -> None:
        self._pieces.clear()
        self._all_held.octets -= self._held
        self._held = 0

    async def _each(self, step: Callable[[Copy], Awaitable[None]]) -> None:
        if len(self.copies) == 1:
            await step(self.copies[0])
        else:
            await asyncio.gather(*(step(copy) for copy in self.copies))
