"""The first poll after the server was started anew: what it had remembered is in its files, and those in the cache."""

import statistics
import time
from pathlib import Path

from bench.contender import QUIET
from bench.maildrops import Kind
from bench.outcome import Outcome
from bench.pair import Side, sides
from bench.talk import Talk

RESTARTS = 3
"""In a round, whose figure is their median: each is over in milliseconds."""
SETTLED = 0.3
"""Seconds after its start until a server has nothing left to do."""
_OF_MAILDIR = {"cur", "new", "tmp"}


def measure(folder: Path, rounds: int, messages: int) -> Outcome:
    """Return the milliseconds from USER to the reply to STAT."""
    kind = Kind(f"restart{messages}u", 1, (2048 if messages < 10_000 else 600,) * messages)
    pair = sides(folder, kind)
    for side in pair:
        for _ in range(2):  # the second one writes down what has settled
            _first_poll(side, kind)
            time.sleep(QUIET)
        _look_for_index(side, kind)
    found: list[list[float]] = [[] for _ in pair]
    for _ in range(rounds):
        for side, figures in zip(pair, found, strict=True):
            figures.append(statistics.median(_first_poll(side, kind) for _ in range(RESTARTS)) * 1e3)
    return Outcome(found)


def _first_poll(side: Side, kind: Kind) -> float:
    """Start the server, be its first client, and end it; returns seconds."""
    with side.start() as peer:
        time.sleep(SETTLED)
        talk = Talk(peer.port, f"{kind.name}0")
        began = time.perf_counter()
        talk.login()
        reply = talk.ask(b"STAT")
        seconds = time.perf_counter() - began
        talk.close()
    if not reply.decode().startswith(kind.stat()):
        raise RuntimeError(f"{side.name}: STAT is answered {reply!r}")
    return seconds


def _look_for_index(side: Side, kind: Kind) -> None:
    maildir = side.mail / f"{kind.name}0"
    if not [path for path in maildir.iterdir() if path.name not in _OF_MAILDIR and path.stat().st_size]:
        raise RuntimeError(f"{side.name} has written no index to {maildir}")
