"""The servers of the third table, and how each is started."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

from bench.maildrops import Kind
from bench.others.courier import COURIER, courier
from bench.others.cyrus import CYRUS, cyrus
from bench.others.unpacked import BUILD, free_ports, users, wait_for_greeting
from bench.peers import Peer, accounts, dovecot, dovecot_missing, restante

_TWISTED = BUILD / "twisted/bin/python"


class Server(NamedTuple):
    """One of them."""

    name: str
    missing: Callable[[], str]
    """Says why it cannot be measured; empty when it can."""
    start: Callable[[Path, Sequence[Kind]], AbstractContextManager[Peer]]
    """Makes the maildrops in a folder, and starts it there."""


@contextmanager
def _restante(folder: Path, kinds: Sequence[Kind]) -> Iterator[Peer]:
    for kind in kinds:
        kind.fill(folder / "mail-restante")
    with restante(folder, os.cpu_count() or 1, _names(kinds)) as peer:
        yield peer


@contextmanager
def _dovecot(folder: Path, kinds: Sequence[Kind]) -> Iterator[Peer]:
    for kind in kinds:
        kind.fill(folder / "mail-dovecot")
    (folder / "users").write_bytes(accounts(_names(kinds)))
    (folder / "users").chmod(0o644)
    with dovecot(folder, os.cpu_count() or 1, "optimized", tuned=False) as peer:
        yield peer


@contextmanager
def _twisted(folder: Path, kinds: Sequence[Kind]) -> Iterator[Peer]:
    for kind in kinds:
        kind.fill(folder / "mail")
    (folder / "users").write_bytes(accounts(_names(kinds)))
    (port,) = free_ports(1)
    server = Path(__file__).with_name("twisted_server.py")
    program: list[str | Path] = [_TWISTED, server, str(port), folder / "mail", folder / "users"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(program, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        wait_for_greeting(process, port, folder / "log")
        yield Peer("Twisted", port, process.pid, mail=folder / "mail")
    finally:
        process.kill()
        process.wait(30)


def _twisted_missing() -> str:
    """Say why it cannot be measured; the interpreter must be the same, or it is interpreters that are compared."""
    program = "import sys, twisted.mail; print(sys.version)"
    try:
        done = subprocess.run([_TWISTED, "-c", program], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "it is not in build/twisted (bench/install installs it)"
    if done.stdout.strip() != sys.version:
        return f"build/twisted has another Python: {done.stdout.split()[0]} (bench/install {sys.executable})"
    return ""


def _names(kinds: Sequence[Kind]) -> list[bytes]:
    return [user.encode() for user in users(kinds)]


OURS = Server("Restante", str, _restante)
SERVERS: Sequence[Server] = (
    Server("Dovecot as installed", dovecot_missing, _dovecot),
    Server("Courier", COURIER.missing, courier),
    Server("Cyrus", CYRUS.missing, cyrus),
    Server("Twisted", _twisted_missing, _twisted),
)
