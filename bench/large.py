"""``python -m bench.large``: a maildrop of 100,000 messages, Restante and Dovecot side by side.

Both have the same messages, whose names tell no sizes, on the same file system.  Steps are interleaved (A B A B …);
every reply is checked; CPU is that of the server's whole process tree.  What counts are the ratios.
"""

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import NamedTuple

from bench.maildrops import OWNER
from bench.peers import PASSWORD, Peer, dovecot, dovecot_missing, restante
from bench.talk import Talk

USER = "large"
BODY = b"From: a@example.org\nTo: b@example.org\nSubject: bench\n\n" + (b"x" * 70 + b"\n") * 8
OCTETS = len(BODY) + BODY.count(b"\n")
QUIET = 3.0
"""Seconds after a change until both servers take the folders' times for settled."""


class Server:
    """One of the two, which can be started anew.

    Args:
        folder: that holds everything.
        name: of the program.
        start: starts it.
    """

    def __init__(self, folder: Path, name: str, start: Callable[[Path, int], AbstractContextManager[Peer]]) -> None:
        self.name = name
        self.maildir = folder / f"mail-{name.lower()}" / USER
        self.stack = ExitStack()
        self.peer: Peer | None = None
        self._folder = folder
        self._start = start

    def restart(self) -> None:
        """Start it, or start it anew."""
        self.stack.close()
        self.peer = self.stack.enter_context(self._start(self._folder, os.cpu_count() or 1))
        (self._folder / "users").chmod(0o644)  # Dovecot reads it as another user

    def forget(self) -> None:
        """Remove what it has remembered of the maildrop."""
        shutil.rmtree(self.maildir / "restante", ignore_errors=True)
        for path in self.maildir.glob("dovecot*"):
            path.unlink()

    def owner(self) -> None:
        """Let the server's user have what was added."""
        if os.geteuid() == 0:
            for path in (self.maildir / "new").iterdir():
                os.chown(path, OWNER, OWNER)


class Cost(NamedTuple):
    """Of one session."""

    latency: float
    """Seconds from PASS to the last reply."""
    cpu: float
    """Seconds."""


def session(server: Server, expected: int, *, unique_ids: bool = False) -> Cost:
    """Log in, STAT or UIDL, QUIT."""
    assert server.peer is not None
    talk = Talk(server.peer.port, USER)
    talk.ask(b"USER " + USER.encode())
    cpu, started = server.peer.cpu(), time.perf_counter()
    talk.ask(b"PASS " + PASSWORD)
    count, octets = map(int, talk.ask(b"STAT").split()[1:3])
    assert (count, octets) == (expected, expected * OCTETS), (server.name, count, octets)
    if unique_ids:
        talk.ask(b"UIDL")
        assert talk.lines() > 10 * expected
    latency = time.perf_counter() - started
    talk.close()
    return Cost(latency, server.peer.cpu() - cpu)


def fill(maildir: Path, messages: int) -> None:
    """Make a Maildir as a delivery agent that knows nothing of sizes in names would."""
    for part in ("tmp", "new", "cur"):
        (maildir / part).mkdir(parents=True)
    for number in range(1, messages + 1):
        (maildir / "cur" / f"{1_600_000_000 + number}.M{number}P1.host:2,S").write_bytes(BODY)
    if os.geteuid() == 0:
        for path in (maildir, *maildir.rglob("*")):
            os.chown(path, OWNER, OWNER)


def arrive(server: Server, number: int) -> None:
    """Let a new message come in, as Postfix would."""
    path = server.maildir / "tmp" / f"{1_700_000_000 + number}.V1I{number}.host"
    path.write_bytes(BODY)
    path.rename(server.maildir / "new" / path.name)
    server.owner()


Step = Callable[[Server, int], Cost]


def first(server: Server, expected: int) -> Cost:
    """Nothing is remembered of the maildrop."""
    server.forget()
    server.restart()
    return session(server, expected)


def restarted(server: Server, expected: int) -> Cost:
    """The index is on disk."""
    server.restart()
    return session(server, expected)


STEPS: list[tuple[str, Step]] = [
    ("first open, nothing remembered", first),
    ("open after a restart, index on disk", restarted),
    ("warm: login, STAT, QUIT", session),
    ("warm: login, STAT, UIDL, QUIT", lambda server, expected: session(server, expected, unique_ids=True)),
]
AFTER_ARRIVAL: list[tuple[str, Step]] = [
    ("one new message has come", session),
    ("and once more, at once", session),
]


def main() -> None:
    """Measure and print a table."""
    arguments = argparse.ArgumentParser(prog="python -m bench.large", description=__doc__)
    arguments.add_argument("--messages", type=int, default=100_000)
    arguments.add_argument("--rounds", type=int, default=3)
    options = arguments.parse_args()
    missing = dovecot_missing()
    with tempfile.TemporaryDirectory(prefix="restante-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        servers = [Server(folder, "Restante", lambda path, workers: restante(path, workers, [USER.encode()]))]
        if missing:
            print(f"Without Dovecot: {missing}")
        else:
            servers.append(Server(folder, "Dovecot", dovecot))
        for server in servers:
            fill(server.maildir, options.messages)
            stack.enter_context(server.stack)
        report(measured(servers, options.messages, options.rounds), servers, options)


def measured(servers: list[Server], messages: int, rounds: int) -> dict[str, list[list[Cost]]]:
    """Run all steps in turn, for each server in turn."""
    results: dict[str, list[list[Cost]]] = {title: [] for title, _ in (*STEPS, *AFTER_ARRIVAL)}
    for number in range(rounds):
        for title, step in STEPS:
            results[title].append([step(server, messages + number) for server in servers])
            time.sleep(QUIET)
        for server in servers:
            arrive(server, number)
        for title, step in AFTER_ARRIVAL:
            results[title].append([step(server, messages + number + 1) for server in servers])
        time.sleep(QUIET)
    return results


def report(results: dict[str, list[list[Cost]]], servers: list[Server], options: argparse.Namespace) -> None:
    """Print the table: medians, and ratios taken within each round."""
    print(f"{options.messages:,} messages of {OCTETS} octets, {options.rounds} rounds, interleaved; one client\n")
    print(
        "| session | Restante, ms | Dovecot, ms | times faster | Restante, ms CPU | Dovecot, ms CPU | times cheaper |"
    )
    print("|---|---|---|---|---|---|---|")
    for title, rounds in results.items():
        cells = []
        for kind in range(2):
            columns = [[costs[index][kind] for costs in rounds] for index in range(len(servers))]
            cells += [f"{statistics.median(column) * 1e3:,.0f}" for column in columns]
            cells.append(_ratio(columns) if len(servers) == 2 else "-")
        print(f"| {title} | {' | '.join(cells)} |")


def _ratio(columns: list[list[float]]) -> str:
    """Say how many times more the second needs; a tick of CPU is 10 ms, so less than one is not told apart."""
    ratios = sorted(max(theirs, 0.0005) / max(ours, 0.0005) for ours, theirs in zip(*columns, strict=True))
    return f"{statistics.median(ratios):.1f} ({ratios[0]:.1f}-{ratios[-1]:.1f})"


if __name__ == "__main__":
    main()
