"""The real program in processes of its own, whose lines and ends are waited for."""

import errno
import os
import queue
import random
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Self

TIMEOUT = 20.0
"""Seconds after which a test gives up."""
PROGRAM = (sys.executable, "-m", "restante")
_READY = re.compile(r"pop3 on 127\.0\.0\.1:(\d+) ready")

Result = subprocess.CompletedProcess[str]


def restante(
    *arguments: str | Path,
    cwd: Path | None = None,
    stdin: str = "",
    environment: Mapping[str, str] | None = None,
    umask: int = -1,
) -> Result:
    """Run a command to its end."""
    return subprocess.run(
        [*PROGRAM, *map(str, arguments)],
        cwd=cwd,
        input=stdin,
        env=os.environ | (environment or {}),
        umask=umask,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


def at_once(commands: Iterable[tuple[str | Path, ...]], cwd: Path) -> Iterator[tuple[tuple[str | Path, ...], Result]]:
    """Run commands side by side, which saves time; they must not get in each other's way."""
    commands = list(commands)
    with ThreadPoolExecutor(4) as pool:
        yield from zip(commands, pool.map(lambda command: restante(*command, cwd=cwd), commands), strict=True)


def refused(result: Result, status: int = 1) -> str:
    """Check that a command failed as it should: nothing on stdout, one line on stderr, which is returned."""
    assert result.returncode == status, result.stderr
    assert result.stdout == ""
    assert result.stderr.endswith("\n")
    assert result.stderr.count("\n") == 1, result.stderr
    assert "Traceback" not in result.stderr
    return result.stderr.rstrip("\n")


def done(result: Result) -> str:
    """Check that a command did its work without a complaint; returns what it printed."""
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def post_office(
    folder: Path, workers: int = 1, address: str = "127.0.0.1:0", hostname: str = "post.example.org"
) -> Path:
    """Make a configuration with the account bob, password "b"; returns its path."""
    folder.mkdir(exist_ok=True)
    (folder / "mail").mkdir(exist_ok=True)
    (folder / "users").write_text("bob:{PLAIN}b\n", encoding="ascii")
    (folder / "users").chmod(0o600)
    path = folder / "restante.toml"
    path.write_text(
        f"""\
hostname = "{hostname}"
workers = {workers}
[[listener]]
protocol = "pop3"
address = "{address}"
[[auth]]
kind = "passwd-file"
path = "users"
[store]
kind = "maildir"
path = "mail/{{user}}"
[limits]
failure_delay = 0
stop_grace = 0
""",
        encoding="ascii",
    )
    return path


def names(folder: Path) -> list[str]:
    """Return what is in a folder."""
    return sorted(path.name for path in folder.iterdir())


def free_port() -> int:
    """Return a port for a program that cannot be told port 0.

    It is none of those that the kernel gives to connections, and to others who ask for any: they could have it before
    the program does.
    """
    while True:
        port = random.SystemRandom().randrange(10_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Lines:
    """The lines of a stream, each as soon as it is there."""

    def __init__(self, stream: IO[str]) -> None:
        self._queue: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._stream = stream
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        self._ended = False
        self.seen: list[str] = []

    def next(self) -> str | None:
        """Return the next line without its end; None at the end of the stream, when no process has it any more."""
        line = None if self._ended else self._queue.get(timeout=TIMEOUT)
        if line is None:
            self._ended = True
        else:
            self.seen.append(line)
        return line

    def until(self, text: str) -> str:
        """Return the first line that holds `text`."""
        while (line := self.next()) is not None:
            if text in line:
                return line
        raise AssertionError(f"no line with {text!r} in {self.seen}")

    def rest(self) -> list[str]:
        """Return all lines up to the end of the stream."""
        lines = []
        while (line := self.next()) is not None:
            lines.append(line)
        return lines

    def _read(self) -> None:
        with self._stream:
            for line in self._stream:
                self._queue.put(line.removesuffix("\n"))
        self._queue.put(None)


class Running:
    """A server that runs."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        self.process = process
        self.out = Lines(process.stdout)
        self.log = Lines(process.stderr)
        self.port = 0

    def ready(self) -> int:
        """Wait for the line of the next listener; returns its port."""
        line = self.out.next()
        match = _READY.fullmatch(line or "")
        assert match is not None, (line, self.log.rest() if line is None else "")
        self.port = int(match[1])
        return self.port

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        return self.process.wait(TIMEOUT)

    def stop(self) -> list[str]:
        """Stop gracefully, which must succeed; returns what was logged and not yet read."""
        self.signal(signal.SIGTERM)
        assert self.wait() == 0
        return self.log.rest()

    def pause(self) -> None:
        """Let a moment pass, or less if the server ends meanwhile; for loops that have a deadline."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(0.01)

    def workers(self) -> set[int]:
        """Return the process ids of the children."""
        children = set()
        for status in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                if int(status.read_text(encoding="utf-8").rpartition(")")[2].split()[1]) == self.process.pid:
                    children.add(int(status.parent.name))
        return children


@contextmanager
def running(
    *arguments: str | Path,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    program: Sequence[str] | None = None,
    descriptors: Sequence[int] = (),
) -> Iterator[Running]:
    """Start a command that serves, with these descriptors; whatever is left of it in the end is killed."""
    process = subprocess.Popen(
        [*(program or PROGRAM), *map(str, arguments)],
        pass_fds=descriptors,
        cwd=cwd,
        env=os.environ | (environment or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # the processes of this test, and no others, are its group
    )
    server = Running(process)
    try:
        yield server
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(TIMEOUT)
        server.out.rest()
        server.log.rest()


class Client:
    """A connection to a server that sends and reads lines."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), TIMEOUT)
        self._file = self.socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self.socket.close()

    def line(self) -> bytes:
        """Return the next line, ``b""`` at the end of file."""
        return self._file.readline()

    def ask(self, command: bytes) -> bytes:
        self.socket.sendall(command + b"\r\n")
        return self.line()

    def login(self, user: bytes, password: bytes) -> bytes:
        assert self.ask(b"USER " + user).startswith(b"+OK")
        return self.ask(b"PASS " + password)


@contextmanager
def greeted(port: int) -> Iterator[Client]:
    """Connect and read the greeting: whoever sends it serves, and heeds signals."""
    with Client(port) as client:
        assert client.line().startswith(b"+OK ")
        yield client


def refuses(port: int) -> bool:
    """Say whether nobody listens at a port."""
    with socket.socket() as probe:
        probe.settimeout(TIMEOUT)
        return probe.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED
