"""Deliveries that are held in memory as long as they are short."""

from collections.abc import Callable
from dataclasses import dataclass

from restante.stores.files import in_delivery_thread
from restante.stores.maildir.delivery import Incoming

_HELD = 1 << 17
"""Octets of a delivery that are held in memory."""
_ROOM = 1 << 26
"""Octets that all deliveries may hold together."""


@dataclass
class Held:
    """What all deliveries of a store hold in memory."""

    octets: int = 0


class HeldDelivery:
    """See `TraceableDelivery`: a message that is not long goes to a thread only once, with all that is to do for it.

    Args:
        begin: the delivery; blocks.
        together: what all deliveries hold.
    """

    def __init__(self, begin: Callable[[], Incoming], together: Held) -> None:
        self._begin = begin
        self._together = together
        self._held: list[bytes] = []
        self._octets = 0
        self._incoming: Incoming | None = None

    async def write(self, octets: bytes) -> None:
        """See `Delivery.write`."""
        self._held.append(octets)
        self._octets += len(octets)
        self._together.octets += len(octets)
        if self._octets > _HELD or self._together.octets > _ROOM:
            await self._in_thread(self._write)

    @property
    def receipt(self) -> str:
        """See `TraceableDelivery.receipt`."""
        assert self._incoming is not None
        return self._incoming.receipt

    async def prepare(self) -> None:
        """See `Delivery.prepare`."""
        await self._in_thread(lambda: self.complete().prepare())

    async def commit(self) -> None:
        """See `Delivery.commit`."""
        await self._in_thread(lambda: self.complete().commit())

    def complete(self) -> Incoming:
        """Return what has all its octets in a file; blocks.

        Raises:
            OSError, Condition: it cannot begin, or could not be written.
        """
        return self._write() if self._held or self._incoming is None else self._incoming

    async def close(self) -> None:
        """Let go of it; unless it was committed nothing is left."""
        self.forget()
        self._held.clear()
        if self._incoming is not None and not self._incoming.finished:
            await in_delivery_thread(self._incoming.discard)

    async def _in_thread(self, step: Callable[[], object]) -> None:
        try:
            await in_delivery_thread(step)
        finally:
            self.forget()

    def forget(self) -> None:
        """Its octets are not in memory any more."""
        self._together.octets -= self._octets
        self._octets = 0

    def _write(self) -> Incoming:
        if self._incoming is None:
            self._incoming = self._begin()
        octets = b"".join(self._held)
        self._held.clear()
        self._incoming.write(octets)
        return self._incoming
