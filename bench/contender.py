"""A server in one row: what a unit costs it."""

import statistics
import time
from collections.abc import Sequence
from typing import NamedTuple

from bench.load import Load, Run
from bench.peers import Peer
from bench.rows import Row

SECONDS = 1.0
"""Of one measurement, about."""
QUIET = 1.5
"""Seconds after which servers take what has changed for settled; waited for twice."""


class Cost(NamedTuple):
    """Of one unit, in seconds."""

    cpu: float
    elapsed: float


class Contender:
    """A server in one row.

    Args:
        peer: the server.
        row: what is done.
        load: what does it.
    """

    def __init__(self, peer: Peer, row: Row, load: Load) -> None:
        self.peer = peer
        self._row = row
        self._load = load
        self._port = peer.tls_port if row.tls else peer.port
        self.costs: list[Cost] = []
        self._sessions = row.connections * 2
        for _ in range(2):  # the first ones are slower than all others, and so are those just after a change
            self._run(self._sessions)
            time.sleep(QUIET)
        while (warm := self._run(self._sessions)).seconds < SECONDS / 2:
            wanted = round(warm.sessions * SECONDS / warm.seconds)
            self._sessions = max(row.connections, min(wanted, 10 * self._sessions))

    def _run(self, sessions: int) -> Run:
        return self._load.run(self._port, sessions=sessions)

    def measure(self) -> None:
        """Measure once."""
        before = self.peer.cpu()
        run = self._run(self._sessions)
        time.sleep(0.05)  # the last sessions are let go of
        units = run.sessions * self._row.units
        self.costs.append(Cost((self.peer.cpu() - before) / units, run.seconds / units))

    def cost(self) -> str:
        """Return the median of its CPU, in microseconds."""
        return f"{self.median().cpu * 1e6:,.0f}"

    def median(self) -> Cost:
        """Return the median of each."""
        return Cost(*map(statistics.median, zip(*self.costs, strict=True)))


def ratios(rounds: Sequence[tuple[float, float]]) -> str:
    """Say how many times the second is the first: the median of the rounds, and in brackets the least and the most."""
    found = sorted(theirs / max(ours, 1e-9) for ours, theirs in rounds)
    digits = 0 if found[0] > 20 else 1
    return f"{statistics.median(found):.{digits}f} ({found[0]:.{digits}f}-{found[-1]:.{digits}f})"
