"""Many accounts, once or again and again."""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from contextlib import suppress

from restante.fetch.account import Account, Outcome, Watcher
from restante.fetch.visit import Visit

log = logging.getLogger("restante.fetch")

AT_ONCE = 16
"""Visits at the same time."""
LONGEST_BACK_OFF = 3600.0
"""Seconds between two tries of an account that fails; or its own interval, if that is longer."""

Report = Callable[[Account, Outcome], None]


class Rounds:
    """Visits accounts.

    Args:
        accounts: to visit.
        watcher: is told how it goes on.
        report: is told what came of each visit.
    """

    def __init__(self, accounts: Sequence[Account], watcher: Watcher, report: Report) -> None:
        self._accounts = accounts
        self._watcher = watcher
        self._report = report
        self._room = asyncio.Semaphore(AT_ONCE)
        self._stop = asyncio.Event()
        self._wake = asyncio.Event()

    @property
    def stopping(self) -> bool:
        """`stop` was called."""
        return self._stop.is_set()

    def stop(self) -> None:
        """Leave as soon as the messages at hand are done."""
        self._stop.set()
        self._wake.set()

    def wake(self) -> None:
        """Visit all accounts now."""
        self._wake.set()
        self._wake = asyncio.Event()

    async def once(self, *, dry: bool = False, moved: bool = False) -> Sequence[Outcome]:
        """Visit all accounts; returns what came of it, in their order."""
        return await asyncio.gather(*(self._visit(account, dry=dry, moved=moved) for account in self._accounts))

    async def forever(self) -> None:
        """Visit all accounts at their intervals, until `stop`."""
        await asyncio.gather(*(self._keep_visiting(account) for account in self._accounts))

    async def _visit(self, account: Account, *, dry: bool = False, moved: bool = False) -> Outcome:
        visit = Visit(account, self._watcher, self._stop.is_set, moved=moved)
        async with self._room:
            try:
                outcome = await visit.run(dry=dry)
            except Exception:  # a defect of ours: the other accounts have their turn
                log.exception("%s: internal error", account.name)
                outcome = visit.outcome
                outcome.problems.append("internal error")
        self._report(account, outcome)
        return outcome

    async def _keep_visiting(self, account: Account) -> None:
        failures = 0
        while not self._stop.is_set():
            outcome = await self._visit(account)
            failures = failures + 1 if outcome.problems else 0
            await self._pause(interval(account, outcome, failures))

    async def _pause(self, seconds: float) -> None:
        if not self._stop.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._wake.wait()


def interval(account: Account, outcome: Outcome, failures: int) -> float:
    """Return the seconds until the next visit.

    What fails is tried more and more seldom, and not all at the same moment; what the server demands is kept
    (LOGIN-DELAY, K-019); and a server that shows its messages in parts is visited again at once (K-024).
    """
    seconds = account.every
    if failures:
        # The first try comes no later than usual: most failures pass by themselves.
        seconds = min(account.every * 2.0 ** (failures - 1), max(LONGEST_BACK_OFF, account.every))
        seconds *= random.uniform(0.9, 1.1)  # noqa: S311  (no secret)
    elif outcome.more and outcome.fetched:
        seconds = min(seconds, 1.0)
    return max(seconds, outcome.login_delay)
