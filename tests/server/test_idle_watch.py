"""One timer for the idle times of all sessions (P-138)."""

import asyncio
import random
from collections.abc import Iterator

import pytest

from restante.server.idle import GRAIN, IdleWatch


class SteppedLoop(asyncio.SelectorEventLoop):
    """A loop whose clock stands still until it is put forward."""

    now = 1000.0

    def time(self) -> float:
        return self.now


STEP = 0.1
"""Seconds."""


class Sleeper:
    """Notes when it was looked at; watched again as often as it was told."""

    def __init__(self, loop: SteppedLoop, watch: IdleWatch, again: int = 0) -> None:
        self._loop, self._watch, self._again = loop, watch, again
        self.looked: list[float] = []
        self.due = 0.0
        self.slot = 0

    def begin(self, seconds: float) -> None:
        self.due = self._loop.time() + seconds
        self.slot = self._watch.watch(self, self.due)

    def begin_in(self, seconds: float) -> None:
        """The same, from outside the loop."""
        self._loop.call_soon(self.begin, seconds)
        self._loop.run_until_complete(asyncio.sleep(0))

    def check_idle(self) -> None:
        self.looked.append(self._loop.time() - self.due)
        if len(self.looked) <= self._again:
            self.begin(10)


@pytest.fixture
def loop() -> Iterator[SteppedLoop]:
    loop = SteppedLoop()
    yield loop
    loop.close()


def travel(loop: SteppedLoop, seconds: float) -> None:
    """Put the clock forward by small steps, and let run what is due."""

    async def run() -> None:
        for _ in range(round(seconds / STEP)):
            loop.now += STEP
            for _ in range(3):
                await asyncio.sleep(0)

    loop.run_until_complete(run())


def test_never_too_early_and_hardly_late(loop: SteppedLoop) -> None:
    """Each once, whatever the order in which they came."""
    generator = random.Random(7)
    watch = IdleWatch()
    sleepers = [Sleeper(loop, watch) for _ in range(300)]
    for sleeper in sleepers:
        sleeper.begin_in(generator.uniform(0, 60))
    travel(loop, 62)
    late = [seconds for sleeper in sleepers for seconds in sleeper.looked]
    assert len(late) == len(sleepers)
    assert all(len(sleeper.looked) == 1 for sleeper in sleepers)
    assert min(late) >= 0
    assert max(late) <= GRAIN + 2 * STEP


def test_again_and_not_any_more(loop: SteppedLoop) -> None:
    """Who is watched again is looked at again; who has ended is not, even by the one before it."""
    watch = IdleWatch()
    again, gone = Sleeper(loop, watch, again=2), Sleeper(loop, watch)
    again.begin_in(10)
    gone.begin_in(15)
    for _ in range(2):
        watch.forget(gone, gone.slot)
    travel(loop, 40)
    assert len(again.looked) == 3
    assert gone.looked == []


def test_ended_by_its_neighbour(loop: SteppedLoop) -> None:
    """Two of one slot: the look at either ends the other."""
    watch = IdleWatch()

    class Rival(Sleeper):
        other: Sleeper

        def check_idle(self) -> None:
            super().check_idle()
            watch.forget(self.other, self.other.slot)

    one, other = Rival(loop, watch), Rival(loop, watch)
    one.other, other.other = other, one
    one.begin_in(10)
    other.begin_in(10)
    travel(loop, 12)
    assert len(one.looked + other.looked) == 1
