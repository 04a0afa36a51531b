"""Counts that all workers share, without a lock: each writes a row of its own, and reads the sum of all rows."""

import ipaddress
import math
import mmap
from collections.abc import Sequence

SLOTS = 1 << 16
"""Columns.  Two keys may meet in one; Python's hash is keyed, so nobody can choose whom to meet."""


def network(host: str) -> str:
    """Return what one customer of a provider has: an IPv4 address, or a /64 of IPv6 (P-286)."""
    if ":" not in host:
        return host
    try:
        address = ipaddress.IPv6Address(host.partition("%")[0])
    except ValueError:
        return host
    return str(address.ipv4_mapped or ipaddress.IPv6Address(int(address) >> 64 << 64))


class Census:
    """Connections: all, those before login, and those of each address (P-286).

    Made before the workers are forked.

    Args:
        workers: how many processes count.
    """

    _COLUMNS = SLOTS + 2
    _ALL, _BEFORE_LOGIN = SLOTS, SLOTS + 1

    def __init__(self, workers: int = 1) -> None:
        octets = self._COLUMNS * 4
        cells = memoryview(mmap.mmap(-1, workers * octets))
        self._rows: Sequence[memoryview] = [
            cells[worker * octets : (worker + 1) * octets].cast("I") for worker in range(workers)
        ]
        self._own = self._rows[0]

    def begin(self, worker: int) -> None:
        """This process is that worker; what its predecessor left behind is gone with its connections."""
        self._own = self._rows[worker]
        self._own[:] = memoryview(bytes(self._own.nbytes)).cast("I")

    @property
    def connections(self) -> int:
        """All connections."""
        return sum([row[self._ALL] for row in self._rows])

    @property
    def before_login(self) -> int:
        """Connections that have not logged in."""
        return sum([row[self._BEFORE_LOGIN] for row in self._rows])

    def of(self, host: str) -> int:
        """Connections of that address."""
        column = hash(network(host)) % SLOTS
        return sum([row[column] for row in self._rows])

    def enter(self, host: str) -> None:
        """A connection has come."""
        self._own[hash(network(host)) % SLOTS] += 1
        self._own[self._ALL] += 1
        self._own[self._BEFORE_LOGIN] += 1

    def logged_in(self) -> None:
        """A connection has logged in."""
        self._own[self._BEFORE_LOGIN] -= 1

    def leave(self, host: str, *, logged_in: bool) -> None:
        """A connection has gone."""
        self._own[hash(network(host)) % SLOTS] -= 1
        self._own[self._ALL] -= 1
        if not logged_in:
            self._own[self._BEFORE_LOGIN] -= 1


class FadingCounts:
    """How often something happened lately: a count that halves every `half_life` seconds.

    Made before the workers are forked.

    Args:
        workers: how many processes count.
        half_life: seconds.
    """

    def __init__(self, workers: int = 1, half_life: float = 600) -> None:
        self._half_life = half_life
        octets = SLOTS * 16
        cells = memoryview(mmap.mmap(-1, workers * octets))
        self._rows: Sequence[memoryview[float]] = [
            cells[worker * octets : (worker + 1) * octets].cast("d") for worker in range(workers)
        ]
        self._own = self._rows[0]

    def begin(self, worker: int) -> None:
        """This process is that worker; what its predecessor counted stays."""
        self._own = self._rows[worker]

    def get(self, key: object, now: float) -> float:
        """Return the count of a key.

        Args:
            key: hashable.
            now: seconds of a clock that all workers share.
        """
        column = hash(key) % SLOTS * 2
        return sum(self._faded(row, column, now) for row in self._rows)

    def add(self, key: object, now: float) -> None:
        """Count one more."""
        column = hash(key) % SLOTS * 2
        self._own[column] = self._faded(self._own, column, now) + 1
        self._own[column + 1] = now

    def forget(self, key: object) -> None:
        """Start from nothing; the rows of other workers are theirs, and fade."""
        self._own[hash(key) % SLOTS * 2] = 0

    def _faded(self, row: "memoryview[float]", column: int, now: float) -> float:
        value = row[column]
        if not value:
            return 0
        age = max(now - row[column + 1], 0)
        return value * math.pow(0.5, age / self._half_life)
