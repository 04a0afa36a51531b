"""Many small messages over a long line, into a Maildir, and left on the server."""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bench.fetchers import servers
from bench.fetchers.line import FAR, NEAR, Line, enter_namespace, round_trip
from bench.fetchers.programs import FETCHERS, RESTANTE, Fetcher, Job, chosen, fetched
from bench.fetchers.servers import Server

_TIMEOUT = 4 * 3600.0
_LINE = b"%071d\n"


class Length(NamedTuple):
    """How many messages a fetcher is given."""

    messages: int

    @property
    def user(self) -> str:
        """Whose maildrop has so many."""
        return f"n{self.messages}"


def messages(number: int) -> Iterator[bytes]:
    """Make messages of 2 KiB, each another."""
    body = b"".join(_LINE % line for line in range(27))
    for one in range(1, number + 1):
        header = b"From: a@example.org\nTo: b@example.org\nSubject: %d\nMessage-ID: <%d@example.org>\n\n" % (one, one)
        yield header + body


def measure(fetcher: Fetcher, server: Server, length: Length, folder: Path) -> float:
    """Fetch all messages of a maildrop into an empty Maildir; returns the seconds.

    Args:
        fetcher: the program.
        server: with the maildrop.
        length: of the maildrop.
        folder: a new one, which stays: ext4 looks for room much longer where many files have just been removed, and
            the next fetcher would pay for it.

    Raises:
        RuntimeError: not each of them has come once.
    """
    folder.mkdir(mode=0o755)
    job = Job(FAR, server.port, length.user, keep=True, folder=folder)
    began = time.perf_counter()
    process = fetcher.start(job)
    try:
        process.wait(_TIMEOUT)
    finally:
        process.kill()
        process.wait()
    seconds = time.perf_counter() - began
    files = list(fetched(job))
    subjects = {path.read_bytes().partition(b"\nSubject: ")[2].partition(b"\n")[0] for path in files}
    if len(files) != length.messages or len(subjects) != length.messages:
        log = (folder / "log").read_text(encoding="utf-8", errors="replace")[-2000:]
        raise RuntimeError(
            f"{fetcher.name}: {len(files)} files, {len(subjects)} of {length.messages} messages; it says: {log}"
        )
    return seconds


def report(choice: str, only: str, most: int, slow: int, rounds: int, delay: float) -> int:
    """Print a table for each server; returns an exit status.

    Args:
        choice: of the server.
        only: which fetchers, with commas between them.
        most: messages for those that keep many commands under way.
        slow: messages for those that wait for each reply.
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
        fetchers = chosen(FETCHERS, only)
        lengths = {fetcher.name: Length(most if fetcher.pipelines else slow) for fetcher in fetchers}
        for server in servers.chosen(choice):
            with tempfile.TemporaryDirectory(prefix="restante-fetchers-") as name:
                folder = Path(name)
                folder.chmod(0o755)
                with server(folder, [length.user for length in set(lengths.values())], NEAR) as running:
                    for length in set(lengths.values()):
                        running.fill(length.user, list(messages(length.messages)))
                    _table(running, fetchers, lengths, rounds, delay, folder)
    return 0


def _table(
    server: Server, fetchers: list[Fetcher], lengths: dict[str, Length], rounds: int, delay: float, folder: Path
) -> None:
    print(f"Server: {server.name}; delay {delay:g} ms one way, {2 * delay:g} ms there and back", end="")
    print(f" ({round_trip(server.port) * 1000:.1f} ms measured with TCP); {rounds} rounds, interleaved")
    print("Each destination was counted: all messages, none twice.\n")
    seconds: dict[str, list[float]] = {fetcher.name: [] for fetcher in fetchers}
    for turn in range(rounds):
        for fetcher in fetchers:
            place = folder / f"{fetcher.name}-{turn}"
            seconds[fetcher.name].append(measure(fetcher, server, lengths[fetcher.name], place))
            print(f"{fetcher.name}: {seconds[fetcher.name][-1]:.1f} s", file=sys.stderr, flush=True)
    print("| fetcher | messages | seconds | messages a second | restante is faster, times |")
    print("|---|---|---|---|---|")
    pace = {
        fetcher.name: [lengths[fetcher.name].messages / one for one in seconds[fetcher.name]] for fetcher in fetchers
    }
    for name, paces in pace.items():
        cells = [f"{lengths[name].messages:,}", f"{statistics.median(seconds[name]):,.1f}"]
        cells.append(f"{statistics.median(paces):,.0f}")
        if RESTANTE.name in pace:
            ratios = sorted(ours / its for ours, its in zip(pace[RESTANTE.name], paces, strict=True))
            cells.append(f"{statistics.median(ratios):,.1f} ({ratios[0]:,.1f}-{ratios[-1]:,.1f})")
        else:
            cells.append("-")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    print()
