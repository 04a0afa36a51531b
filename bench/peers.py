"""The servers that are measured, each started on a free loopback port with the same mail and the same account."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import trustme

USER = b"bob"
PASSWORD = b"secret"
_TICK = os.sysconf("SC_CLK_TCK")


def in_the_clear(_user: bytes) -> bytes:
    """Return the password of a user as it is stored."""
    return b"{PLAIN}" + PASSWORD


def accounts(users: Sequence[bytes], stored: Callable[[bytes], bytes] = in_the_clear) -> bytes:
    """Return the file of users that all servers read."""
    return b"".join(b"%b:%b\n" % (user, stored(user)) for user in users)


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
    mail: Path = Path()
    """The folder of the Maildirs, each with the name of its user."""

    def cpu(self) -> float:
        """Seconds of CPU that the whole process tree has used, children that have ended included."""
        return sum(self._used().values())

    def _used(self) -> dict[int, float]:
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
        return {process: used.get(process, 0.0) for process in tree}

    def memory(self) -> int:
        """Octets of memory of the whole process tree; what processes share is divided among them (PSS)."""
        octets = 0
        for process in self.tree():
            with suppress(OSError):
                rollup = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii")
                octets += sum(int(line.split()[1]) << 10 for line in rollup.splitlines() if line.startswith("Pss:"))
        return octets

    def tree(self) -> set[int]:
        """Return the ids of its processes."""
        return set(self._used())


@contextmanager
def restante(
    folder: Path,
    workers: int,
    users: Sequence[bytes] = (USER,),
    *,
    tls: str = "",
    stored: Callable[[bytes], bytes] = in_the_clear,
) -> Iterator[Peer]:
    """This project, as `restante serve` runs it: durable, undo on, log on.

    Args:
        folder: that holds everything.
        workers: processes.
        users: that there are.
        tls: see `make_certificate`; ``""``: there is none.
        stored: returns the password of a user, as the file of users has it.
    """
    more = ""
    if tls:
        make_certificate(folder, tls)
        more = '[[listener]]\nprotocol = "pop3"\naddress = "127.0.0.1:0"\ntls = "implicit"\n'
        more += '[tls]\ncertificate = "cert.pem"\nkey = "key.pem"\n'
    with _restante(folder, workers, accounts(users, stored), more) as (process, ports):
        yield Peer("Restante", ports[0], process, ports[-1] if tls else 0, mail=folder / "mail-restante")


@contextmanager
def restante_lmtp(folder: Path, workers: int, users: Sequence[bytes], durability: str = "always") -> Iterator[Peer]:
    """The same, taking mail."""
    more = '[[listener]]\nprotocol = "lmtp"\naddress = "127.0.0.1:0"\n'
    with _restante(folder, workers, accounts(users), more, f'durability = "{durability}"') as (process, ports):
        yield Peer(f"Restante, {durability}", ports[0], process, lmtp_port=ports[1])


@contextmanager
def _restante(folder: Path, workers: int, users: bytes, more: str, store: str = "") -> Iterator[tuple[int, list[int]]]:
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
connections = 20000
connections_per_address = 20000
connections_before_login = 20000
""",
        encoding="ascii",
    )
    (folder / "users").write_bytes(users)
    (folder / "users").chmod(0o600)
    command = [sys.executable, "-m", "restante", "serve", "-c", str(configuration)]
    identity = _as_nobody()
    if identity:
        for path in (folder / "users", folder / "key.pem", folder / "mail-restante"):
            if path.exists():
                os.chown(path, 65534, 65534)
    with (folder / "restante.log").open("w") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, **identity)
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


def make_certificate(folder: Path, key: str) -> None:
    """Make a certificate, and the one that vouches for it, as authorities send them; all peers have the same.

    Args:
        folder: where to.
        key: of both; ``ECDSA`` (P-256) or ``RSA`` (2048 bits).
    """
    made = folder / f"made-{key}"
    if not made.exists():
        kind = trustme.KeyType[key]
        leaf = trustme.CA(key_type=kind).create_child_ca(kind).issue_cert("localhost", "127.0.0.1", key_type=kind)
        (folder / "cert.pem").write_bytes(b"".join(pem.bytes() for pem in leaf.cert_chain_pems))
        (folder / "key.pem").write_bytes(leaf.private_key_pem.bytes())
        (folder / "key.pem").chmod(0o600)
        made.touch()


def _as_nobody() -> dict[str, Any]:
    """Return what starts a program as somebody who may do nothing else, where that is possible."""
    identity: dict[str, Any] = {"user": 65534, "group": 65534, "extra_groups": []}
    if os.geteuid() != 0:
        return {}
    try:
        done = subprocess.run([sys.executable, "-c", "import restante"], capture_output=True, check=False, **identity)
    except PermissionError:
        return {}
    return {} if done.returncode else identity


_DOVECOT = """
base_dir = {folder}/{state}
state_dir = {folder}/{state}
log_path = /dev/null
protocols = pop3 lmtp
{ssl}
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
  driver = {driver}
  args = {folder}/{accounts}
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={folder}/mail-dovecot/%u
}}
service pop3-login {{
  # 0 is the high-performance mode of its manual: one process serves many connections.
  service_count = {login_count}
  process_min_avail = {workers}
  chroot =
  inet_listener pop3 {{
    port = {port}
  }}
  inet_listener pop3s {{
    port = {tls_port}
    ssl = {tls}
  }}
}}
service pop3 {{
  # A process is used again for the next session.
  service_count = {reused}
  process_min_avail = {workers}
  process_limit = 2000
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
service auth {{
  client_limit = 5000
}}
service anvil {{
  chroot =
}}
"""


_DICTIONARY = """
uri = file:{folder}/users.dict
iterate_disable = yes
key passdb {{
  key = passdb/%u
  format = json
}}
passdb_objects = passdb
"""


@contextmanager
def dovecot(  # noqa: PLR0913
    folder: Path,
    workers: int,
    fsync: str = "never",
    *,
    tls: str = "",
    tuned: bool = True,
    name: str = "Dovecot",
    cached: bool = False,
) -> Iterator[Peer]:
    """Dovecot.

    Args:
        folder: that holds everything.
        workers: processes.
        fsync: ``never``, or ``optimized``, its default: when mail comes in.
        tls: on a port of its own, too; see `make_certificate`.
        tuned: as its manual says for speed; else as it is after it is installed.
        name: in the table.
        cached: accounts come from a database, so that its cache holds them; those of a file never get into it.
    """
    with socket.socket() as one, socket.socket() as two, socket.socket() as three:
        ports = []
        for probe in (one, two, three):
            probe.bind(("127.0.0.1", 0))
            ports.append(int(probe.getsockname()[1]))
    port, lmtp_port, tls_port = ports
    configuration = folder / f"{name}.conf".replace(" ", "-").lower()
    if tls:
        make_certificate(folder, tls)
    words = {"user": "nobody", "group": "nogroup", "uid": 65534, "gid": 65534, "fsync": fsync}
    words |= {"reused": 1000 if tuned else 1, "login_count": 0 if tuned else 1, "workers": workers if tuned else 0}
    words |= {"port": port, "lmtp_port": lmtp_port, "tls_port": tls_port if tls else 0, "tls": "yes" if tls else "no"}
    words["ssl"] = f"ssl = yes\nssl_cert = <{folder}/cert.pem\nssl_key = <{folder}/key.pem" if tls else "ssl = no"
    words |= {"state": configuration.stem, "driver": "passwd-file", "accounts": "users"}
    if cached:
        words |= {"driver": "dict", "accounts": _make_dictionary(folder)}
    configuration.write_text(_DOVECOT.format(folder=folder, **words), encoding="ascii")
    _give_to_dovecot(folder / "mail-dovecot")
    process = subprocess.Popen([_dovecot_program(), "-F", "-c", str(configuration)], start_new_session=True)
    try:
        _wait_for_greeting(port)
        yield Peer(name, port, process.pid, tls_port if tls else 0, lmtp_port, folder / "mail-dovecot")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def _make_dictionary(folder: Path) -> str:
    """Make a database of the file of users; returns the name of the file that describes it."""
    entries = []
    for line in (folder / "users").read_text(encoding="ascii").splitlines():
        user, _, password = line.partition(":")
        entries.append(f'shared/passdb/{user}\n{{"password":"{password}"}}\n')
    (folder / "users.dict").write_text("".join(entries), encoding="ascii")
    (folder / "dict.conf").write_text(_DICTIONARY.format(folder=folder), encoding="ascii")
    for name in ("users.dict", "dict.conf"):
        os.chown(folder / name, 65534, 65534)
    return "dict.conf"


def _give_to_dovecot(mail: Path) -> None:
    for path in (mail, *mail.rglob("*")):
        if path.stat().st_uid != 65534:
            os.chown(path, 65534, 65534)


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
