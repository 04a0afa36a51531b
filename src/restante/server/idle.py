"""The idle timers of all sessions, by one timer of the loop."""

import asyncio
from typing import Protocol

GRAIN = 0.5
"""Seconds that a session may be looked at too late; too early it never is."""
_MARGIN = 0.01
"""Seconds: timers of uvloop may come a little before their time."""


class Watched(Protocol):
    """What may be silent for too long."""

    def check_idle(self) -> None:
        """Look whether it has been, and be watched again if not."""


class IdleWatch:
    """Looks at sessions when their time may be over.

    A timer of the loop for each would be made and cancelled for every session, however short, and take more memory
    than all else that an idle session needs of the loop.
    """

    def __init__(self) -> None:
        self._slots: dict[int, set[Watched]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._next = 0

    def watch(self, watched: Watched, when: float) -> int:
        """Look at it at that time of the loop's clock, once.

        Returns:
            What `forget` needs to know.
        """
        slot = int(when / GRAIN) + 1
        waiting = self._slots.get(slot)
        if waiting is None:
            waiting = self._slots[slot] = set()
            if self._timer is None or slot < self._next:
                self._set_timer(slot)
        waiting.add(watched)
        return slot

    def forget(self, watched: Watched, slot: int) -> None:
        """It has ended."""
        waiting = self._slots.get(slot)
        if waiting is not None:
            waiting.discard(watched)  # an empty slot goes when its time comes: others are likely to come into it

    def _set_timer(self, slot: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._next = slot
        self._timer = asyncio.get_running_loop().call_at(slot * GRAIN + _MARGIN, self._look)

    def _look(self) -> None:
        self._timer = None
        last = int(asyncio.get_running_loop().time() / GRAIN)
        for slot in sorted(slot for slot in self._slots if slot <= last):
            waiting = self._slots[slot]
            while waiting:  # whoever is watched again comes into a later slot
                waiting.pop().check_idle()
            del self._slots[slot]
        if self._slots and self._timer is None:
            self._set_timer(min(self._slots))
