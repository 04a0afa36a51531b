"""Deliveries of one visit that are under way at the same time, as far as their destination allows."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from types import TracebackType
from typing import NamedTuple, Self, cast

from restante.errors import Condition
from restante.fetch.account import Account
from restante.fetch.journal import Entry, Journal
from restante.maildrop import Delivery, TraceableDelivery

AT_ONCE = 64
"""Deliveries that share their flushes; one, where a crash would leave in doubt what was delivered."""
KEEP_ALIVE = 240.0
"""Seconds of work here after which the server is told that we are still there."""


class Arrived(NamedTuple):
    """A message that has come as a whole."""

    number: int
    id: str
    """In the journal."""
    digest: str
    octets: int


class Deliveries:
    """Finishes deliveries, each step durable before the next.

    ============ =========================================== ==================================================
    step         durable then                                a crash right after it leaves
    ============ =========================================== ==================================================
    prepare      the octets, invisible                       a file in ``tmp`` that the destination clears away
    receipt      by what the destination will know it        the destination is asked, and removes it
    commit       the message                                 the destination is asked, and has it
    delivered    that it is delivered, and whether           nothing to do; DELE is said at the next visit
                 deletion is owed
    ============ =========================================== ==================================================

    Args:
        account: whose they are.
        journal: of the account.
        keep_alive: is called while one delivery at a time takes long (K-022).
    """

    def __init__(self, account: Account, journal: Journal, keep_alive: Callable[[], Awaitable[None]]) -> None:
        self._account = account
        self._keep_alive = keep_alive
        self._journal = journal
        self._room = asyncio.Semaphore(AT_ONCE if account.target.exact else 1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._done: list[tuple[Arrived, Condition | None]] = []
        self.marked: dict[int, str] = {}
        """Numbers of messages that are to be deleted, with their ids in the journal, besides those delivered now."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.finish()

    async def add(self, arrived: Arrived, delivery: Delivery, stack: AsyncExitStack) -> None:
        """Finish a delivery while others go on.

        Args:
            arrived: the message.
            delivery: which has all its octets.
            stack: closes the delivery.
        """
        await self._room.acquire()
        task = asyncio.create_task(self._finish(arrived, delivery, stack))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        while not self._account.target.exact and not task.done():
            await asyncio.wait({task}, timeout=KEEP_ALIVE)
            if not task.done():
                await self._keep_alive()

    def take(self) -> list[tuple[Arrived, Condition | None]]:
        """Return those that have been finished since the last call, with what went wrong."""
        done, self._done = self._done, []
        return done

    async def finish(self) -> None:
        """Wait for all that are under way."""
        while self._tasks:
            await asyncio.shield(asyncio.gather(*self._tasks))

    async def _finish(self, arrived: Arrived, delivery: Delivery, stack: AsyncExitStack) -> None:
        error: Condition | None = None
        try:
            async with stack:
                await self._steps(arrived, delivery)
        except Condition as condition:
            error = condition
        finally:
            self._room.release()
            self._done.append((arrived, error))

    async def _steps(self, arrived: Arrived, delivery: Delivery) -> None:
        before = self._journal.get(arrived.id)
        entry = Entry(arrived.id, seen=before.seen if before else float(int(time.time())), digest=arrived.digest)
        await delivery.prepare()
        if self._account.target.exact:
            await self._journal.note(replace(entry, receipt=cast("TraceableDelivery", delivery).receipt))
        try:
            await delivery.commit()
        except Condition:
            await self._journal.note(replace(entry, digest=""))
            raise
        delivered = replace(entry, delivered=float(int(time.time())), owed=self._account.keep == 0)
        await self._journal.note(delivered)
