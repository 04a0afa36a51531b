"""Other POP3 servers over the same Maildirs, each in the foreground on a loopback port."""

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.cli.program import free_port
from tests.interop.catalogue import ROOT
from tests.interop.program import IN_CI, TIMEOUT

NOBODY, NOGROUP = 65534, 65534
"""Who owns the mail where the tests run as root: Dovecot serves none of root's."""

Listing = list[tuple[str, int]]
"""Unique-ids and octets, in the order of the listing."""


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that others may enter: those of pytest are closed."""
    with tempfile.TemporaryDirectory(prefix="restante-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def own(folder: Path) -> None:
    """Give a folder and all in it to whom the servers run as."""
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            with suppress(FileNotFoundError):  # a server is at work
                os.chown(path, NOBODY, NOGROUP, follow_symlinks=False)


def deliver(maildir: Path, name: str, text: bytes, directory: str = "new") -> Path:
    """Put a message into a Maildir as Postfix does: complete, by one rename."""
    aside = maildir / "tmp" / name
    aside.write_bytes(text)
    own(aside)
    return aside.rename(maildir / directory / name)


def make_maildir(path: Path) -> Path:
    """Make an empty one."""
    for part in ("tmp", "new", "cur"):
        (path / part).mkdir(parents=True, exist_ok=True)
    own(path)
    return path


class RefusedError(Exception):
    """A negative reply, or none."""


class Pop3:
    """A POP3 session that sends a command and reads its reply; good enough for servers that behave."""

    def __init__(self, port: int, user: str, password: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), TIMEOUT)
        self._file = self._socket.makefile("rb")
        self.ok()
        for command in (f"USER {user}", f"PASS {password}"):
            self.ask(command)

    def ok(self) -> str:
        line = self._file.readline()
        if not line.startswith(b"+OK"):
            raise RefusedError(line)
        return line.decode("ascii")

    def ask(self, command: str) -> str:
        self._socket.sendall(f"{command}\r\n".encode())
        return self.ok()

    def lines(self, command: str) -> list[str]:
        self.ask(command)
        return [line.decode("utf-8", "replace").rstrip("\r\n") for line in iter(self._file.readline, b".\r\n")]

    def listing(self) -> Listing:
        ids = [line.split(" ", 1)[1] for line in self.lines("UIDL")]
        octets = [int(line.split(" ")[1]) for line in self.lines("LIST")]
        return list(zip(ids, octets, strict=True))

    def quit(self) -> None:
        self.ask("QUIT")
        assert self._file.readline() == b""
        self._file.close()
        self._socket.close()


def listing(port: int, user: str, password: str) -> Listing:
    """Log in, list, log out."""
    session = Pop3(port, user, password)
    try:
        return session.listing()
    finally:
        session.quit()


# -- Dovecot ----------------------------------------------------------------------------------------

_LIBEXEC = Path("/usr/lib/dovecot")
_DOVECOT = shutil.which("dovecot") or "/usr/sbin/dovecot"

needs_dovecot = pytest.mark.skipif(
    not (_LIBEXEC / "pop3").exists() and not IN_CI,
    reason="Dovecot is not here (apt install dovecot-pop3d dovecot-imapd; .ci/run does all this)",
)
needs_dovecot_running = pytest.mark.skipif(
    not ((_LIBEXEC / "imap").exists() and os.geteuid() == 0) and not IN_CI,
    reason="a whole Dovecot with IMAP needs root (apt install dovecot-pop3d dovecot-imapd; .ci/run does all this)",
)

_CONFIGURATION = """\
base_dir = {folder}/run
state_dir = {folder}/run
log_path = {folder}/log
protocols = pop3 imap
ssl = no
listen = 127.0.0.1
disable_plaintext_auth = no
default_internal_user = {user}
default_login_user = {user}
default_internal_group = {group}
mail_location = maildir:{mail}/%u
first_valid_uid = 0
first_valid_gid = 0
mail_max_userip_connections = 100
passdb {{
  driver = passwd-file
  args = {folder}/users
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={mail}/%u
}}
service pop3-login {{
  chroot =
  inet_listener pop3 {{
    port = {pop3}
  }}
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {imap}
  }}
}}
service anvil {{
  chroot =
}}
service stats {{
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
{settings}
"""


class Dovecot(NamedTuple):
    """Dovecot with its own configuration, running or not."""

    folder: Path
    mail: Path
    port: int
    imap: int

    def troubles(self) -> list[str]:
        """Return the lines of its log that are more than information, and not about how we end it."""
        lines = (self.folder / "log").read_text(encoding="utf-8").splitlines()
        return [line for line in lines if not re.search(r": Info: |: Warning: Killed with signal 15 ", line)]

    def direct(self, user: str, *commands: str, settings: Sequence[str] = ()) -> list[str]:
        """Let its POP3 process alone serve a session of somebody who has logged in; returns what it says."""
        options = [word for setting in settings for word in ("-o", setting)]
        process = subprocess.run(
            [_LIBEXEC / "pop3", "-c", str(self.folder / "dovecot.conf"), *options],
            input="".join(f"{command}\r\n" for command in (*commands, "QUIT")).encode(),
            env={"USER": user, "HOME": str(self.mail / user), "PATH": os.environ["PATH"]},
            user=NOBODY if os.geteuid() == 0 else None,
            group=NOGROUP if os.geteuid() == 0 else None,
            extra_groups=[] if os.geteuid() == 0 else None,
            capture_output=True,
            timeout=TIMEOUT,
            check=False,
        )
        assert b"Error" not in process.stderr, process.stderr
        assert b"Warning" not in process.stderr, process.stderr
        return process.stdout.decode("ascii").split("\r\n")

    def direct_ids(self, user: str, *settings: str) -> list[str]:
        """Return the ids of a listing, without a server that runs."""
        lines = self.direct(user, "UIDL", settings=settings)
        start = lines.index("+OK") + 1
        return [line.split(" ", 1)[1] for line in lines[start : lines.index(".")]]


def configured_dovecot(folder: Path, mail: Path, settings: str = "") -> Dovecot:
    """Write a configuration for the account bob, password bobpw."""
    folder.mkdir(exist_ok=True)
    (folder / "users").write_text("bob:{PLAIN}bobpw\n", encoding="ascii")
    dovecot = Dovecot(folder, mail, free_port(), free_port())
    names = {"user": "nobody", "group": "nogroup", "uid": NOBODY, "gid": NOGROUP}
    configuration = _CONFIGURATION.format(
        folder=folder, mail=mail, pop3=dovecot.port, imap=dovecot.imap, settings=settings, **names
    )
    (folder / "dovecot.conf").write_text(configuration, encoding="utf-8")
    return dovecot


@contextmanager
def running_dovecot(folder: Path, mail: Path, settings: str = "") -> Iterator[Dovecot]:
    """Serve Maildirs by POP3 and IMAP."""
    dovecot = configured_dovecot(folder, mail, settings)
    command = [_DOVECOT, "-F", "-c", str(folder / "dovecot.conf")]
    process = subprocess.Popen(command, start_new_session=True)
    try:
        _wait_for_greeting(process, dovecot.port)
        yield dovecot
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(TIMEOUT)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _wait_for_greeting(process: "subprocess.Popen[bytes]", port: int) -> None:
    for _ in range(1000):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), TIMEOUT) as peer:
            if peer.recv(3) == b"+OK":
                return
        with suppress(subprocess.TimeoutExpired):
            raise AssertionError(f"the server ended with status {process.wait(0.02)}")
    raise AssertionError("no greeting")


def deliver_by_dovecot(dovecot: Dovecot, user: str, text: bytes) -> None:
    """Deliver a message with dovecot-lda, which enters it into the list of uids at once."""
    subprocess.run(
        [_LIBEXEC / "dovecot-lda", "-c", str(dovecot.folder / "dovecot.conf"), "-d", user],
        input=text,
        timeout=TIMEOUT,
        check=True,
    )


class Imap:
    """An IMAP session of bob with INBOX open."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), TIMEOUT)
        self._file = self._socket.makefile("rb")
        self._file.readline()
        self.ask("LOGIN bob bobpw")
        self.ask("SELECT INBOX")

    def ask(self, command: str) -> list[str]:
        """Send a command; returns the lines before its tagged reply."""
        self._socket.sendall(f"a {command}\r\n".encode())
        lines = []
        while not (line := self._file.readline().decode()).startswith("a "):
            assert line, "the server has closed"
            lines.append(line.rstrip("\r\n"))
        assert line.startswith("a OK"), line
        return lines

    def uids(self) -> list[int]:
        """Return the uids of all messages."""
        found = [re.search(r"UID (\d+)", line) for line in self.ask("FETCH 1:* (UID)")]
        return [int(match[1]) for match in found if match]

    def idle(self) -> None:
        """Begin to wait for news."""
        self._socket.sendall(b"b IDLE\r\n")
        assert self._file.readline().startswith(b"+ ")

    def news(self, text: str) -> None:
        """Wait for a line that holds `text`."""
        while text not in (line := self._file.readline().decode()):
            assert line, "the server has closed"

    def stop_idle(self) -> None:
        self._socket.sendall(b"DONE\r\n")
        while not self._file.readline().startswith(b"b OK"):
            pass

    def close(self) -> None:
        self.ask("LOGOUT")
        self._file.close()
        self._socket.close()


# -- Courier ----------------------------------------------------------------------------------------

_COURIER_ROOTS = (ROOT / "build" / "courier", Path("/"))
_POP3D = Path("usr/lib/courier/courier/courierpop3d")
_COURIER_ROOT = next((root for root in _COURIER_ROOTS if (root / _POP3D).exists()), None)

needs_courier = pytest.mark.skipif(
    _COURIER_ROOT is None and not IN_CI,
    reason="courierpop3d is not here (.ci/run unpacks Debian's courier-pop into build/courier)",
)


class Courier:
    """Courier's POP3 server, which begins when somebody has logged in; that part stands here (any user, any password).

    Args:
        mail: the folder of the Maildirs, each with the name of its user.
    """

    def __init__(self, mail: Path) -> None:
        self._mail = mail
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._sessions: list[threading.Thread] = []
        self._processes: list[subprocess.Popen[bytes]] = []
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()
        self.log = b""

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(TIMEOUT)
        for process in self._processes:
            process.kill()
        for session in self._sessions:
            session.join(TIMEOUT)

    def troubles(self) -> list[bytes]:
        """Return the lines of its log that are more than information."""
        return [line for line in self.log.splitlines() if not line.startswith(b"INFO:")]

    def _accept(self) -> None:
        with suppress(OSError):  # the listener is closed
            while True:
                client, _ = self._listener.accept()
                self._sessions.append(threading.Thread(target=self._serve, args=[client]))
                self._sessions[-1].start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            client.settimeout(TIMEOUT)
            client.sendall(b"+OK Hello there.\r\n")
            user, utf8 = "", "0"
            while True:
                keyword, _, argument = _unbuffered_line(client).partition(b" ")
                if keyword == b"PASS":
                    break
                if keyword in {b"", b"QUIT"}:
                    return
                if keyword == b"UTF8":
                    utf8 = "1"
                if keyword == b"USER":
                    user = argument.decode("ascii")
                client.sendall(
                    b"+OK\r\nUSER\r\nTOP\r\nUIDL\r\nUTF8 USER\r\n.\r\n" if keyword == b"CAPA" else b"+OK\r\n"
                )
            self._serve_user(client, user, utf8)

    def _serve_user(self, client: socket.socket, user: str, utf8: str) -> None:
        assert _COURIER_ROOT is not None
        libraries = [str(_COURIER_ROOT / "usr/lib"), *map(str, (_COURIER_ROOT / "usr/lib").glob("*-linux-gnu"))]
        client.settimeout(None)  # the process shares it
        process = subprocess.Popen(
            [_COURIER_ROOT / _POP3D, str(self._mail / user)],
            stdin=client.fileno(),
            stdout=client.fileno(),
            stderr=subprocess.PIPE,
            env={"AUTHENTICATED": user, "LD_LIBRARY_PATH": ":".join(libraries), "UTF8": utf8},
        )
        self._processes.append(process)
        _, log = process.communicate()
        self.log += log


def _unbuffered_line(client: socket.socket) -> bytes:
    """Read a line and not an octet more: they are for the process."""
    line = b""
    while not line.endswith(b"\n"):
        octet = client.recv(1)
        if not octet:
            return b""
        line += octet
    return line.rstrip(b"\r\n")


@contextmanager
def running_courier(mail: Path) -> Iterator[Courier]:
    """Serve Maildirs by POP3."""
    courier = Courier(mail)
    try:
        yield courier
    finally:
        courier.close()
