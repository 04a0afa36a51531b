"""Programs that guess passwords, which are slowed down, and a user, who is not (P-039, P-045, P-053)."""

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

import pytest

from tests.interop.bench import PASSWORD, USER, Office, post_office
from tests.interop.catalogue import needs_client, once
from tests.interop.conftest import Tried
from tests.interop.program import TIMEOUT

pytestmark = once

ELSEWHERE = "127.0.0.3"
"""Where the user is: an address from which nobody guesses."""
FAILURE_DELAY = 1.0
"""Seconds that the first wrong password waits for its answer, by default; each further one twice as long."""


def log_in(office: Office) -> float:
    """Log in and out from elsewhere; returns the seconds that it took."""
    begin = time.monotonic()
    with (
        socket.create_connection(("127.0.0.1", office.plain), TIMEOUT, (ELSEWHERE, 0)) as peer,
        peer.makefile("rb") as replies,
    ):
        for line in (b"", f"USER {USER}".encode(), f"PASS {PASSWORD}".encode(), b"QUIT"):
            peer.sendall(line + b"\r\n" if line else b"")
            assert replies.readline().startswith(b"+OK ")
    return time.monotonic() - begin


class Attack:
    """A program that guesses, as the server's log shows it."""

    def __init__(self, office: Office, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._office = office
        self.failures: list[datetime] = []
        """When each of the wrong passwords was tried."""
        self.logins = 0
        """Sessions of the user that have ended."""

    def span(self) -> float:
        """Return the seconds between the first and the last of these."""
        return (self.failures[-1] - self.failures[0]).total_seconds()

    def until(self, failures: int) -> None:
        """Read the log up to that many wrong passwords."""
        while len(self.failures) < failures:
            line = self._office.log.next()
            assert line is not None
            if "login failed, address=127.0.0.1:" in line:
                self.failures.append(datetime.fromisoformat(line[:23].replace(",", ".")))
            elif re.search(rf"session, address={re.escape(ELSEWHERE)}:\d+ user={USER} .*end=quit", line):
                self.logins += 1


@contextmanager
def attack(office: Office, *command: str) -> Iterator[Attack]:
    """Start a program, and end it with all its processes."""
    process = subprocess.Popen(
        command,
        cwd=office.folder,
        env=os.environ | {"HOME": str(office.folder)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield Attack(office, process)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(TIMEOUT)


def command_for(office: Office, program: str) -> list[str]:
    """Return the command that tries 200 passwords, none of them right, on four connections."""
    passwords = office.file("passwords", "".join(f"wrong-{number}\n" for number in range(200)))
    if program == "Hydra":
        target = ["-s", str(office.plain), "127.0.0.1", "pop3"]
        return ["hydra", "-I", "-l", USER, "-P", str(passwords), "-t", "4", *target]
    options = ["--user", USER, "-P", str(passwords), "-g", "cl=4,CL=4"]
    return ["ncrack", *options, f"pop3://127.0.0.1:{office.plain}"]


PROGRAMS = pytest.mark.parametrize(
    ("program", "first", "then", "seconds"),
    [
        # Three of its attempts are looked at at once, and wait 1, 2 and 4 seconds for their answers; those that come
        # after them have their turns when these have been answered.
        pytest.param("Hydra", 4, 6, 4, marks=needs_client("Hydra")),
        # It stays with one connection until that has been answered: 1 + 2 + 4 seconds.
        pytest.param("Ncrack", 3, 4, 7, marks=needs_client("Ncrack")),
    ],
)


@PROGRAMS
def test_guessing_is_slow(tmp_path: Path, tried: Tried, program: str, first: int, then: int, seconds: int) -> None:
    """P-053: between the first wrong password and another one pass seconds; the user waits for none of that."""
    with post_office(tmp_path, limits="") as office:
        log_in(office)
        with attack(office, *command_for(office, program)) as guesser:
            guesser.until(failures=first)
            waited = [log_in(office) for _ in range(5)]
            guesser.until(failures=then)
            assert guesser.process.poll() is None
            assert guesser.logins == 6, "the user's sessions are not over when the guesser has its next turn"
            assert min(waited) < FAILURE_DELAY
            assert guesser.span() > 0.97 * seconds
        did = f"{then} attempts take {seconds} seconds, and there is no delay for the user elsewhere"
        tried(program, "200 wrong passwords", did=did)


@PROGRAMS
def test_it_is_the_delay(tmp_path: Path, program: str, first: int, then: int, seconds: int) -> None:
    """Without the delay the same program does not take as long."""
    with post_office(tmp_path) as office, attack(office, *command_for(office, program)) as guesser:
        guesser.until(failures=then)
        assert guesser.span() < seconds
