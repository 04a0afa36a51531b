"""Logins whose passwords are hashed with Argon2id: each user comes once, and soon once more.

Dovecot's cache holds the accounts (seen to), but what is in it are the hashes: it hashes at each login.
"""

import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from bench.load import Load, Script
from bench.maildrops import HASHED, Kind
from bench.outcome import Outcome
from bench.pair import Side, running, sides
from bench.peers import PASSWORD, Peer
from bench.talk import Talk
from restante.authenticators import schemes

RATE = 200
"""Logins a second, where the machine can do so many."""
PART = 0.6
"""Of what the slower one can do, where it can do less."""
BLOCK = 20
"""Users who come one after the other, before they come again; the first session of each has ended by then."""
USERS = 40
"""Of one measurement; nobody comes in a later one, who would be remembered."""
AT_ONCE = 64
"""Sessions at a time, at most; far more than there are while a server keeps up."""
FEW = 4
"""Sessions at a time that keep a server busy."""
UNPACED = 1_000_000
"""Logins a second that nobody can do."""


def measure(folder: Path, rounds: int) -> Outcome:
    """Return the milliseconds of CPU for each login."""
    kind = HASHED._replace(users=USERS * (rounds + 1))
    stored: dict[bytes, bytes] = {}
    pair = sides(folder, kind, lambda user: stored.get(user) or stored.setdefault(user, _hash()), cached=True)
    found: list[list[float]] = [[] for _ in pair]
    slowest = float(RATE)
    with running(pair) as peers:
        for peer, side in zip(peers, pair, strict=True):
            # Each once: a repeat may take so little that it would come before the first session has ended.
            slowest = min(slowest, USERS / _load(kind, 0, UNPACED, FEW, USERS).run(peer.port, sessions=USERS).seconds)
            _look_for_cache(side, kind)
        rate = RATE if slowest / RATE >= 1 else max(1, int(slowest * PART))
        kept = True
        for number in range(1, rounds + 1):
            for peer, figures in zip(peers, found, strict=True):
                before = peer.cpu()
                run = _load(kind, number * USERS, rate, AT_ONCE).run(peer.port)
                time.sleep(0.05)  # the last session is let go of
                figures.append((peer.cpu() - before) * 1e3 / run.sessions)
                kept = kept and run.seconds < 1.25 * run.sessions / rate
        for peer in peers:  # not before: a wrong one makes those that come after it wait
            _look(peer, kind)
    return Outcome(found, _note(rate, stored, kept=kept))


def _hash() -> bytes:
    return schemes.make(PASSWORD, "ARGON2ID").encode()


def _load(kind: Kind, first: int, rate: float, at_once: int, block: int = BLOCK) -> Load:
    """Return a load in which each of so many users logs in twice."""
    script = Script(kind.user).ask("STAT", kind.stat()).paced(rate, block)
    return Load(script, at_once, 2 * USERS, first)


def _look(peer: Peer, kind: Kind) -> None:
    """See that passwords are looked at."""
    talk = Talk(peer.port, f"{kind.name}0")
    talk.ask(b"USER %b0" % kind.name.encode())
    if not talk.refused(b"PASS not-" + PASSWORD):
        raise RuntimeError(f"{peer.name} takes a wrong password")


def _look_for_cache(side: Side, kind: Kind) -> None:
    """See that Dovecot has the first user in its cache."""
    if side.name != "Dovecot":
        return
    program = shutil.which("doveadm") or "/usr/bin/doveadm"
    configuration = side.mail.parent / "dovecot.conf"
    command = [program, "-c", str(configuration), "auth", "cache", "flush", f"{kind.name}0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if not done.stdout.startswith("1 cache entries"):
        raise RuntimeError(f"Dovecot's cache of logins does not work: {done.stdout} {done.stderr}")


def _note(rate: int, stored: Mapping[bytes, bytes], *, kept: bool) -> str:
    parameters = next(iter(stored.values())).split(b"$")[3].decode()
    return f"{parameters}; {rate} logins a second" + ("" if kept else " were offered, and not all servers kept up")
