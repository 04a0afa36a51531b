"""``python -m bench``: Restante and Dovecot side by side.

Rounds are interleaved (A B A B …), one load generator checks every reply, and CPU is that of the server's whole
process tree.  What counts are the ratios; the absolute figures are those of this machine at this moment.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from bench.limit import limit
from bench.load import BuildFailed, Load, Run, load
from bench.peers import PASSWORD, Peer, dovecot, dovecot_missing, restante
from bench.rows import ROWS, Row

SECONDS = 1.0
"""Of one measurement, about."""
QUIET = 1.5
"""Seconds after which servers take what has changed for settled; waited for twice."""
HEAD = (
    "| work | unit | Restante | Dovecot | limit | times cheaper, of Dovecot | wanted | times the throughput |\n"
    "|---|---|---|---|---|---|---|---|"
)


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
        return f"{statistics.median(cost.cpu for cost in self.costs) * 1e6:,.0f}"


def main() -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="part of the title of a row, or several with | between them")
    options = parser.parse_args()
    rows = [row for row in ROWS if any(part in row.title for part in options.only.split("|"))]
    try:
        load()
    except BuildFailed as problem:
        print(problem, file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="restante-bench-") as name:
        _table(Path(name), rows, options.rounds)
    return 0


def _table(folder: Path, rows: Sequence[Row], rounds: int) -> None:
    folder.chmod(0o755)
    kinds = list(dict.fromkeys(row.kind for row in rows))
    for server in ("restante", "dovecot"):
        for kind in kinds:
            kind.fill(folder / f"mail-{server}")
    users = [f"{kind.name}{number}".encode() for kind in kinds for number in range(kind.users)]
    workers = os.cpu_count() or 1
    missing = dovecot_missing()
    with ExitStack() as stack:
        ours = stack.enter_context(restante(folder, workers, users, tls=True))
        peers = {False: [ours], True: [ours]}
        if missing:
            print(f"Without Dovecot: {missing}")
        else:
            _let_dovecot_read(folder / "users", users)
            peers[False].append(stack.enter_context(dovecot(folder, workers, tls=True, name="Dovecot")))
            if any(row.durable for row in rows):
                durable = dovecot(folder, workers, "optimized", tls=True, name="Dovecot durable")
                peers[True].append(stack.enter_context(durable))
        print(
            f"{rounds} rounds, interleaved; microseconds of server CPU for each unit; Python {sys.version.split()[0]}\n"
        )
        print(HEAD, flush=True)
        for row in rows:
            print(_measured(folder, row, peers[row.durable], rounds, workers), flush=True)


def _let_dovecot_read(users: Path, names: Sequence[bytes]) -> None:
    """Restante has read it: now it may have a mode that Dovecot can read as another user."""
    users.write_bytes(b"".join(b"%b:{PLAIN}%b\n" % (name, PASSWORD) for name in names))
    users.chmod(0o644)


def _measured(folder: Path, row: Row, peers: Sequence[Peer], rounds: int, workers: int) -> str:
    """Measure a row; returns its line of the table."""
    with ExitStack() as stack:
        contenders = []
        for peer in peers:
            script = row.script(row.kind, peer)
            contenders.append(Contender(peer, row, Load(script, row.connections, 0, tls=row.tls)))
        if row.limit:
            script = row.script(row.kind, peers[0])
            by_heart = stack.enter_context(limit(folder / "limit", workers, script.replies))
            contenders.append(Contender(by_heart, row, Load(script, row.connections, 0)))
        for _ in range(rounds):
            for contender in contenders:
                contender.measure()
    ours = contenders[0]
    cells = {contender.peer.name.split()[0]: contender.cost() for contender in contenders}
    line = [row.title, row.unit, *(cells.get(name, "-") for name in ("Restante", "Dovecot", "limit"))]
    if len(peers) == 2:
        theirs = contenders[1]
        line += [_ratios(theirs.costs, ours.costs, 0), f"{row.target:g}", _ratios(theirs.costs, ours.costs, 1)]
    else:
        line += ["-", f"{row.target:g}", "-"]
    return f"| {' | '.join(line)} |"


def _ratios(theirs: Sequence[Cost], ours: Sequence[Cost], which: int) -> str:
    ratios = sorted(its[which] / max(our[which], 1e-9) for its, our in zip(theirs, ours, strict=True))
    digits = 0 if ratios[0] > 20 else 1
    return f"{statistics.median(ratios):.{digits}f} ({ratios[0]:.{digits}f}-{ratios[-1]:.{digits}f})"


if __name__ == "__main__":
    sys.exit(main())
