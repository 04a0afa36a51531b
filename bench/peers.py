"""The servers that are measured, each started on a free loopback port with the same mail and the same account."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from restante.server.self_signed import self_signed

USER = b"bob"
PASSWORD = b"secret"
_TICK = os.sysconf("SC_CLK_TCK")


class Peer(NamedTuple):
    """A server under measurement."""

    name: str
    port: int
    process: int
    """Id of the process whose tree does the work."""
    tls_port: int = 0
    """Where TLS is spoken from the first octet; 0: nowhere."""
    lmtp_port: int = 0
    """Where mail comes in; 0: nowhere."""

    def cpu(self) -> float:
        """Seconds of CPU that the whole process tree has used, children that have ended included."""
        parents = {}
        used = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with suppress(OSError):
                fields = (entry / "stat").read_text(encoding="ascii").rpartition(")")[2].split()
                parents[int(entry.name)] = int(fields[1])
                used[int(entry.name)] = sum(int(field) for field in fields[11:15]) / _TICK
        tree = {self.process}
        while found := {child for child, parent in parents.items() if parent in tree and child not in tree}:
            tree |= found
        return sum(used.get(process, 0.0) for process in tree)


@contextmanager
def restante(folder: Path, workers: int, users: Sequence[bytes] = (USER,), *, tls: bool = False) -> Iterator[Peer]:
    """This project, as `restante serve` runs it: durable, undo on, log on."""
    more = ""
    if tls:
        certificate, key = self_signed("localhost", "127.0.0.1")
        (folder / "cert.pem").write_bytes(certificate)
        (folder / "key.pem").write_bytes(key)
        more = '[[listener]]\nprotocol = "pop3"\naddress = "127.0.0.1:0"\ntls = "implicit"\n'
        more += '[tls]\ncertificate = "cert.pem"\nkey = "key.pem"\n'
    with _restante(folder, workers, users, more) as (process, ports):
        yield Peer("Restante", ports[0], process, ports[-1] if tls else 0)


@contextmanager
def restante_lmtp(folder: Path, workers: int, users: Sequence[bytes], durability: str = "always") -> Iterator[Peer]:
    """The same, taking mail."""
    more = '[[listener]]\nprotocol = "lmtp"\naddress = "127.0.0.1:0"\n'
    with _restante(folder, workers, users, more, f'durability = "{durability}"') as (process, ports):
        yield Peer(f"Restante, {durability}", ports[0], process, lmtp_port=ports[1])


@contextmanager
def _restante(
    folder: Path, workers: int, users: Sequence[bytes], more: str, store: str = ""
) -> Iterator[tuple[int, list[int]]]:
    configuration = folder / "restante.toml"
    configuration.write_text(
        f"""
hostname = "localhost"
workers = {workers}
[[listener]]
protocol = "pop3"
address = "127.0.0.1:0"
{more}[[auth]]
kind = "passwd-file"
path = "users"
[store]
kind = "maildir"
path = "mail-restante/{{user}}"
{store}
[limits]
stop_grace = 0
""",
        encoding="ascii",
    )
    (folder / "users").write_bytes(b"".join(user + b":{PLAIN}" + PASSWORD + b"\n" for user in users))
    (folder / "users").chmod(0o600)
    command = [sys.executable, "-m", "restante", "serve", "-c", str(configuration)]
    with (folder / "restante.log").open("w") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    assert process.stdout is not None
    try:
        ports = []
        for _ in range(1 + more.count("[[listener]]")):
            match = re.search(r":(\d+) ready", process.stdout.readline())
            assert match is not None, (folder / "restante.log").read_text(encoding="utf-8")
            ports.append(int(match[1]))
        yield process.pid, ports
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


_DOVECOT = """
base_dir = {folder}/dovecot
state_dir = {folder}/dovecot
log_path = /dev/null
protocols = pop3 lmtp
ssl = no
listen = 127.0.0.1
disable_plaintext_auth = no
default_internal_user = {user}
default_login_user = {user}
default_internal_group = {group}
mail_location = maildir:{folder}/mail-dovecot/%u
mail_fsync = {fsync}
first_valid_uid = 0
first_valid_gid = 0
auth_cache_size = 1M
default_vsz_limit = 1G
passdb {{
  driver = passwd-file
  args = {folder}/users
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={folder}/mail-dovecot/%u
}}
service pop3-login {{
  # The high-performance mode of its manual: one process serves many connections.
  service_count = 0
  process_min_avail = {workers}
  chroot =
  inet_listener pop3 {{
    port = {port}
  }}
}}
service pop3 {{
  # A process is used again for the next session.
  service_count = 1000
  process_min_avail = {workers}
}}
service lmtp {{
  # One process serves one connection at a time.
  service_count = 0
  process_min_avail = {workers}
  process_limit = 200
  inet_listener lmtp {{
    port = {lmtp_port}
  }}
}}
service anvil {{
  chroot =
}}
"""


@contextmanager
def dovecot(folder: Path, workers: int, fsync: str = "never") -> Iterator[Peer]:
    """Dovecot tuned as its manual says for speed.

    Args:
        folder: that holds everything.
        workers: processes.
        fsync: ``never``, or ``optimized``, its default: when mail comes in.
    """
    with socket.socket() as one, socket.socket() as two:
        ports = []
        for probe in (one, two):
            probe.bind(("127.0.0.1", 0))
            ports.append(int(probe.getsockname()[1]))
    port, lmtp_port = ports
    configuration = folder / "dovecot.conf"
    names = {"user": "nobody", "group": "nogroup", "uid": 65534, "gid": 65534, "fsync": fsync}
    configuration.write_text(
        _DOVECOT.format(folder=folder, port=port, lmtp_port=lmtp_port, workers=workers, **names), encoding="ascii"
    )
    for path in (folder / "mail-dovecot", *(folder / "mail-dovecot").rglob("*")):
        os.chown(path, 65534, 65534)
    process = subprocess.Popen([_dovecot_program(), "-F", "-c", str(configuration)], start_new_session=True)
    try:
        _wait_for_greeting(port)
        yield Peer("Dovecot", port, process.pid, lmtp_port=lmtp_port)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def _dovecot_program() -> str:
    return shutil.which("dovecot") or "/usr/sbin/dovecot"


def dovecot_missing() -> str:
    """Say why Dovecot cannot be measured; empty when it can."""
    if not Path(_dovecot_program()).exists():
        return "dovecot is not installed (apt install dovecot-core dovecot-pop3d dovecot-lmtpd)"
    if os.geteuid() != 0:
        return "starting Dovecot needs root"
    return ""


def _wait_for_greeting(port: int) -> None:
    for _ in range(200):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as peer:
            if peer.recv(3) == b"+OK":
                return
        time.sleep(0.05)
    raise RuntimeError("dovecot does not answer; is its configuration refused?")
