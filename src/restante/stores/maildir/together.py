"""Many deliveries to a Maildir that become durable together: one thread, and one flush for all their names."""

from collections.abc import Callable, Iterable, Sequence
from typing import cast

from restante.errors import Condition
from restante.maildrop import Delivery
from restante.stores.files import condition, in_delivery_thread
from restante.stores.maildir.delivery import Incoming
from restante.stores.maildir.held import HeldDelivery

Failures = dict[int, Condition]
"""What went wrong, by the place in the sequence."""


async def prepare(deliveries: Sequence[Delivery]) -> Sequence[Condition | None]:
    """See `Traceable.prepare_together`."""
    ours = cast("Sequence[HeldDelivery]", deliveries)
    try:
        return await in_delivery_thread(_prepare, ours)
    finally:
        for delivery in ours:
            delivery.forget()


async def commit(deliveries: Sequence[Delivery]) -> Sequence[Condition | None]:
    """See `Traceable.commit_together`."""
    return await in_delivery_thread(_commit, cast("Sequence[HeldDelivery]", deliveries))


def _prepare(deliveries: Sequence[HeldDelivery]) -> list[Condition | None]:
    failed: Failures = {}
    ready: dict[int, Incoming] = {}

    def complete(place: int) -> None:
        incoming = deliveries[place].complete()
        incoming.complete()
        incoming.start_writing()  # the disk works on all while the first is waited for
        ready[place] = incoming

    _each(range(len(deliveries)), complete, failed)
    first = next(iter(ready.values()), None)
    shared = first is not None and first.shares_flushes
    try:
        if first is not None and shared:
            first.prepare()
    except OSError as error:  # nobody knows whose octets it was, and the next flush would not tell
        failed |= dict.fromkeys(ready, condition(error))
    else:
        _each(list(ready), lambda place: ready[place].prepare(flushed=shared), failed)
    return [failed.get(place) for place in range(len(deliveries))]


def _commit(deliveries: Sequence[HeldDelivery]) -> list[Condition | None]:
    failed: Failures = {}
    moved: dict[int, Incoming] = {}

    def move(place: int) -> None:
        incoming = deliveries[place].complete()
        incoming.move()
        moved[place] = incoming

    _each(range(len(deliveries)), move, failed)
    for folder in dict.fromkeys(incoming.new for incoming in moved.values()):
        there = [place for place, incoming in moved.items() if incoming.new == folder]
        try:
            moved[there[0]].flush_new()
        except OSError as error:
            failed |= dict.fromkeys(there, condition(error))
    _each([place for place in moved if place not in failed], lambda place: moved[place].arrived(), failed)
    return [failed.get(place) for place in range(len(deliveries))]


def _each(places: Iterable[int], step: Callable[[int], None], failed: Failures) -> None:
    """What goes wrong with one keeps none of the others."""
    for place in places:
        try:
            step(place)
        except OSError as error:
            failed[place] = condition(error)
        except Condition as error:
            failed[place] = error
