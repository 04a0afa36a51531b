"""Cyrus as Debian has it: its master, and its own store of mail, filled by its own LMTP server."""

import os
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO

from bench.maildrops import Kind, wire
from bench.others.unpacked import Package, free_ports, running, users
from bench.peers import PASSWORD, Peer

_BIN = "usr/lib/cyrus/bin"
CYRUS = Package(
    "cyrus",
    (f"{_BIN}/master", f"{_BIN}/pop3d", f"{_BIN}/lmtpd", f"{_BIN}/ctl_cyrusdb", "usr/sbin/saslpasswd2"),
    ("cyrus",),
)
# What Debian's imapd.conf has, but for the paths, the accounts, and that a user may poll more than once a minute.
_IMAPD = """\
servername: localhost
configdirectory: {folder}/store/lib
proc_path: /run/cyrus/proc
mboxname_lockpath: /run/cyrus/lock
defaultpartition: default
partition-default: {folder}/store/mail
altnamespace: no
unixhierarchysep: no
lmtp_downcase_rcpt: yes
allowanonymouslogin: no
popminpoll: 0
autocreate_quota: 0
autocreate_post: yes
umask: 077
sieveusehomedir: false
sievedir: {folder}/store/sieve
hashimapspool: true
allowplaintext: yes
sasl_pwcheck_method: auxprop
sasl_auxprop_plugin: sasldb
sasl_sasldb_path: {folder}/sasldb2
sasl_auto_transition: no
lmtpsocket: /run/cyrus/socket/lmtp
idlesocket: /run/cyrus/socket/idle
notifysocket: /run/cyrus/socket/notify
syslog_prefix: cyrus
"""
# The lines of Debian's cyrus.conf for POP3; LMTP on a port, and without a password.
_CYRUS = """\
START {{
    recover cmd="/usr/sbin/cyrus ctl_cyrusdb -r"
}}
SERVICES {{
    pop3 cmd="pop3d -U 30" listen="127.0.0.1:{pop3}" prefork=0 maxchild=50
    lmtp cmd="lmtpd -a" listen="127.0.0.1:{lmtp}" prefork=0 maxchild=20
}}
EVENTS {{
    checkpoint cmd="/usr/sbin/cyrus ctl_cyrusdb -c" period=30
}}
"""
_COMMANDS = """
mkdir -p /run/cyrus/socket {folder}/store
{mount}
mkdir -p {folder}/store/lib {folder}/store/mail {folder}/store/sieve
while read user; do
    echo {password} | /usr/sbin/saslpasswd2 -p -c -f {folder}/sasldb2 -u localhost "$user"
done < /etc/cyrus.users
chown -R cyrus /run/cyrus {folder}/store {folder}/sasldb2
exec /usr/lib/cyrus/bin/master
"""


@contextmanager
def cyrus(folder: Path, kinds: Sequence[Kind]) -> Iterator[Peer]:
    """Run it.

    Args:
        folder: of its own.
        kinds: of the maildrops, which are made.
    """
    pop3, lmtp = free_ports(2)
    etc = {
        "imapd.conf": _IMAPD.format(folder=folder),
        "cyrus.conf": _CYRUS.format(pop3=pop3, lmtp=lmtp),
        "cyrus.users": "".join(f"{user}\n" for user in users(kinds)),
    }
    commands = partial(_COMMANDS.format, folder=folder, password=PASSWORD.decode())
    # In memory, as it flushes each message to the disk several times: 8,000 take minutes there.
    with running(CYRUS, folder, etc, commands(mount=f"mount -t tmpfs tmpfs {folder}/store"), pop3) as process:
        for kind in kinds:
            _fill(lmtp, kind)
        # As the server sees it; open, it stays when the server has gone.
        memory = os.open(Path("/proc", str(process), "root", folder.relative_to("/"), "store"), os.O_RDONLY)
    try:
        subprocess.run(["cp", "-a", f"/proc/self/fd/{memory}/.", folder / "store"], check=True, pass_fds=[memory])
    finally:
        os.close(memory)
    os.sync()
    with running(CYRUS, folder, etc, commands(mount=""), pop3) as process:
        yield Peer("Cyrus", pop3, process)


def _fill(port: int, kind: Kind) -> None:
    """Deliver each message to all users in one transaction, so that they get the same octets."""
    envelope = ["MAIL FROM:<a@example.org>", *(f"RCPT TO:<{kind.name}{number}>" for number in range(kind.users))]
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client, client.makefile("rb") as replies:
        _expect(replies, b"220")
        _say(client, replies, "LHLO localhost")
        for message in kind.messages():
            for command in envelope:
                _say(client, replies, command)
            _say(client, replies, "DATA", b"354")
            client.sendall(wire(message) + b".\r\n")
            for _ in range(kind.users):
                _expect(replies, b"250")


def _say(client: socket.socket, replies: BinaryIO, command: str, code: bytes = b"250") -> None:
    client.sendall(f"{command}\r\n".encode())
    _expect(replies, code)


def _expect(replies: BinaryIO, code: bytes) -> None:
    while (line := replies.readline()).startswith(code + b"-"):
        pass
    if not line.startswith(code):
        raise RuntimeError(f"its LMTP server says {line!r}")
