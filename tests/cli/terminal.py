"""A pseudo-terminal with a program in it: what is typed goes in, what would be on the screen comes out."""

import os
import pty
import re
import select
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.cli.program import PROGRAM, TIMEOUT

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|\x1b\][^\x07]*\x07|\x07")


class Terminal:
    """The person's end."""

    def __init__(self, descriptor: int, process: subprocess.Popen[bytes]) -> None:
        self._descriptor = descriptor
        self.process = process
        self.raw = b""
        """Everything that has come so far."""
        self._read_up_to = 0

    def text(self) -> str:
        """Return all that has come, without colours and moves of the cursor."""
        return _ANSI.sub("", self.raw.decode("utf-8", "replace")).replace("\r\n", "\n")

    def until(self, pattern: str) -> str:
        """Wait until what has come since the last call matches; returns it."""
        deadline = time.monotonic() + TIMEOUT
        while True:
            new = _ANSI.sub("", self.raw[self._read_up_to :].decode("utf-8", "replace")).replace("\r\n", "\n")
            if re.search(pattern, new):
                self._read_up_to = len(self.raw)
                return new
            assert time.monotonic() < deadline, new
            if select.select([self._descriptor], [], [], 1)[0]:
                piece = b""
                with suppress(OSError):  # EIO: the other end is closed
                    piece = os.read(self._descriptor, 65536)
                assert piece, new
                if b"\x1b[6n" in piece:  # where is the cursor?
                    os.write(self._descriptor, b"\x1b[1;1R")
                self.raw += piece

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._descriptor, text.encode())

    def end(self) -> int:
        """Wait for the program; returns its status."""
        with suppress(OSError):
            while select.select([self._descriptor], [], [], TIMEOUT)[0]:
                piece = os.read(self._descriptor, 65536)
                if not piece:
                    break
                self.raw += piece
        return self.process.wait(TIMEOUT)


@contextmanager
def terminal(
    *arguments: str | Path, cwd: Path | None = None, environment: Mapping[str, str] | None = None
) -> Iterator[Terminal]:
    """Run a command in a terminal of 120 columns; it is killed in the end."""
    ours, theirs = pty.openpty()
    settings = {"TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
    process = subprocess.Popen(
        [*PROGRAM, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **settings, **(environment or {})},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        yield Terminal(ours, process)
    finally:
        process.kill()
        process.wait(TIMEOUT)
        os.close(ours)
