"""``python -m bench``: Restante and Dovecot side by side.

Rounds are interleaved (A B A B …), the same load generator checks every reply, and CPU is that of the server's whole
process tree.  What counts are the ratios; the absolute figures are those of this machine at this moment.
"""

import argparse
import os
import socket
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from bench.peers import PASSWORD, USER, Peer, dovecot, dovecot_missing, restante

KIB = b"x" * 70 + b"\n"


class Row(NamedTuple):
    """One kind of session."""

    title: str
    user: str
    sessions: int
    """In each round."""
    work: "Callable[[Talk], None]"


class Talk:
    """One connection; every reply is looked at."""

    def __init__(self, port: int, user: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb", buffering=262_144)
        self._user = user
        self._expect_ok()

    def ask(self, line: bytes) -> bytes:
        """Send a command; returns the status line."""
        self._socket.sendall(line + b"\r\n")
        return self._expect_ok()

    def lines(self) -> int:
        """Read a multi-line reply to its end; returns its octets."""
        octets = 0
        while (line := self._file.readline()) != b".\r\n":
            assert line
            octets += len(line)
        return octets

    def login(self) -> None:
        """Go to TRANSACTION."""
        self.ask(b"USER " + self._user.encode())
        self.ask(b"PASS " + PASSWORD)

    def close(self) -> None:
        """Say QUIT, and wait until the server has closed."""
        self.ask(b"QUIT")
        assert self._file.read() == b""
        self._file.close()
        self._socket.close()

    def _expect_ok(self) -> bytes:
        line = self._file.readline()
        assert line.startswith(b"+OK"), line
        return line


def nothing(_: Talk) -> None:
    """Connect, greeting, QUIT."""


def poll(talk: Talk) -> None:
    """What a client does that finds nothing new."""
    talk.login()
    talk.ask(b"STAT")


def unique_ids(talk: Talk) -> None:
    """What a client does that leaves mail on the server."""
    talk.login()
    talk.ask(b"UIDL")
    assert talk.lines() > 1000


def read_all(talk: Talk) -> None:
    """List and read what is there."""
    talk.login()
    count = int(talk.ask(b"STAT").split()[1])
    talk.ask(b"LIST")
    talk.lines()
    for number in range(1, count + 1):
        size = int(talk.ask(b"RETR %d" % number).split()[1])
        assert talk.lines() == size


ROWS = [
    Row("connect, greeting, QUIT", "ten", 300, nothing),
    Row("login, STAT, QUIT; 10 messages", "ten", 300, poll),
    Row("login, UIDL, QUIT; 1,000 messages", "thousand", 100, unique_ids),
    Row("STAT, LIST, 10 RETR of 4 KiB, QUIT", "ten", 100, read_all),
    Row("STAT, LIST, 10 RETR of 75 KiB, QUIT", "medium", 30, read_all),
    Row("STAT, LIST, RETR of 5 MiB, QUIT", "large", 30, read_all),
]
MAILDROPS = {"ten": (10, 4096), "thousand": (1000, 2000), "medium": (10, 75 * 1024), "large": (1, 5 * 2**20)}


def fill(folder: Path) -> None:
    """Make the same Maildirs for each server, as a delivery agent that knows nothing of sizes in names would."""
    for server in ("restante", "dovecot"):
        for user, (count, size) in MAILDROPS.items():
            maildir = folder / f"mail-{server}" / user
            for part in ("tmp", "new", "cur"):
                (maildir / part).mkdir(parents=True)
            body = b"Subject: bench\nFrom: a@example.org\n\n" + KIB * (size // len(KIB))
            for number in range(1, count + 1):
                (maildir / "cur" / f"{1_700_000_000 + number}.M{number}P1.host:2,S").write_bytes(body)


def measure(peer: Peer, row: Row) -> tuple[float, float]:
    """Run one round; returns (seconds of server CPU, seconds) for each session."""
    cpu, started = peer.cpu(), time.perf_counter()
    for _ in range(row.sessions):
        talk = Talk(peer.port, row.user)
        row.work(talk)
        talk.close()
    elapsed = time.perf_counter() - started
    return (peer.cpu() - cpu) / row.sessions, elapsed / row.sessions


def main() -> None:
    """Measure and print a table."""
    arguments = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    arguments.add_argument("--rounds", type=int, default=5)
    options = arguments.parse_args()
    missing = dovecot_missing()
    with tempfile.TemporaryDirectory(prefix="restante-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        fill(folder)
        workers = os.cpu_count() or 1
        peers = [stack.enter_context(restante(folder, workers))]
        users = "".join(f"{user}:{{PLAIN}}{PASSWORD.decode()}\n" for user in (USER.decode(), *MAILDROPS))
        (folder / "users").write_text(users, encoding="ascii")
        (folder / "users").chmod(0o644)
        if missing:
            print(f"Without Dovecot: {missing}")
        else:
            peers.append(stack.enter_context(dovecot(folder, workers)))
        report(peers, options.rounds)


def report(peers: list[Peer], rounds: int) -> None:
    """Print the table: medians, with the spread of the ratios over the rounds."""
    print(f"{rounds} rounds, interleaved; server CPU for each session; one client\n")
    print("| session | Restante, µs CPU | Dovecot, µs CPU | times cheaper | times the throughput |")
    print("|---|---|---|---|---|")
    for row in ROWS:
        for peer in peers:
            measure(peer, row)  # warm
        results = [[measure(peer, row) for peer in peers] for _ in range(rounds)]
        cells = [
            f"{statistics.median(result[index][0] for result in results) * 1e6:,.0f}" for index in range(len(peers))
        ]
        if len(peers) == 2:
            for kind in (0, 1):
                ratios = sorted(theirs[kind] / max(ours[kind], 1e-9) for ours, theirs in results)
                cells.append(f"{statistics.median(ratios):.1f} ({ratios[0]:.1f}-{ratios[-1]:.1f})")
        else:
            cells += ["-"] * 3
        print(f"| {row.title} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
