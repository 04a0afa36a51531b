"""A post office for real clients: with TLS, and with messages that show what a client or a server gets wrong."""

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from restante.protocol.message_encoder import MessageEncoder
from tests import certificates
from tests.cli.program import Lines
from tests.interop.program import TIMEOUT, Running, maildir, running

USER, PASSWORD = "bob", "bobpw"
HOST = "mail.example.org"

Part = str | int | Path
"""Of a command."""

_HEADERS = b"""\
From: Alice <alice@example.org>
To: bob@example.org
Date: Wed, 24 Nov 2021 17:5%d:09 +0100
Message-ID: <%d@example.org>
"""
_TEXTS = [
    b"Subject: dots\n\n.\n..\n.dot\n.\nend\n",
    b"Subject: eight bit\nMIME-Version: 1.0\nContent-Type: text/plain; charset=iso-8859-1\n"
    b"Content-Transfer-Encoding: 8bit\n\n\xe4\xf6\xfc \xff\n.\n",
    b"Subject: no line end\n\n.\nend",
    b"Subject: long line\n\n.\n" + b"0123456789" * 199 + b"\n",
    b"Subject: nothing\n\n",
    "Subject: Grüße\n\n.\nend\n".encode(),
]
MESSAGES = [_HEADERS % (number, number) + text for number, text in enumerate(_TEXTS, 1)]
"""As they are stored.  The longest line is one that poplib can read, which gives up at 2048 octets."""


def reply(message: bytes) -> bytes:
    """Return what follows the status line when a client that has not said UTF8 retrieves a message (P-256)."""
    encoder = MessageEncoder(surrogate=True)
    return encoder.feed(message) + encoder.finish()


def wire(message: bytes) -> bytes:
    """Return what such a client is to make of it: without the dots of byte-stuffing and without the terminator."""
    *lines, terminator, end = reply(message).split(b"\r\n")
    assert (terminator, end) == (b".", b"")
    return b"".join(line.removeprefix(b".") + b"\r\n" for line in lines)


WIRE = [wire(message) for message in MESSAGES]
UNIX = [octets.replace(b"\r\n", b"\n") for octets in WIRE]
"""As clients give them that turn line ends into those of their system."""
SIZES = [len(octets) for octets in WIRE]


class Session(NamedTuple):
    """What the server's log says of a session."""

    mechanism: str
    tls: str
    retr: int
    top: int
    deleted: int
    left: int
    end: str


_SESSION = re.compile(
    r"session, .* mechanism=(\S+) tls=(\S+).* retr=(\d+)/\d+ top=(\d+)/\d+ deleted=(\d+) left=(\d+) .*end=(.*)"
)


class Office:
    """A post office that serves.

    Args:
        folder: its configuration and mail; clients may use it too.
        server: with three listeners.
    """

    def __init__(self, folder: Path, server: Running) -> None:
        assert server.process.stderr is not None
        self.folder = folder
        self.server = server
        self.log = Lines(server.process.stderr)
        self.plain, self.strict, self.tls = server.ports
        """Ports: STLS possible; STLS needed for whoever sends a password; TLS from the start."""
        self.ca = folder / "ca.pem"

    def session(self) -> Session:
        """Wait for the end of the next session of which the log has not been read; returns what it says."""
        match = _SESSION.search(self.log.until("restante.session: session,"))
        assert match is not None
        mechanism, tls, retr, top, deleted, left, end = match.groups()
        return Session(mechanism, tls, int(retr), int(top), int(deleted), int(left), end)

    def stored(self) -> list[bytes]:
        """Return the messages that the maildrop has."""
        paths = [path for part in ("new", "cur") for path in (self.folder / "mail" / USER / part).iterdir()]
        return [path.read_bytes() for path in sorted(paths, key=lambda path: path.name)]

    def file(self, name: str, text: str) -> Path:
        """Write a file that only its owner can read, as clients want it; returns its path."""
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")
        return path

    def run(self, *command: Part, timeout: float = TIMEOUT) -> subprocess.CompletedProcess[bytes]:
        """Run a client, which finds nothing of the user's own settings, to its end."""
        try:
            return subprocess.run(
                list(map(str, command)),
                stdin=subprocess.DEVNULL,
                env=os.environ | {"HOME": str(self.folder), "LC_ALL": "C.UTF-8", "TERM": "xterm"},
                cwd=self.folder,
                capture_output=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as expired:
            raise AssertionError(f"{command[0]} does not end: {expired.output!r} {expired.stderr!r}") from expired


def done(result: subprocess.CompletedProcess[bytes]) -> bytes:
    """Check that a client succeeded; returns what it printed."""
    assert result.returncode == 0, (result.stdout, result.stderr)
    return result.stdout


def files(folder: Path) -> list[bytes]:
    """Return what is in the files of a folder, in the order of its octets: `sorted` makes others comparable."""
    return sorted(path.read_bytes() for path in folder.iterdir())


@contextmanager
def post_office(
    folder: Path, messages: list[bytes] = MESSAGES, *, pop3: str = "", limits: str = "failure_delay = 0"
) -> Iterator[Office]:
    """Serve messages to bob, password bobpw.

    Args:
        folder: an empty one.
        messages: as they are stored.
        pop3: lines of the table [pop3].
        limits: lines of the table [limits].
    """
    pair = certificates.certificate("localhost", "127.0.0.1", common_name="localhost")  # fetchmail wants the name there
    pair.write(folder)
    (folder / "ca.pem").write_bytes(certificates.authority_pem())
    (folder / "users").write_text(f"{USER}:{{PLAIN}}{PASSWORD}\nalice:{{PLAIN}}alicepw\n", encoding="ascii")
    configuration = folder / "restante.toml"
    configuration.write_text(
        f"""\
hostname = "{HOST}"
workers = 1
[[listener]]
protocol = "pop3"
address = "127.0.0.1:0"
tls = "starttls"
cleartext_login = "loopback"
[[listener]]
protocol = "pop3"
address = "127.0.0.1:0"
tls = "starttls"
cleartext_login = "never"
[[listener]]
protocol = "pop3"
address = "127.0.0.1:0"
tls = "implicit"
[tls]
certificate = "server.pem"
key = "server.key"
[[auth]]
kind = "passwd-file"
path = "users"
[store]
kind = "maildir"
path = "mail/{{user}}"
[pop3]
{pop3}
[limits]
{limits}
stop_grace = 0
""",
        encoding="ascii",
    )
    maildir(folder, USER, *messages)
    with running("serve", "-c", str(configuration), listeners=3, log=subprocess.PIPE) as server:
        office = Office(folder, server)
        yield office
    office.log.rest()
