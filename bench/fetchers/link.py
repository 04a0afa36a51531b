"""Many small messages over a long line, into a Maildir, and left on the server."""

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import NamedTuple

from bench.fetchers import servers
from bench.fetchers.line import FAR, NEAR, Line, enter_namespace, round_trip
from bench.fetchers.programs import FETCHERS, RESTANTE, Fetcher, Job, chosen, fetched
from bench.fetchers.servers import Server

_LINE = b"%071d\n"


USER = "many"
"""Whose maildrop it is."""


class Fetched(NamedTuple):
    """What a fetcher has done."""

    messages: int
    seconds: float

    @property
    def pace(self) -> float:
        """Messages a second."""
        return self.messages / self.seconds


def messages(number: int) -> Iterator[bytes]:
    """Make messages of 2 KiB, each another."""
    body = b"".join(_LINE % line for line in range(27))
    for one in range(1, number + 1):
        header = b"From: a@example.org\nTo: b@example.org\nSubject: %d\nMessage-ID: <%d@example.org>\n\n" % (one, one)
        yield header + body


def measure(fetcher: Fetcher, server: Server, number: int, patience: float, folder: Path) -> Fetched:
    """Fetch the messages of a maildrop into an empty Maildir.

    Args:
        fetcher: the program.
        server: with the maildrop.
        number: of messages there.
        patience: seconds after which a fetcher is stopped.
        folder: a new one, which stays: ext4 looks for room much longer where many files have just been removed, and
            the next fetcher would pay for it.

    Raises:
        RuntimeError: it has ended, and not each of them has come once; or one has come twice.
    """
    folder.mkdir(mode=0o755)
    job = Job(FAR, server.port, USER, keep=True, folder=folder)
    began = time.perf_counter()
    process = fetcher.start(job)
    try:
        ended = True
        process.wait(patience)
    except subprocess.TimeoutExpired:
        ended = False
    finally:
        seconds = time.perf_counter() - began
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    files = list(fetched(job))
    subjects = {path.read_bytes().partition(b"\nSubject: ")[2].partition(b"\n")[0] for path in files}
    if len(files) != len(subjects) or (ended and len(files) != number):
        log = (folder / "log").read_text(encoding="utf-8", errors="replace")[-2000:]
        raise RuntimeError(f"{fetcher.name}: {len(files)} files, {len(subjects)} of {number} messages; it says: {log}")
    return Fetched(len(files), seconds)


def report(choice: str, only: str, number: int, patience: float, rounds: int, delay: float) -> int:
    """Print a table for each server; returns an exit status.

    Args:
        choice: of the server.
        only: which fetchers, with commas between them.
        number: of messages in the maildrop.
        patience: seconds after which a fetcher is stopped.
        rounds: of all fetchers, interleaved.
        delay: milliseconds, one way.
    """
    try:
        enter_namespace()
        line = Line(delay / 1000)
    except (OSError, subprocess.SubprocessError) as error:
        print(f"a long line needs root, network namespaces, /dev/net/tun and ip (iproute2): {error}", file=sys.stderr)
        return 1
    with line:
        for server in servers.chosen(choice):
            with tempfile.TemporaryDirectory(prefix="restante-fetchers-") as name:
                folder = Path(name)
                folder.chmod(0o755)
                with server(folder, [USER], NEAR) as running:
                    running.fill(USER, list(messages(number)))
                    print(f"Server: {running.name}; delay {delay:g} ms one way, {2 * delay:g} ms there and back")
                    print(f"({round_trip(running.port) * 1000:.1f} ms measured); {rounds} rounds, interleaved")
                    done: dict[str, list[Fetched]] = {}
                    for turn, fetcher in product(range(rounds), chosen(FETCHERS, only)):
                        place = folder / f"{fetcher.name}-{turn}"
                        done.setdefault(fetcher.name, []).append(measure(fetcher, running, number, patience, place))
                        print(f"{fetcher.name}: {done[fetcher.name][-1]}", file=sys.stderr, flush=True)
                    _print(done, number)
    return 0


def _print(done: Mapping[str, Sequence[Fetched]], number: int) -> None:
    print("Each destination was looked at: none twice, and all of them where a fetcher has ended by itself.\n")
    print("| fetcher | fetched | seconds | messages a second | restante is faster, times |")
    print("|---|---|---|---|---|")
    ours = done.get(RESTANTE.name, ())
    for name, runs in done.items():
        middle = sorted(runs, key=lambda run: run.pace)[len(runs) // 2]
        cells = [f"{middle.messages:,} of {number:,}", f"{middle.seconds:,.1f}", f"{middle.pace:,.0f}"]
        ratios = sorted(our.pace / its.pace for our, its in zip(ours, runs, strict=bool(ours)))
        cells.append(f"{statistics.median(ratios):,.1f} ({ratios[0]:,.1f}-{ratios[-1]:,.1f})" if ratios else "-")
        print(f"| {name} | {' | '.join(cells)} |")
    print()
