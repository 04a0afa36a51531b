"""The crash matrix: a run with a fault, a run without, and then every message is counted.

What counts is what stands in the Maildir after the second run, and what is left on the server.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import NamedTuple

from bench.fetchers import servers
from bench.fetchers.programs import FETCHERS, PER_MAIL, Fetcher, Job, chosen, fetched
from bench.fetchers.relay import Fault, Relay
from bench.fetchers.servers import Server

TIMEOUT = 180.0
"""Seconds for one run of a fetcher."""
HANGS = 30.0
"""Seconds after which a run with a fault will not end any more."""
FAULTS = [Fault.CUT_IN_RETRIEVAL, Fault.CUT_BEFORE_QUIT, Fault.QUIT_REPLY_LOST, Fault.KILL, Fault.EMPTY]
FEW, MANY = 10, 200
"""Messages: for faults whose place is known, and for a kill at any place."""
_TRIALS = 4000
_SIZES = (200, 1_000, 4_000, 4_000, 20_000, 60_000)
_END = b"-- end of the message"


class Damage(NamedTuple):
    """What a fault has cost."""

    duplicates: int
    """Files in the Maildir that are none, or not the first, of the whole messages."""
    left: int
    """Messages that should have been deleted from the server."""
    lost: int
    """Messages that are not in the Maildir as a whole, and, where they are deleted, not on the server either."""
    hung: int = 0
    """Runs that did not end after their fault, and were killed."""

    def __add__(self, other: object) -> "Damage":
        assert isinstance(other, Damage)
        return Damage(*(mine + its for mine, its in zip(self, other, strict=True)))

    def __str__(self) -> str:
        figures = " / ".join(str(number) if number == 0 else f"**{number}**" for number in self[:3])
        return figures + (", **hangs**" if self.hung else "")


def messages(number: int) -> list[bytes]:
    """Make messages of mixed sizes, the same each time."""
    dice = random.Random(number)
    made = []
    for one in range(1, number + 1):
        lines = dice.choice(_SIZES) // 60
        body = b"".join(b".%059d\n" % line if line % 7 == 0 else b"%060d\n" % line for line in range(lines))
        header = b"From: a@example.org\nTo: b@example.org\nSubject: %d\nMessage-ID: <%d@example.org>\n\n" % (one, one)
        made.append(header + body + _END + b" %d\n" % one)
    return made


class Trials:
    """Tries fetchers on one server, each time with a maildrop and a folder of its own.

    Args:
        server: that is fetched from.
        folder: an empty one.
    """

    def __init__(self, server: Server, folder: Path) -> None:
        self._server = server
        self._folder = folder
        self._numbers = count(1)

    def one(self, fetcher: Fetcher, fault: Fault, *, keep: bool, number: int, kill_at: int = 0) -> Damage:
        """Run a fetcher with a fault, then without, and look what there is.

        Args:
            fetcher: to be tried.
            fault: of the first run; `Fault.EMPTY` has a run before it that fetches all.
            keep: the messages stay on the server.
            number: of messages.
            kill_at: octets from the server after which it is killed, for `Fault.KILL`.

        Raises:
            RuntimeError: the fault could not be made, or the fetcher did not end.
        """
        with self._job(number, keep=keep) as (job, relay):
            if fault is Fault.EMPTY:
                # Where messages are deleted there must be something that it could forget: a deletion that is owed.
                _run(fetcher, job, relay, Fault.NONE if keep else Fault.CUT_BEFORE_QUIT)
            hung = not _run(fetcher, job, relay, fault, kill_at)
            if not _run(fetcher, job, relay, Fault.NONE):
                raise RuntimeError(f"{fetcher.name}: does not end")
        return self._damage(job, number)._replace(hung=int(hung))

    def kills(self, fetcher: Fetcher, *, keep: bool, points: int, number: int = MANY) -> Damage:
        """Kill a fetcher at random points, the same each time; returns the sum of the damage."""
        with self._job(number, keep=keep) as (job, relay):
            _run(fetcher, job, relay, Fault.NONE)
            octets = relay.octets
        dice = random.Random(f"{fetcher.name} {self._server.name} {keep}")
        places = [dice.randint(1, octets * 99 // 100) for _ in range(points)]  # greetings are not always of one length

        def one(kill_at: int) -> Damage:
            return self.one(fetcher, Fault.KILL, keep=keep, number=number, kill_at=kill_at)

        with ThreadPoolExecutor(os.cpu_count()) as pool:  # each has a maildrop of its own
            return sum(pool.map(one, places), Damage(0, 0, 0))

    @contextmanager
    def _job(self, number: int, *, keep: bool) -> Iterator[tuple[Job, Relay]]:
        user = f"u{next(self._numbers)}"
        self._server.fill(user, messages(number))
        folder = self._folder / user
        folder.mkdir()
        with Relay(self._server.host, self._server.port) as relay:
            yield Job("127.0.0.1", relay.port, user, keep, folder), relay

    def _damage(self, job: Job, number: int) -> Damage:
        files = list(fetched(job))
        whole = {one for path in files if (one := _which(path))}
        left = self._server.left(job.user)
        there = whole if job.keep else whole | {one for path in left if (one := _which(path))}
        return Damage(len(files) - len(whole), 0 if job.keep else len(left), number - len(there))


def _run(fetcher: Fetcher, job: Job, relay: Relay, fault: Fault, kill_at: int = 0) -> bool:
    """Run a fetcher; returns whether it ended by itself, or by the kill that is the fault."""
    started: Future[int] = Future()

    def kill() -> None:
        with suppress(ProcessLookupError):
            os.killpg(started.result(TIMEOUT), signal.SIGKILL)

    relay.expect(fault, kill, kill_at)
    process = fetcher.start(job)
    started.set_result(process.pid)
    ended = True
    try:
        process.wait(TIMEOUT if fault is Fault.NONE else HANGS)
    except subprocess.TimeoutExpired:
        ended = False
        kill()
        process.wait(TIMEOUT)
    relay.wait()
    if fault is not Fault.NONE and not relay.happened:
        log = (job.folder / "log").read_text(encoding="utf-8", errors="replace")
        raise RuntimeError(f"{fetcher.name}, {fault.value}: did not come to it; it says: {log}")
    return ended


def _which(path: Path) -> int:
    """Return the number of the message in a file; 0: it is not whole."""
    octets = path.read_bytes().replace(b"\r\n", b"\n").rstrip(b"\n")
    *_, named = octets.partition(b"\nMessage-ID: <")
    number, _, last = named.partition(b"@")[0], *octets.rpartition(_END + b" ")[1:]
    return int(number) if number and number == last else 0


@contextmanager
def trials(choice: str) -> Iterator[Trials]:
    """Start a server, ``restante`` or ``dovecot``."""
    (server,) = servers.chosen(choice)
    with tempfile.TemporaryDirectory(prefix="restante-fetchers-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        for part in ("server", "jobs"):
            (folder / part).mkdir()
        with server(folder / "server", [f"u{number}" for number in range(1, _TRIALS)], "127.0.0.1") as running:
            yield Trials(running, folder / "jobs")


def row(tried: Trials, fetcher: Fetcher, *, keep: bool, points: int) -> Iterator[str]:
    """Give the cells of a line, one for each fault."""
    for fault in FAULTS:
        print(f"{fetcher.name}, {'keep' if keep else 'delete'}: {fault.value}", file=sys.stderr)
        try:
            if fault is Fault.KILL:
                yield str(tried.kills(fetcher, keep=keep, points=points))
            else:
                yield str(tried.one(fetcher, fault, keep=keep, number=FEW))
        except RuntimeError as error:
            print(error, file=sys.stderr)
            yield "not measured"


def report(choice: str, only: str, points: int) -> None:
    """Print a table for each server."""
    fetchers = chosen([*FETCHERS, PER_MAIL], only)
    print(
        f"Duplicates / wrongly left on the server / lost, after a run with the fault and one without; {FEW} messages;"
    )
    print(f"for SIGKILL the sum over {points} random points, each with {MANY} messages, 200 octets to 60 kB.")
    print(f"A fetcher that has not ended {HANGS:.0f} seconds after its start hangs, and is killed.")
    print("Maildrop empty once: fetched before; where messages are deleted, cut instead of QUIT, so that all are owed.")
    for one in ("restante", "dovecot") if choice == "both" else (choice,):
        if servers.chosen(one):
            with trials(one) as tried:
                _table(tried, one, fetchers, points)


def _table(tried: Trials, server: str, fetchers: Sequence[Fetcher], points: int) -> None:
    print(f"\nServer: {server}\n")
    print(f"| fetcher | mode | {' | '.join(fault.value for fault in FAULTS)} |")
    print("|---|---|" + "---|" * len(FAULTS))
    for fetcher in fetchers:
        for keep in (True, False):
            cells = row(tried, fetcher, keep=keep, points=points)
            print(f"| {fetcher.name} | {'keep' if keep else 'delete'} | {' | '.join(cells)} |", flush=True)
