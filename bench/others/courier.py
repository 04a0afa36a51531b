"""Courier as Debian has it: couriertcpd, courierpop3login and courierpop3d, with authdaemond and its file of users."""

import base64
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.maildrops import OWNER, Kind
from bench.others.unpacked import Package, free_ports, running, users
from bench.peers import PASSWORD, Peer

COURIER = Package(
    "courier",
    (
        "usr/sbin/couriertcpd",
        "usr/lib/courier/courier-authlib/authdaemond",
        "usr/lib/courier-authlib/libauthuserdb.so",
        "usr/lib/courier/courier/courierpop3login",
        "usr/lib/courier/courier/courierpop3d",
    ),
    ("courier",),
)
# As its own scripts start them, but without their loggers.  An address may have more connections, and the accounts are
# not those of the machine.
_COMMANDS = """
mkdir -p /run/courier/authdaemon
chown courier /run/courier/authdaemon
cp -a /etc/courier /run/etc
mount --bind /run/etc /etc/courier
chmod 600 /etc/courier/userdb
/usr/sbin/makeuserdb
sed -i 's/^authmodulelist=.*/authmodulelist="authuserdb"/' /etc/courier/authdaemonrc
set -a
. /etc/courier/authdaemonrc
/usr/lib/courier/courier-authlib/authdaemond &
. /etc/courier/pop3d
exec /usr/sbin/couriertcpd -address=127.0.0.1 -maxprocs="$MAXDAEMONS" -maxperip="$MAXDAEMONS" $TCPDOPTS \\
    {port} {programs}/courierpop3login {programs}/courierpop3d "$MAILDIRPATH"
"""


@contextmanager
def courier(folder: Path, kinds: Sequence[Kind]) -> Iterator[Peer]:
    """Run it.

    Args:
        folder: of its own.
        kinds: of the maildrops, which are made.
    """
    mail = folder / "mail"
    for kind in kinds:
        kind.fill(mail)
    password = "{SHA}" + base64.b64encode(hashlib.sha1(PASSWORD).digest()).decode()
    accounts = "".join(
        f"{user}\tuid={OWNER}|gid={OWNER}|home={mail}/{user}|mail={mail}/{user}|systempw={password}\n"
        for user in users(kinds)
    )
    (port,) = free_ports(1)
    commands = _COMMANDS.format(port=port, programs="/usr/lib/courier/courier")
    with running(COURIER, folder, {"courier/userdb": accounts}, commands, port) as process:
        yield Peer("Courier", port, process, mail=mail)
