"""``python -m bench.abuse``: what a client that misbehaves costs the server, and others.

For each kind of abuse: how much the server's memory grows, and how long another session (login, STAT, QUIT) takes
meanwhile, as a ratio to the same without abuse in the same run.  One worker, so that nobody can get out of the way.
"""

import argparse
import contextlib
import multiprocessing
import os
import re
import socket
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from bench.maildrops import OWNER
from bench.peers import PASSWORD, Peer, restante

MIB = 2**20
BIG = 100 * MIB


def connect(port: int) -> socket.socket:
    """Connect to the server."""
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def session(port: int) -> float:
    """Another client's session; returns its seconds."""
    began = time.perf_counter()
    with connect(port) as sock, sock.makefile("rb") as file:
        for line in (b"USER other", b"PASS " + PASSWORD, b"STAT", b"QUIT"):
            assert file.readline().startswith(b"+OK")
            sock.sendall(line + b"\r\n")
        assert file.readline().startswith(b"+OK")
    return time.perf_counter() - began


def latency(port: int, sessions: int) -> float:
    """Return the median of several sessions, in seconds."""
    return statistics.median(session(port) for _ in range(sessions))


@contextmanager
def again_and_again(work: Callable[[], None]) -> Iterator[None]:
    """Do something in a process of its own until the end of the context."""

    def run() -> None:
        while True:
            with contextlib.suppress(OSError):
                work()

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    try:
        yield
    finally:
        process.kill()
        process.join()


def long_line(port: int) -> AbstractContextManager[None]:
    """A line of 1 MB."""

    def work() -> None:
        with connect(port) as sock:
            sock.sendall(b"x" * 1_000_000)
            while sock.recv(65536):
                pass

    return again_and_again(work)


def bad_commands(port: int) -> AbstractContextManager[None]:
    """Twelve bad commands, then more."""

    def work() -> None:
        with connect(port) as sock:
            sock.sendall(b"FOO\r\n" * 12)
            with sock.makefile("rb") as file:
                for _ in range(10):
                    file.readline()

    return again_and_again(work)


@contextmanager
def half_open(port: int) -> Iterator[None]:
    """500 TLS handshakes that never go on."""
    with contextlib.ExitStack() as stack:
        for _ in range(500):
            sock = stack.enter_context(connect(port))
            sock.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        yield


@contextmanager
def never_reads(port: int) -> Iterator[None]:
    """RETR of 100 MB by a client that does not read."""
    with connect(port) as sock:
        sock.sendall(b"USER big\r\nPASS " + PASSWORD + b"\r\nRETR 1\r\n")
        yield


@contextmanager
def never_reads_and_asks(port: int) -> Iterator[None]:
    """The same, with megabytes of commands behind it."""
    with connect(port) as sock:
        sock.sendall(b"USER big\r\nPASS " + PASSWORD + b"\r\n" + b"RETR 1\r\n" * 100)
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                sock.send(b"NOOP\r\n" * 10_000)
        yield


def long_tokens(port: int) -> AbstractContextManager[None]:
    """AUTH with 64 KiB of something."""

    def work() -> None:
        with connect(port) as sock, sock.makefile("rb") as file:
            file.readline()
            for _ in range(10):
                sock.sendall(b"AUTH PLAIN " + b"A" * 65_000 + b"\r\n")
                file.readline()

    return again_and_again(work)


ABUSES: list[tuple[Callable[[int], AbstractContextManager[None]], bool]] = [
    (long_line, False),
    (bad_commands, False),
    (long_tokens, False),
    (half_open, True),
    (never_reads, False),
    (never_reads_and_asks, False),
]
"""What is done, and whether on the port of TLS."""


def memory(peer: Peer) -> int:
    """Return the resident memory of the server, in octets."""
    status = Path(f"/proc/{peer.process}/status").read_text(encoding="ascii")
    match = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert match is not None
    return int(match[1]) * 1024


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.abuse", description=__doc__)
    parser.add_argument("--sessions", type=int, default=200)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="restante-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        maildir = folder / "mail-restante" / "big"
        for part in ("tmp", "new", "cur"):
            (maildir / part).mkdir(parents=True)
        with (maildir / "new" / "1.big").open("wb") as file:
            for _ in range(BIG // MIB):
                file.write((b"x" * 1023 + b"\n") * 1024)
        if os.geteuid() == 0:
            for path in (maildir, *maildir.rglob("*")):
                os.chown(path, OWNER, OWNER)
        with restante(folder, workers=1, users=(b"big", b"other"), tls="ECDSA") as peer:
            session(peer.port)
            latency(peer.port, arguments.sessions)  # warm
            print(f"{'abuse':58} {'memory':>12} {'latency':>10}")
            for abuse, on_tls in ABUSES:
                quiet, before = latency(peer.port, arguments.sessions), memory(peer)
                with abuse(peer.tls_port if on_tls else peer.port):
                    busy = latency(peer.port, arguments.sessions)
                    grown = memory(peer) - before
                title = (abuse.__doc__ or "").strip().rstrip(".")
                print(f"{title:58} {grown / MIB:+8.1f} MiB {busy / quiet:8.1f} x", flush=True)


if __name__ == "__main__":
    main()
