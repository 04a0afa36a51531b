"""One large message into a Maildir: the memory that the fetcher needs for it."""

import re
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from bench.fetchers import servers
from bench.fetchers.programs import FETCHERS, Fetcher, Job, chosen, fetched
from bench.fetchers.servers import Server, give

USER = "large"
_LINE = b"%075d\n"
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def octets(text: str) -> int:
    """Understand ``1G``, ``50M``, ``4096``."""
    match = re.fullmatch(r"(\d+)([KMG]?)", text)
    if match is None:
        raise ValueError(f"{text!r} is no number of octets; 50M would be one")
    return int(match[1]) * _UNITS[match[2]]


def fill(server: Server, size: int) -> Path:
    """Make a maildrop with one message of so many octets, or a few more; returns its file."""
    server.fill(USER, [b"From: a@example.org\nSubject: large\n\n"])
    (path,) = server.left(USER)
    piece = b"".join(_LINE % line for line in range(10_000))
    with path.open("ab") as file:
        while file.tell() < size:
            file.write(piece)
    give(path)
    return path


def peak(fetcher: Fetcher, job: Job) -> tuple[int, float]:
    """Run a fetcher; returns the octets of memory that its process has had at most, and seconds.

    The kernel's account of a child that has ended knows also what its parent had, so the process is looked at.
    """
    began = time.perf_counter()
    process = fetcher.start(job)
    most = 0
    try:
        while process.poll() is None:
            with suppress(OSError):
                status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
                if match := re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE):
                    most = max(most, int(match[1]) * 1024)
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    return most, time.perf_counter() - began


def report(choice: str, only: str, size: int) -> None:
    """Print a table for each server."""
    fetchers = chosen(FETCHERS, only)
    for server in servers.chosen(choice):
        with tempfile.TemporaryDirectory(prefix="restante-fetchers-", dir="/var/tmp") as name:
            folder = Path(name)
            folder.chmod(0o755)
            (folder / "server").mkdir(mode=0o755)
            with server(folder / "server", [USER], "127.0.0.1") as running:
                original = fill(running, size)
                print(f"Server: {running.name}; one message of {original.stat().st_size:,} octets as it is stored\n")
                print("| fetcher | peak memory of its process, MiB | seconds | arrived |")
                print("|---|---|---|---|")
                for fetcher in fetchers:
                    _row(fetcher, running, folder / fetcher.name)
                print()


def _row(fetcher: Fetcher, server: Server, folder: Path) -> None:
    folder.mkdir(mode=0o755)
    job = Job(server.host, server.port, USER, keep=True, folder=folder)
    most, seconds = peak(fetcher, job)
    (original,) = server.left(USER)
    arrived = ", ".join(f"{path.stat().st_size - original.stat().st_size:+,} octets" for path in fetched(job))
    print(f"| {fetcher.name} | {most / 2**20:.1f} | {seconds:.1f} | {arrived or 'no'} |", flush=True)
    for path in fetched(job):
        path.unlink()
