"""When a dead worker is replaced, and what is said of it; tests/cli/test_serve.py kills real ones."""

import os
import signal

import pytest

from restante.server.supervisor import LONGEST_WAIT, QUICK_DEATH, BackOff, in_words


def test_the_first_death_costs_no_time() -> None:
    assert BackOff().wait(lived=0.0) == 0


def test_each_quick_death_doubles_the_wait_up_to_half_a_minute() -> None:
    back_off = BackOff()
    assert [back_off.wait(lived=0.1) for _ in range(10)] == [0, 0.5, 1, 2, 4, 8, 16, 30, 30, 30]


def test_the_wait_stays_the_longest_for_ever() -> None:
    """However long that is; a power of two would have outgrown every number."""
    back_off = BackOff()
    assert {back_off.wait(lived=0.0) for _ in range(5000)} == {0, 0.5, 1, 2, 4, 8, 16, LONGEST_WAIT}


@pytest.mark.parametrize(("lived", "seconds"), [(QUICK_DEATH, [0, 0.5]), (QUICK_DEATH - 0.01, [4, 8])])
def test_a_long_life_is_a_new_beginning(lived: float, seconds: list[float]) -> None:
    back_off = BackOff()
    for _ in range(4):
        back_off.wait(lived=0.0)
    assert [back_off.wait(lived), back_off.wait(lived=0.0)] == seconds


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (lambda: os._exit(0), "ended with exit status 0"),
        (lambda: os._exit(3), "ended with exit status 3"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "was killed by SIGKILL"),
        (lambda: os.kill(os.getpid(), signal.SIGTERM), "was killed by SIGTERM"),
    ],
    ids=["0", "3", "SIGKILL", "SIGTERM"],
)
def test_how_a_process_ended(end: object, words: str) -> None:
    process = os.fork()
    if process == 0:
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            end()  # type: ignore[operator]
        finally:
            os._exit(99)
    assert in_words(os.waitpid(process, 0)[1]) == words


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (signal.SIGSEGV, "was killed by SIGSEGV"),
        (signal.SIGSEGV | 0x80, "was killed by SIGSEGV"),  # and a core was dumped
        (signal.SIGRTMIN + 2, f"was killed by signal {signal.SIGRTMIN + 2}"),
    ],
)
def test_a_status_in_words(status: int, words: str) -> None:
    """As waitpid(2) gives it."""
    assert in_words(status) == words
