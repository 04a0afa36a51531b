"""The real program in a process of its own, and programs that talk to it."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from tests.cli import program

TIMEOUT = 60.0
"""Seconds after which a test gives up."""
_READY = re.compile(r"pop3 on 127\.0\.0\.1:(\d+) ready\n")
IN_CI = os.environ.get("CI") == "true" or bool(os.environ.get("CLIENTS"))
"""Nothing may be missing: a test fails where its program is not here.  `.ci/run` sets CLIENTS."""


class Running:
    """A server that is ready.

    Args:
        process: its own.
        ports: of its listeners, in the order of the configuration.
    """

    def __init__(self, process: subprocess.Popen[str], ports: list[int]) -> None:
        self.process = process
        self.ports = ports
        self.port = ports[0]

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait(TIMEOUT)

    def memory(self, field: str = "VmHWM") -> int:
        """Octets of memory that the process has (VmRSS) or has had at most (VmHWM)."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        match = re.search(rf"^{field}:\s+(\d+) kB$", status, re.MULTILINE)
        assert match is not None
        return int(match[1]) * 1024


@contextmanager
def running(
    *arguments: str, listeners: int = 1, log: IO[str] | int = subprocess.DEVNULL, under: tuple[str, ...] = ()
) -> Iterator[Running]:
    """Start ``restante …`` and wait until all its listeners are ready; end it in the end.

    Args:
        arguments: of the program.
        listeners: how many are waited for.
        log: where its standard error goes.
        under: a program that runs it.
    """
    process = subprocess.Popen(
        [*under, sys.executable, "-m", "restante", *arguments],
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    try:
        assert process.stdout is not None
        ports = []
        for _ in range(listeners):
            line = process.stdout.readline()
            match = _READY.fullmatch(line)
            assert match is not None, line
            ports.append(int(match[1]))
        yield Running(process, ports)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(TIMEOUT)
        process.kill()
        process.wait(TIMEOUT)
        assert process.stdout is not None
        process.stdout.close()


def post_office(folder: Path) -> Path:
    """Make a configuration with the accounts bob and alice, password secret; returns its path."""
    path = program.post_office(folder, hostname="mail.example.org")
    (folder / "users").write_text("bob:{PLAIN}secret\nalice:{PLAIN}secret\n", encoding="ascii")
    return path


def maildir(folder: Path, user: str, *messages: bytes) -> Path:
    """Put messages into a user's Maildir as another program would."""
    path = folder / "mail" / user
    for part in ("tmp", "new", "cur"):
        (path / part).mkdir(parents=True, exist_ok=True)
    for number, octets in enumerate(messages, 1):
        (path / "new" / f"{1_700_000_000 + number}.M{number}P1.host").write_bytes(octets)
    return path
