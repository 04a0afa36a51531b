"""``python -m bench``: Restante and Dovecot side by side.

Rounds are interleaved (A B A B …), one load generator checks every reply, and CPU is that of the server's whole
process tree.  What counts are the ratios; the absolute figures are those of this machine at this moment.

A second table has what is not so many sessions a second: the first poll after a restart, memory, hashed passwords, and
mail that is on the disk only.  Files are made in TMPDIR, which must be on a disk for the last one.

A third table has other servers (Courier, Cyrus, Twisted, and Dovecot as it is after installation) beside Restante.
"""

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from bench import special
from bench.contender import Contender, ratios
from bench.limit import limit
from bench.load import BuildFailed, Load, load
from bench.others import table
from bench.peers import Peer, accounts, dovecot, dovecot_missing, restante
from bench.rows import ROWS, Row

HEAD = (
    "| work | unit | Restante | Dovecot | limit | times cheaper, of Dovecot | wanted | times the throughput |\n"
    "|---|---|---|---|---|---|---|---|"
)


def main() -> int:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="part of the title of a row, or several with | between them")
    parser.add_argument("--others", action="store_true", help="only the table of other servers")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))  # so that the servers end, too
    parts = options.only.split("|")
    rows = [row for row in ROWS if any(part in row.title for part in parts)]
    specials = [row for row in special.ROWS if any(part in row.title for part in parts)]
    of_others = [row for row in table.ROWS if any(part in row.title for part in parts)]
    if options.others:
        rows, specials = [], []
    try:
        load()
    except BuildFailed as problem:
        print(problem, file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="restante-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        if (missing := dovecot_missing()) and not options.others:
            print(f"Without Dovecot: {missing}")
        print(f"{options.rounds} rounds, interleaved; Python {sys.version.split()[0]}")
        if rows:
            print("\nMicroseconds of server CPU for each unit:\n")
            print(HEAD, flush=True)
            for key in dict.fromkeys(row.key for row in rows):
                _measure(folder / key, [row for row in rows if row.key == key], options.rounds, key)
        if specials:
            special.table(folder, specials, options.rounds)
        if of_others:
            table.table(folder / "others", of_others, options.rounds)
    return 0


def _measure(folder: Path, rows: Sequence[Row], rounds: int, key: str) -> None:
    """Print the lines of rows that have certificates of one kind."""
    folder.mkdir()
    kinds = list(dict.fromkeys(row.kind for row in rows))
    for server in ("restante", "dovecot"):
        for kind in kinds:
            kind.fill(folder / f"mail-{server}")
    users = [f"{kind.name}{number}".encode() for kind in kinds for number in range(kind.users)]
    workers = os.cpu_count() or 1
    with ExitStack() as stack:
        ours = stack.enter_context(restante(folder, workers, users, tls=key))
        peers = {False: [ours], True: [ours]}
        if not dovecot_missing():
            _let_dovecot_read(folder / "users", users)
            peers[False].append(stack.enter_context(dovecot(folder, workers, tls=key, name="Dovecot")))
            if any(row.durable for row in rows):
                durable = dovecot(folder, workers, "optimized", tls=key, name="Dovecot durable")
                peers[True].append(stack.enter_context(durable))
        for row in rows:
            print(_measured(folder, row, peers[row.durable], rounds, workers), flush=True)


def _let_dovecot_read(users: Path, names: Sequence[bytes]) -> None:
    """Restante has read it: now it may have a mode that Dovecot can read as another user."""
    users.write_bytes(accounts(names))
    users.chmod(0o644)


def _measured(folder: Path, row: Row, peers: Sequence[Peer], rounds: int, workers: int) -> str:
    """Measure a row; returns its line of the table."""
    with ExitStack() as stack:
        contenders = []
        for peer in peers:
            script = row.script(row.kind, peer)
            # Dovecot's processes do not share the keys of their tickets.
            tls = "offer" if row.tls == "resume" and peer.name != "Restante" else row.tls
            contenders.append(Contender(peer, row, Load(script, row.connections, 0, tls=tls)))
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
    target = f"{row.target:g}" if row.target else "-"
    if len(peers) == 2:
        theirs = contenders[1]
        for which in (0, 1):
            pairs = zip(ours.costs, theirs.costs, strict=True)
            line.append(ratios([(our[which], their[which]) for our, their in pairs]))
        line.insert(-1, target)
    else:
        line += ["-", target, "-"]
    return f"| {' | '.join(line)} |"


if __name__ == "__main__":
    sys.exit(main())
