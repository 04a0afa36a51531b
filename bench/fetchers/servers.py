"""The servers that are fetched from: many maildrops, which are filled while the server runs."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from bench.peers import PASSWORD, dovecot_missing

NOBODY, NOGROUP = 65534, 65534
"""Who owns the mail: Dovecot serves none of root's."""


class Server(NamedTuple):
    """A server that runs."""

    name: str
    host: str
    port: int
    mail: Path
    """The folder of the Maildirs, each with the name of its user."""

    def fill(self, user: str, messages: Sequence[bytes]) -> None:
        """Make a user's Maildir, as a delivery agent does that knows nothing of sizes in names."""
        maildir = self.mail / user
        for part in ("tmp", "new", "cur"):
            (maildir / part).mkdir(parents=True)
        for number, octets in enumerate(messages, 1):
            (maildir / "new" / f"{1_700_000_000 + number}.M{number}P1.host").write_bytes(octets)
        for path in (maildir, *maildir.rglob("*")):
            give(path)

    def left(self, user: str) -> list[Path]:
        """Return the messages that a maildrop has."""
        return [path for part in ("new", "cur") for path in (self.mail / user / part).iterdir()]


def give(path: Path) -> None:
    """Give a file to whom the servers, and fetchers that do not want to be root, run as."""
    if os.geteuid() == 0:
        os.chown(path, NOBODY, NOGROUP)


_RESTANTE = """
hostname = "localhost"
workers = 1
[[listener]]
protocol = "pop3"
address = "{host}:0"
cleartext_login = "always"
[[auth]]
kind = "passwd-file"
path = "users"
[store]
kind = "maildir"
path = "mail/{{user}}"
[limits]
stop_grace = 0
"""


@contextmanager
def restante(folder: Path, users: Sequence[str], host: str = "127.0.0.1") -> Iterator[Server]:
    """This project, as `restante serve` runs it."""
    (folder / "mail").mkdir()
    _write_users(folder, users)
    (folder / "users").chmod(0o600)
    configuration = folder / "restante.toml"
    configuration.write_text(_RESTANTE.format(host=host), encoding="ascii")
    command = [sys.executable, "-m", "restante", "serve", "-c", str(configuration)]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    assert process.stdout is not None
    try:
        match = re.search(r":(\d+) ready", process.stdout.readline())
        if match is None:
            raise RuntimeError(f"restante does not start: {(folder / 'log').read_text(encoding='utf-8')}")
        yield Server("Restante", host, int(match[1]), folder / "mail")
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


_DOVECOT = """
base_dir = {folder}/run
state_dir = {folder}/run
log_path = {folder}/log
protocols = pop3
ssl = no
listen = {host}
disable_plaintext_auth = no
default_internal_user = nobody
default_login_user = nobody
default_internal_group = nogroup
mail_location = maildir:{folder}/mail/%u
mail_max_userip_connections = 100
first_valid_uid = 0
first_valid_gid = 0
passdb {{
  driver = passwd-file
  args = {folder}/users
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={folder}/mail/%u
}}
service pop3-login {{
  service_count = 0
  process_min_avail = 1
  chroot =
  inet_listener pop3 {{
    port = {port}
  }}
}}
service anvil {{
  chroot =
}}
"""


@contextmanager
def dovecot(folder: Path, users: Sequence[str], host: str = "127.0.0.1") -> Iterator[Server]:
    """Dovecot as it is configured by default."""
    (folder / "mail").mkdir()
    give(folder / "mail")
    _write_users(folder, users)
    with socket.socket() as probe:
        probe.bind((host, 0))
        port = int(probe.getsockname()[1])
    configuration = folder / "dovecot.conf"
    names = {"folder": folder, "host": host, "port": port, "uid": NOBODY, "gid": NOGROUP}
    configuration.write_text(_DOVECOT.format(**names), encoding="ascii")
    program = shutil.which("dovecot") or "/usr/sbin/dovecot"
    process = subprocess.Popen([program, "-F", "-c", str(configuration)], start_new_session=True)
    try:
        _wait_for_greeting(host, port)
        yield Server("Dovecot", host, port, folder / "mail")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def _wait_for_greeting(host: str, port: int) -> None:
    for _ in range(200):
        with suppress(OSError), socket.create_connection((host, port), timeout=5) as peer:
            if peer.recv(3) == b"+OK":
                return
        time.sleep(0.05)
    raise RuntimeError("dovecot does not answer; is its configuration refused?")


def _write_users(folder: Path, users: Sequence[str]) -> None:
    text = "".join(f"{user}:{{PLAIN}}{PASSWORD.decode()}\n" for user in users)
    (folder / "users").write_text(text, encoding="ascii")


def chosen(choice: str) -> list[Callable[[Path, Sequence[str], str], AbstractContextManager[Server]]]:
    """Return the servers that are meant and here; says which one is not.

    Args:
        choice: ``restante``, ``dovecot`` or ``both``.
    """
    servers: list[Callable[[Path, Sequence[str], str], AbstractContextManager[Server]]] = []
    if choice in {"restante", "both"}:
        servers.append(restante)
    if choice in {"dovecot", "both"}:
        if missing := dovecot_missing():
            print(f"Without Dovecot: {missing}\n")
        else:
            servers.append(dovecot)
    return servers
