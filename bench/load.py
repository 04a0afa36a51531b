"""The load generator, and what it is told: sessions as scripts, in which each reply is known beforehand."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

from bench.peers import PASSWORD

NATIVE = Path(__file__).parent / "native"
_TIMEOUT = 900.0
"""Seconds for one run."""


class BuildFailed(Exception):
    """A program in C cannot be made here."""


@cache
def built(name: str, *libraries: str) -> Path:
    """Compile a program; returns its path.

    Raises:
        BuildFailed: with what would be needed.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        raise BuildFailed("no C compiler (apt install gcc libc6-dev libssl-dev)")
    program = NATIVE.parents[1] / "build" / "native" / name
    program.parent.mkdir(parents=True, exist_ok=True)
    command = [compiler, "-O2", "-o", str(program), str(NATIVE / f"{name}.c"), *(f"-l{one}" for one in libraries)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildFailed(f"{name}.c (apt install gcc libc6-dev libssl-dev): {done.stderr[:500]}")
    return program


def load() -> Path:
    """Return the load generator."""
    return built("load", "ssl", "crypto")


class Checked(NamedTuple):
    """What a multi-line reply must be."""

    octets: int
    crc: int
    """CRC-32C of its lines, byte-stuffed, without the last one; 0: not looked at."""
    lines: bytes = b""
    """They themselves, where they are known."""

    @classmethod
    def of(cls, lines: bytes) -> "Checked":
        """Return that of a reply."""
        done = subprocess.run([load(), "crc"], input=lines, capture_output=True, check=True)
        octets, crc = done.stdout.split()
        return cls(int(octets), int(crc), lines)


class Script:
    """The commands of a session, and the replies.

    Args:
        user: name of the user, ``%u`` in it stands for a number.
    """

    def __init__(self, user: str = "") -> None:
        self._steps: list[str] = []
        self.replies = {"QUIT": b"+OK\r\n"}
        """By command, for a server that knows them by heart."""
        if user:
            self.login(user)

    def login(self, user: str) -> "Script":
        """Go to TRANSACTION."""
        return self.ask(f"USER {user}").ask(f"PASS {PASSWORD.decode()}")

    def ask(self, command: str, prefix: str = "+OK") -> "Script":
        """Say something that is answered by one line."""
        self._steps += [f"S {command}", f"1 {prefix}"]
        self.replies[command.split(maxsplit=1)[0] if "%u" in command else command] = f"{prefix}\r\n".encode()
        return self

    def lines(self, *commands: tuple[str, Checked]) -> "Script":
        """Say something that is answered by many; several commands go out together."""
        self._steps += [f"S {command}" for command, _ in commands]
        self._steps += [f"M {reply.octets} {reply.crc}" for _, reply in commands]
        self.replies |= {command: b"+OK\r\n%b.\r\n" % reply.lines for command, reply in commands}
        return self

    def arrives(self, maildir: str) -> "Script":
        """A message arrives in a Maildir."""
        self._steps.append(f"A {maildir}")
        return self

    def hold(self) -> "Script":
        """Stay in the session until the generator is told to end."""
        self._steps.append("H")
        return self

    def paced(self, rate: float, block: int) -> "Script":
        """Begin so many sessions a second; block by block, so many users come once and then once more."""
        self._steps.append(f"P {rate} {block}")
        return self

    def text(self) -> str:
        """Return it as the load generator reads it, with QUIT at its end."""
        return "\n".join([*self._steps, "S QUIT", "1 +OK"]) + "\n"


class Run(NamedTuple):
    """What came of it; seconds."""

    sessions: int
    seconds: float
    fastest: float
    median: float
    slowest: float


class Load:
    """A load that can be put on several servers.

    Args:
        script: of each session.
        connections: at a time.
        sessions: in all.
        first: number of the first connection's user.
        tls: ``""``, ``"tls"`` (a full handshake each time), ``"resume"`` (none), or ``"offer"`` (as the
            server will).
    """

    def __init__(self, script: Script, connections: int, sessions: int, first: int = 0, tls: str = "") -> None:
        self._script = script
        self._connections = connections
        self._sessions = sessions
        self._first = first
        self._tls = tls

    def command(self, port: int, script: Path, connections: int = 0, sessions: int = 0) -> list[str]:
        """Return the words of the command."""
        script.write_text(self._script.text(), encoding="utf-8")
        numbers = [port, connections or self._connections, sessions or self._sessions, self._first]
        return [str(load()), "127.0.0.1", *map(str, numbers), str(script), *([self._tls] if self._tls else [])]

    def run(self, port: int, connections: int = 0, sessions: int = 0) -> Run:
        """Put it on a server.

        Raises:
            RuntimeError: a reply is not what it should be.
        """
        with tempfile.NamedTemporaryFile("r", suffix=".script") as script:
            command = self.command(port, Path(script.name), connections, sessions)
            done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
        if done.returncode:
            raise RuntimeError(f"port {port}: {done.stderr.strip()}")
        count, seconds, fastest, median, _, slowest = map(float, done.stdout.split())
        return Run(int(count), seconds, fastest / 1e6, median / 1e6, slowest / 1e6)

    @contextmanager
    def held(self, port: int) -> Iterator[None]:
        """Hold the sessions of all connections where the script says so, until the end of the context.

        Raises:
            RuntimeError: a reply is not what it should be, or the server has closed a session.
        """
        with tempfile.NamedTemporaryFile("r", suffix=".script") as script:
            command = self.command(port, Path(script.name))
            pipe = subprocess.PIPE
            process = subprocess.Popen(command, text=True, stdin=pipe, stdout=pipe, stderr=pipe)
            assert process.stdout is not None
            assert process.stderr is not None
            try:
                if process.stdout.readline() != "held\n":
                    raise RuntimeError(f"port {port}: {process.stderr.read().strip()}")
                yield
            finally:
                process.communicate(timeout=_TIMEOUT)
