"""Slows down the guessing of passwords without locking anyone out (P-053).

Four rules, for an attempt at an account from an address:

- A failed login waits for its answer, longer each time that address fails at that account.  Hanging up does not cut
  the wait short: until it is over, the attempt takes one of the few places that the pair, the address and the account
  have.
- Without a free place an attempt is not looked at yet, but only for a while: nobody is locked out, however many guess.
- The password that was right last time from the same address does not wait for a place.
- Few passwords of one address are looked at at a time, so that its guesses do not take all the hashing.

A right login is never delayed for what others do elsewhere: it waits only while its own address guesses at the same
account, or at a great many, or a great many addresses guess at its account.
"""

import asyncio
import contextlib
import math
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

from restante.server.census import FadingCounts, network

REMEMBERED = 20_000
"""Pairs of address and account of which the last password is recognised again."""

Key = int
"""A keyed hash: names may be long, and many are remembered."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How failed logins are slowed down; times in seconds."""

    delay: float = 1
    """What the first failure waits for its answer; each further one of the pair twice as long."""
    longest: float = 16
    """The longest such wait."""
    wait: float = 10
    """The longest that an attempt waits for a free place (no lockout)."""
    pair: int = 3
    """Places of an address at one account: attempts being looked at, and failures waiting."""
    address: int = 10
    """Failures of one address that may be waiting."""
    account: int = 20
    """Failures at one account, from anywhere, that may be waiting."""
    looking: int = 4
    """Passwords of one address that are looked at at a time."""
    spread: int = 5
    """So many failures of an address at any accounts count as one more of the pair."""


class Guesses:
    """What one process knows of failed logins; counts are shared by all.

    Args:
        counts: of failures.
        patience: may be replaced at any time.
    """

    def __init__(self, counts: FadingCounts, patience: Patience | None = None) -> None:
        self.patience = patience or Patience()
        self._counts = counts
        self._taken: dict[Key, int] = {}
        self._waiting: dict[Key, deque[asyncio.Future[None]]] = {}
        self._looking: dict[str, _Looking] = {}
        self._right = _Recent(REMEMBERED)
        self._wrong = _Recent(REMEMBERED)

    async def turn(self, host: str, user: str, secret: int) -> "Attempt":
        """Wait for a place, or until it has taken too long.

        Args:
            host: address of the client.
            user: the account, as it was called.
            secret: a keyed hash of the credentials, to recognise them again.
        """
        attempt = Attempt(self, network(host), user, secret)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.patience.wait
        while (full := self._full(attempt)) is not None and loop.time() < deadline:
            waiter = loop.create_future()
            self._waiting.setdefault(full, deque()).append(waiter)
            timer = loop.call_at(deadline, _wake, waiter)
            await waiter
            timer.cancel()
            self._forget_waiter(full, waiter)
            if self._full(attempt) != full:  # there may be room for the next one too
                self._wake_next(full)
        self._take(attempt.pair)
        return attempt

    def at_once(self, host: str, user: str, secret: int) -> "Attempt | None":
        """Return an attempt that is over in this turn of the loop, and takes no place; None: it would have to wait.

        Args:
            host, user, secret: see `turn`.
        """
        attempt = Attempt(self, network(host), user, secret)
        return attempt if self._full(attempt) is None else None

    def _full(self, attempt: "Attempt") -> Key | None:
        """Say where there is no place."""
        if self._right.get(attempt.pair) == attempt.secret:
            return None
        patience = self.patience
        limits = [(attempt.pair, patience.pair), (attempt.address, patience.address)]
        if attempt.named:
            limits.append((attempt.account, patience.account))
        return next((key for key, limit in limits if self._taken.get(key, 0) >= limit), None)

    def look(self, host: str) -> "_Looking":
        """Return what lets an address have only a few passwords looked at at a time, whatever else it may do.

        Hashing takes long, and who comes after must not wait for all that one address has asked for.
        """
        key = network(host)
        looking = self._looking.get(key)
        if looking is None:
            looking = self._looking[key] = _Looking(self.patience.looking, lambda: self._looking.pop(key, None))
        return looking

    def _take(self, *keys: Key) -> None:
        for key in keys:
            self._taken[key] = self._taken.get(key, 0) + 1

    def _free(self, *keys: Key) -> None:
        for key in keys:
            left = self._taken[key] - 1
            if left:
                self._taken[key] = left
            else:
                del self._taken[key]
            self._wake_next(key)

    def _forget_waiter(self, key: Key, waiter: "asyncio.Future[None]") -> None:
        queue = self._waiting.get(key)
        if queue is not None:
            with contextlib.suppress(ValueError):
                queue.remove(waiter)
            if not queue:
                del self._waiting[key]

    def _wake_next(self, key: Key) -> None:
        """Let whoever has waited longest for a place of that key look again."""
        queue = self._waiting.get(key)
        while queue:
            waiter = queue.popleft()
            if not waiter.done():
                waiter.set_result(None)
                break
        if queue is not None and not queue:
            del self._waiting[key]

    def _failed(self, attempt: "Attempt", earlier: int) -> float:
        """Count a failure; returns the seconds that its answer waits."""
        now = asyncio.get_running_loop().time()
        patience, counts = self.patience, self._counts
        # A program that has the wrong password, and tries it again and again, guesses nothing.
        if self._wrong.get(attempt.pair) != attempt.secret:
            self._wrong.put(attempt.pair, attempt.secret)
            counts.add(attempt.pair, now)
            counts.add(attempt.address, now)
        doublings = counts.get(attempt.pair, now) - 1 + counts.get(attempt.address, now) // patience.spread
        return min(math.ldexp(patience.delay, min(max(round(doublings), earlier, 0), 30)), patience.longest)

    def _succeeded(self, attempt: "Attempt") -> None:
        self._right.put(attempt.pair, attempt.secret)
        self._counts.forget(attempt.pair)


class Attempt:
    """A login that is being looked at; it ends by `succeeded`, `failed` or `undecided`."""

    __slots__ = ("_guesses", "account", "address", "named", "pair", "secret")

    def __init__(self, guesses: Guesses, host: str, user: str, secret: int) -> None:
        self.pair: Key = hash((host, user))
        self.address: Key = hash(("address", host))
        self.account: Key = hash(("account", user))
        self.named = bool(user)
        """The account is known before the credentials are looked at, as it is not with some tokens."""
        self.secret = secret
        self._guesses = guesses

    def succeeded(self) -> None:
        """The credentials were right."""
        self._guesses._succeeded(self)  # noqa: SLF001  (one idea in two classes)
        self._guesses._free(self.pair)  # noqa: SLF001

    def succeeded_at_once(self) -> None:
        """The same for one without a place."""
        self._guesses._succeeded(self)  # noqa: SLF001

    def undecided(self) -> None:
        """Nobody could tell."""
        self._guesses._free(self.pair)  # noqa: SLF001

    def failed(self, earlier: int = 0) -> float:
        """The credentials were wrong; the places are free again when the answer is due.

        Args:
            earlier: failures of this connection, at whatever accounts.

        Returns:
            When that is, by the loop's clock.
        """
        guesses = self._guesses
        loop = asyncio.get_running_loop()
        due = loop.time() + guesses._failed(self, earlier)  # noqa: SLF001
        keys = [self.address]
        # One address fills no more than its own places at an account, however long it has waited.
        if self.named and guesses._taken[self.pair] <= guesses.patience.pair:  # noqa: SLF001
            keys.append(self.account)
        guesses._take(*keys)  # noqa: SLF001
        loop.call_at(due, guesses._free, self.pair, *keys)  # noqa: SLF001
        return due


class _Looking:
    """A context for few at a time; who comes after waits in turn.

    Args:
        limit: how many.
        forget: is called when nobody is in it any more.
    """

    __slots__ = ("_forget", "_inside", "_limit", "_waiting")

    def __init__(self, limit: int, forget: Callable[[], object]) -> None:
        self._limit = limit
        self._forget = forget
        self._inside = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def __aenter__(self) -> None:
        if self._inside < self._limit:
            self._inside += 1
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():  # the place is for the next one
                self._leave()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._leave()

    def _leave(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)  # it has our place
                return
        self._inside -= 1
        if not self._inside:
            self._forget()


class _Recent:
    """A table that forgets what was used longest ago."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: OrderedDict[Key, int] = OrderedDict()

    def get(self, key: Key) -> int | None:
        return self._entries.get(key)

    def put(self, key: Key, value: int) -> None:
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > self._limit:
            self._entries.popitem(last=False)


def _wake(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)
