"""What is wrong with connections that never become sessions, without flooding the log (P-240)."""

import logging
import time

from restante.server.addresses import Peer
from restante.server.census import network

log = logging.getLogger("restante.connection")

EVERY = 60.0
"""Seconds in which one address is told of once for one problem."""
REMEMBERED = 1000


class Complaints:
    """Logs a problem of an address once in a while, and how often it was kept silent in between."""

    def __init__(self) -> None:
        self._said: dict[tuple[str, str], tuple[float, int]] = {}

    def say(self, peer: Peer, problem: str) -> None:
        """A connection is turned away for this."""
        key = (network(peer.host), problem)
        now = time.monotonic()
        last, silent = self._said.pop(key, (-EVERY, 0))
        if now < last + EVERY:
            self._said[key] = (last, silent + 1)
            return
        log.warning("turned away, address=%s: %s%s", peer, problem, f" (and {silent} times before)" if silent else "")
        self._said[key] = (now, 0)
        if len(self._said) > REMEMBERED:
            del self._said[next(iter(self._said))]
