"""Logins that were verified a moment ago, so that a client that polls every minute does not cost a hashing each time.

What is kept is a keyed hash of all that made the login right: no password, and nothing that another process could
check a guess against.  An entry whose stored hash changes is forgotten by that, as it is found no more.
"""

import asyncio
import hashlib
import os
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable

LIFETIME = 600
"""Seconds from the verification; a repeat does not prolong them."""
MOST = 100_000
"""Logins that are remembered, about 20 MB; the oldest go."""
SECRET = 64
"""Octets."""

Key = bytes
"""A keyed hash of a login."""


class RememberedLogins:
    """What one process remembers.

    Args:
        lifetime: in seconds; 0: nothing is remembered.
        clock: returns seconds and never goes back.
        most: of logins.
    """

    def __init__(
        self, lifetime: float = LIFETIME, clock: Callable[[], float] = time.monotonic, most: int = MOST
    ) -> None:
        self._lifetime = lifetime
        self._clock = clock
        self._most = most
        self._process = 0
        self._secret = b""
        self._ends: OrderedDict[Key, float] = OrderedDict()
        """By the clock; all live equally long, so the oldest comes first."""
        self._running: dict[Key, asyncio.Future[bool]] = {}

    async def proves(self, login: tuple[bytes, ...], verify: Callable[[], Awaitable[bool]]) -> bool:
        """Say whether a login is right; one that is remembered is.

        Those that come at the same time share a verification if it says yes.  A wrong login is verified each time, at
        the same cost (P-039).

        Args:
            login: all that the outcome depends on.
            verify: finds it out; must not say yes for a user who does not exist.
        """
        if not self._lifetime:
            return await verify()
        key = self._key(login)
        end = self._ends.get(key)
        if end is not None and self._clock() < end:
            return True
        running = self._running.get(key)
        if running is None:
            return await self._share(key, verify)
        # Who waits may hang up, and the others must still hear of it.  "No" can mean that the first one has hung up.
        return await asyncio.shield(running) or await self._verify(key, verify)

    def knows(self, login: tuple[bytes, ...]) -> bool:
        """Say whether a login is remembered; see `proves`."""
        end = self._ends.get(self._key(login)) if self._lifetime else None
        return end is not None and self._clock() < end

    async def _share(self, key: Key, verify: Callable[[], Awaitable[bool]]) -> bool:
        running = self._running[key] = asyncio.get_running_loop().create_future()
        right = False
        try:
            right = await self._verify(key, verify)
        finally:
            del self._running[key]
            running.set_result(right)
        return right

    async def _verify(self, key: Key, verify: Callable[[], Awaitable[bool]]) -> bool:
        right = await verify()
        if right:
            self._remember(key)
        return right

    def _remember(self, key: Key) -> None:
        now = self._clock()
        self._ends[key] = now + self._lifetime
        self._ends.move_to_end(key)
        while len(self._ends) > self._most or next(iter(self._ends.values())) <= now:
            self._ends.popitem(last=False)

    def _key(self, login: tuple[bytes, ...]) -> Key:
        process = os.getpid()
        if process != self._process:  # made here and not at the start: each worker that is forked has its own
            self._process, self._secret = process, secrets.token_bytes(SECRET)
            self._ends.clear()
            self._running.clear()
        parts = b"".join(b"%d:%b" % (len(part), part) for part in login)  # lengths: ab, c is not a, bc
        return hashlib.blake2b(parts, key=self._secret, digest_size=32).digest()
