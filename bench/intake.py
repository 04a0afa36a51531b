"""``python -m bench.intake``: deliveries by LMTP, each durable before its reply, Restante and Dovecot side by side.

Both write to the same disk, with fsync, and have the same mail.  Rounds are interleaved (A B A B …), every reply is
checked, and at the end all messages are counted.  CPU is that of the server's whole process tree.  What counts are the
ratios.
"""

import argparse
import os
import selectors
import shutil
import socket
import statistics
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

from bench.peers import Peer, dovecot, dovecot_missing, restante_lmtp

USERS = [b"user%d" % number for number in range(20)]
HEADER = b"From: a@example.org\r\nTo: b@example.org\r\nSubject: bench\r\nMessage-ID: <%d@example.org>\r\n\r\n"
LINE = b"x" * 70 + b"\r\n"


class Row(NamedTuple):
    """One kind of traffic."""

    title: str
    connections: int
    messages: int
    """In each round, over all connections."""
    octets: int
    recipients: int = 1
    anew: bool = False
    """Each message has a connection of its own."""


ROWS = [
    Row("1 connection, 4 KiB", 1, 300, 4096),
    Row("4 connections, 4 KiB", 4, 1000, 4096),
    Row("16 connections, 4 KiB", 16, 2000, 4096),
    Row("64 connections, 4 KiB", 64, 2000, 4096),
    Row("4 connections, 75 KiB", 4, 400, 75 * 1024),
    Row("4 connections, 5 MiB", 4, 20, 5 << 20),
    Row("4 connections, 10 recipients, 4 KiB", 4, 100, 4096, recipients=10),
    Row("4 at a time, a connection for each message, 4 KiB", 4, 400, 4096, anew=True),
]


class Sender:
    """One connection, which is never waited for."""

    def __init__(self, port: int, row: Row, number: int) -> None:
        self._row = row
        self._number = number
        """Of messages that it has begun, times the number of senders; picks the recipients."""
        self._replies = b""
        self._stage = 0
        self._port = port
        self._unsent = memoryview(b"")
        self._message = HEADER % number + LINE * (row.octets // len(LINE)) + b".\r\n"
        self._open()

    def _open(self) -> None:
        self.socket = socket.create_connection(("127.0.0.1", self._port), timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self._replies, self._stage = b"", 0

    def writable(self) -> bool:
        """Say whether octets wait to be sent."""
        return bool(self._unsent)

    def push(self, octets: bytes = b"") -> None:
        """Send octets, or what waits."""
        if octets:
            self._unsent = memoryview(octets)
        with suppress(BlockingIOError):
            self._unsent = self._unsent[self.socket.send(self._unsent) :]

    def pull(self) -> int:
        """Read replies and go on; returns the messages that are delivered."""
        octets = self.socket.recv(65536)
        assert octets, "the server has closed the connection"
        self._replies += octets
        if not self._replies.endswith(b"\n"):
            return 0
        lines = self._replies.splitlines()
        if self._stage == 0:  # greeting
            self.push(b"LHLO bench\r\n")
            self._stage, self._replies = 1, b""
        elif self._stage == 1 and lines[-1][3:4] == b" ":
            self._begin()
        elif self._stage == 2 and len(lines) == 2 + self._row.recipients:
            assert [line[:3] for line in lines] == [b"250"] * (1 + self._row.recipients) + [b"354"], lines
            self._stage, self._replies = 3, b""
            self.push(self._message)
        elif self._stage == 3 and len(lines) == self._row.recipients:
            assert all(line.startswith(b"250 2.0.0 ") for line in lines), lines
            if self._row.anew:
                self.socket.close()
                self._open()
            else:
                self._begin()
            return 1
        return 0

    def _begin(self) -> None:
        self._number += 1
        recipients = (USERS[(self._number * 7 + more) % len(USERS)] for more in range(self._row.recipients))
        self._stage, self._replies = 2, b""
        self.push(
            b"MAIL FROM:<a@example.org>\r\n" + b"".join(b"RCPT TO:<%s>\r\n" % one for one in recipients) + b"DATA\r\n"
        )


class Cost(NamedTuple):
    """Of one message."""

    seconds: float
    cpu: float


def measure(peer: Peer, row: Row) -> Cost:
    """Deliver the messages of a row."""
    cpu, started = peer.cpu(), time.perf_counter()
    with selectors.DefaultSelector() as selector:
        senders = [Sender(peer.lmtp_port, row, number * 1000) for number in range(row.connections)]
        for sender in senders:
            selector.register(sender.socket, selectors.EVENT_READ, sender)
        delivered = 0
        while delivered < row.messages:
            events = selector.select(60)
            assert events, "the server does not answer"
            for key, ready in events:
                sender, before = key.data, key.fileobj
                if ready & selectors.EVENT_WRITE:
                    sender.push()
                if ready & selectors.EVENT_READ:
                    delivered += sender.pull()
                wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if sender.writable() else 0)
                if before is not sender.socket:
                    selector.unregister(before)
                    selector.register(sender.socket, wanted, sender)
                elif wanted != key.events:
                    selector.modify(before, wanted, sender)
    cost = Cost((time.perf_counter() - started) / delivered, (peer.cpu() - cpu) / delivered)
    for sender in senders:
        sender.socket.close()
    return cost


def main() -> None:
    """Measure and print a table."""
    arguments = argparse.ArgumentParser(prog="python -m bench.intake", description=__doc__)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--row", type=int, action="append", help="only this one, from 0; may be repeated")
    options = arguments.parse_args()
    rows = [ROWS[number] for number in options.row or range(len(ROWS))]
    workers = os.cpu_count() or 1
    with tempfile.TemporaryDirectory(prefix="restante-bench-", dir="/var/tmp") as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        peers = []
        for durability in ("always", "group"):
            (folder / durability).mkdir()
            (folder / durability / "mail-restante").mkdir()
            peers.append(stack.enter_context(restante_lmtp(folder / durability, workers, USERS, durability)))
        if missing := dovecot_missing():
            print(f"Without Dovecot: {missing}")
        else:
            (folder / "dovecot-side" / "mail-dovecot").mkdir(parents=True)
            shutil.copy(folder / "always" / "users", folder / "dovecot-side")
            (folder / "dovecot-side" / "users").chmod(0o644)  # Dovecot reads it as another user
            peers.append(stack.enter_context(dovecot(folder / "dovecot-side", workers, "optimized")))
        report(rows, peers, options.rounds)


def report(rows: list[Row], peers: list[Peer], rounds: int) -> None:
    """Print a line for each row: medians, and ratios taken within each round."""
    print(f"{rounds} rounds, interleaved; messages a second, then server CPU in ms a message\n")
    titles = [peer.name for peer in peers]
    ratios = [f"{title}: times Dovecot" for title in titles[:-1]] if len(peers) == 3 else []
    print("| mail | " + " | ".join([*titles, *ratios, *(f"{title}, CPU" for title in titles)]) + " |")
    print("|" + "---|" * (1 + 2 * len(titles) + len(ratios)))
    for row in rows:
        for peer in peers:
            measure(peer, row._replace(messages=max(row.messages // 10, row.connections)))
        results = [[measure(peer, row) for peer in peers] for _ in range(rounds)]
        columns = list(zip(*results, strict=True))
        cells = [f"{1 / statistics.median(cost.seconds for cost in column):,.0f}" for column in columns]
        if ratios:
            for column in columns[:-1]:
                factors = sorted(
                    theirs.seconds / ours.seconds for ours, theirs in zip(column, columns[-1], strict=True)
                )
                cells.append(f"{statistics.median(factors):.2f} ({factors[0]:.2f}-{factors[-1]:.2f})")
        cells += [f"{statistics.median(cost.cpu for cost in column) * 1e3:.2f}" for column in columns]
        print(f"| {row.title} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
