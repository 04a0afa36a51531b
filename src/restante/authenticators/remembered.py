"""Logins that were verified a moment ago, so that a client that polls every minute does not cost a hashing each time.

What is kept is a keyed hash of all that made the login right: no password, and nothing that a process without the key
could check a guess against.  An entry whose stored hash changes is forgotten by that, as it is found no more.

Workers that are forked after it is made share one table; one that is made anew because `[[auth]]` has changed is each
worker's own.  There is no lock:

- Nothing but the digest of a login that was right is ever written, and nothing but one that is the same in all 16
  octets says yes.  Two workers that write the same entry at a time, one that reads while another writes, and one that
  dies while it writes can leave or see octets of two digests in one.  That is no login's digest, but by the chance of
  one in 2^128 that any 16 octets have; and nobody can aim at it without the key.
- The end has 8 octets on a boundary of 8, which a processor writes and reads in one step.  It may be seen beside the
  digest that was there before or comes after.  Both are of logins that were right, so at worst one of them is known for
  another while, or is hashed once more.
- So no reader depends on the order in which it sees writes.  They are in one that makes an entry nobody's while it is
  written: end 0, digest, end.
"""

import asyncio
import hashlib
import mmap
import os
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

LIFETIME = 600
"""Seconds from the verification; a repeat does not prolong them."""
MOST = 1 << 20
"""Logins that are remembered, in 24 MiB, of which no more takes memory than is used."""
BUCKET = 8
"""Entries in which a login may be; the oldest of them goes.  Of 400,000 logins, two in 1000 find no room."""
DIGEST = 16
"""Octets."""
SECRET = 64
"""Octets."""


class Key(NamedTuple):
    """A keyed hash of a login."""

    digest: bytes
    bucket: int
    """The first of its entries."""


class RememberedLogins:
    """What a process remembers, and those that are forked from it.

    Args:
        lifetime: in seconds; 0: nothing is remembered.
        clock: returns seconds and never goes back; the same ones in all these processes.
        most: of logins, rounded up to whole buckets.
    """

    def __init__(
        self, lifetime: float = LIFETIME, clock: Callable[[], float] = time.monotonic, most: int = MOST
    ) -> None:
        self._lifetime = lifetime
        self._clock = clock
        self._running: dict[tuple[int, Key], asyncio.Future[bool]] = {}
        """Verifications under way, by process: a child that is forked meanwhile has futures that nobody completes."""
        if lifetime:
            self._buckets = -(-most // BUCKET)
            entries = self._buckets * BUCKET
            self._secret = secrets.token_bytes(SECRET)  # made here, before the fork, as the table is
            self._digests = mmap.mmap(-1, entries * DIGEST)
            self._ends = memoryview(mmap.mmap(-1, entries * 8)).cast("d")
            """By the clock; 0: the entry is free."""

    async def proves(self, login: tuple[bytes, ...], verify: Callable[[], Awaitable[bool]]) -> bool:
        """Say whether a login is right; one that is remembered is.

        Those that come at the same time, to the same process, share a verification if it says yes.  A wrong login is
        verified each time, at the same cost (P-039).

        Args:
            login: all that the outcome depends on.
            verify: finds it out; must not say yes for a user who does not exist.
        """
        if not self._lifetime:
            return await verify()
        key = self._key(login)
        if self._holds(key):
            return True
        running = self._running.get((os.getpid(), key))
        if running is None:
            return await self._share(key, verify)
        # Who waits may hang up, and the others must still hear of it.  "No" can mean that the first one has hung up.
        return await asyncio.shield(running) or await self._verify(key, verify)

    def knows(self, login: tuple[bytes, ...]) -> bool:
        """Say whether a login is remembered; see `proves`."""
        return bool(self._lifetime) and self._holds(self._key(login))

    async def _share(self, key: Key, verify: Callable[[], Awaitable[bool]]) -> bool:
        this = os.getpid(), key
        running = self._running[this] = asyncio.get_running_loop().create_future()
        right = False
        try:
            right = await self._verify(key, verify)
        finally:
            del self._running[this]
            running.set_result(right)
        return right

    async def _verify(self, key: Key, verify: Callable[[], Awaitable[bool]]) -> bool:
        right = await verify()
        if right:
            self._remember(key)
        return right

    def _holds(self, key: Key) -> bool:
        entry = self._entry(key)
        return entry is not None and self._clock() < self._ends[entry]

    def _remember(self, key: Key) -> None:
        entry = self._entry(key)
        if entry is None:  # one that is free or over ends before those that are not
            entry = min(range(key.bucket, key.bucket + BUCKET), key=self._ends.__getitem__)
        self._ends[entry] = 0
        self._digests[entry * DIGEST : (entry + 1) * DIGEST] = key.digest
        self._ends[entry] = self._clock() + self._lifetime

    def _entry(self, key: Key) -> int | None:
        """Return where a login is, even if it is over."""
        digests = self._digests[key.bucket * DIGEST : (key.bucket + BUCKET) * DIGEST]
        octet = digests.find(key.digest)  # how long it takes tells nothing: nobody knows what his digest is
        return key.bucket + octet // DIGEST if octet >= 0 and octet % DIGEST == 0 else None

    def _key(self, login: tuple[bytes, ...]) -> Key:
        parts = b"".join(b"%d:%b" % (len(part), part) for part in login)  # lengths: ab, c is not a, bc
        octets = hashlib.blake2b(parts, key=self._secret, digest_size=DIGEST + 8).digest()
        return Key(octets[:DIGEST], int.from_bytes(octets[DIGEST:], "big") % self._buckets * BUCKET)
