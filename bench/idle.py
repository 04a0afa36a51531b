"""Sessions that have logged in and say nothing: the memory that one more of them takes."""

import time
from pathlib import Path

from bench.load import Load, Script
from bench.maildrops import IDLE
from bench.outcome import Outcome
from bench.pair import raise_limit_of_files, sides
from bench.peers import Peer

DOVECOTS = 1_000
"""Sessions of Dovecot, which has a process for each: ten times as many would be gigabytes."""
SPARE = 500
"""Files that a process opens besides."""
RATE = 1_000
"""Logins a second: all at once would leave behind what only their rush needed."""
WARM = 200
"""Sessions before the memory without any is looked at."""
QUIET = 2.0
"""Seconds after which a server has let go of what it needed for the logins."""
_ESTABLISHED = "01"


def measure(folder: Path, rounds: int) -> Outcome:
    """Return the KiB of PSS, of the whole process tree, for each session."""
    users = min(IDLE.users, raise_limit_of_files() - SPARE)
    pair = sides(folder, IDLE._replace(users=users), few=min(users, DOVECOTS))
    found: list[list[float]] = [[] for _ in pair]
    for _ in range(rounds):
        for side, figures in zip(pair, found, strict=True):
            with side.start() as peer:
                figures.append(_memory_of_one(peer, side.users) / 1024)
    counts = [f"{side.users:,} of {side.name}" for side in pair]
    return Outcome(found, f"PSS with {' and '.join(counts)} less PSS with none")


def _memory_of_one(peer: Peer, sessions: int) -> float:
    script = Script(IDLE.user).ask("STAT", IDLE.stat())
    Load(script, 8, WARM).run(peer.port)
    time.sleep(QUIET)
    without = peer.memory()
    with Load(script.hold().paced(RATE, sessions), sessions, sessions).held(peer.port):
        time.sleep(QUIET)
        memory = peer.memory() - without
        if (there := _established(peer.port)) < sessions:
            raise RuntimeError(f"{peer.name}: {there} of {sessions} sessions are there")
    return memory / sessions


def _established(port: int) -> int:
    """Count the connections of a server that are open, and perhaps some of others that have its port as their own."""
    lines = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    fields = [line.split()[1:4] for line in lines]
    return sum(state == _ESTABLISHED and int(local.rpartition(":")[2], 16) == port for local, _, state in fields)
