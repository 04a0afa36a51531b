"""Deliveries of one visit that are under way at the same time, as far as their destination allows."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from types import TracebackType
from typing import NamedTuple, Self, cast

from restante.errors import Condition, InternalError
from restante.fetch.account import Account
from restante.fetch.journal import Entry, Journal
from restante.maildrop import Delivery, TraceableDelivery

AT_ONCE = 64
"""Messages that are held at a time; one, where a crash would leave in doubt what was delivered."""
KEEP_ALIVE = 240.0
"""Seconds of work here after which the server is told that we are still there."""


class Arrived(NamedTuple):
    """A message that has come as a whole."""

    number: int
    id: str
    """In the journal."""
    digest: str
    octets: int


@dataclass
class _UnderWay:
    """A delivery that is not finished."""

    arrived: Arrived
    delivery: Delivery
    stack: AsyncExitStack
    entry: Entry
    """In the journal, before it is delivered."""
    error: Condition | None = None

    def note(self, error: Condition | None) -> None:
        """Remember what went wrong first."""
        self.error = self.error or error


class Deliveries:
    """Finishes deliveries, each step durable before the next.

    While some are under way others arrive, and all that have are next: they share flushes and notes.

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
        self._waiting: list[_UnderWay] = []
        self._task: asyncio.Task[None] | None = None
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
        before = self._journal.get(arrived.id)
        seen = before.seen if before else float(int(time.time()))
        self._waiting.append(_UnderWay(arrived, delivery, stack, Entry(arrived.id, seen=seen, digest=arrived.digest)))
        if self._task is None or self._task.done():
            self._check()
            self._task = asyncio.create_task(self._work())
        while not self._account.target.exact and not self._task.done():
            await asyncio.wait({self._task}, timeout=KEEP_ALIVE)
            if not self._task.done():
                await self._keep_alive()

    def take(self) -> list[tuple[Arrived, Condition | None]]:
        """Return those that have been finished since the last call, with what went wrong."""
        done, self._done = self._done, []
        return done

    async def finish(self) -> None:
        """Wait for all that are under way."""
        if self._task is not None:
            await asyncio.shield(self._task)

    def _check(self) -> None:
        """A defect of ours is no reason to go on: raise what has ended the last task."""
        if self._task is not None:
            self._task.result()

    async def _work(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            await self._finish(batch)

    async def _finish(self, batch: Sequence[_UnderWay]) -> None:
        try:
            await self._steps(batch)
        except BaseException as error:
            for one in batch:
                one.note(error if isinstance(error, Condition) else InternalError())
            if not isinstance(error, Condition):
                raise
        finally:
            for one in batch:
                try:
                    await one.stack.aclose()
                except Condition as condition:
                    one.note(condition)
                self._room.release()
                self._done.append((one.arrived, one.error))

    async def _steps(self, batch: Sequence[_UnderWay]) -> None:
        target = self._account.target
        batch = await self._step(batch, target.prepare)
        if target.exact:
            await self._journal.note(
                *(replace(one.entry, receipt=cast("TraceableDelivery", one.delivery).receipt) for one in batch)
            )
        committed = await self._step(batch, target.commit)
        now, owed = float(int(time.time())), self._account.keep == 0
        await self._journal.note(
            *(replace(one.entry, digest="") for one in batch if one.error),
            *(replace(one.entry, delivered=now, owed=owed) for one in committed),
        )

    async def _step(
        self, batch: Sequence[_UnderWay], step: Callable[[Sequence[Delivery]], Awaitable[Sequence[Condition | None]]]
    ) -> Sequence[_UnderWay]:
        """Take a step with all; returns those with which it went well."""
        for one, error in zip(batch, await step([one.delivery for one in batch]), strict=True):
            one.note(error)
        return [one for one in batch if one.error is None]
