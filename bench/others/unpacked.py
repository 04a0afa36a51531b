"""Servers that may not be installed beside Dovecot: unpacked into build/, and run where nobody else sees them."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from bench.maildrops import Kind
from bench.peers import Peer

BUILD = Path(__file__).parents[2] / "build"
"""Where bench/install unpacks them."""
FIRST_ID = 64_300
"""Of the users that their packages would have made."""
_STARTING = 30.0
"""Seconds until a server greets, at most."""
# Their files and their users stand where they look for them, in a mount namespace of their own.
_INSIDE = """
set -e
mount -t overlay overlay -o lowerdir={root}/usr:/usr /usr
mount -t overlay overlay -o lowerdir={folder}/etc:{root}/etc:/etc /etc
mount -t tmpfs -o mode=755 tmpfs /run
{commands}
"""


class Package(NamedTuple):
    """What bench/install unpacks.

    Args:
        name: of its folder in build/.
        programs: that it must have, from the root.
        users: whom it runs as.
    """

    name: str
    programs: Sequence[str]
    users: Sequence[str]

    def missing(self) -> str:
        """Say why it cannot be run here; empty when it can."""
        for program in self.programs:
            if not any((root / program).exists() for root in (BUILD / self.name, Path("/"))):
                return f"/{program} is not in build/{self.name} (as root, bench/install unpacks it)"
        if os.geteuid() != 0 or not shutil.which("unshare"):
            return "it needs root, and unshare"
        return ""


@contextmanager
def running(package: Package, folder: Path, etc: Mapping[str, str], commands: str, port: int) -> Iterator[int]:
    """Run a server; gives the id of the process that all its processes belong to.

    Args:
        package: it.
        folder: of its own, that others may enter; is made.
        etc: files that it finds in /etc, beside those of its package and of the machine.
        commands: of a shell; the last one is the server, which stays in the foreground.
        port: where that serves POP3.

    Raises:
        RuntimeError: it has not started, with what it has said.
    """
    for name, text in {**etc, **_accounts(package.users)}.items():
        path = folder / "etc" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o644)
    (BUILD / package.name / "usr").mkdir(parents=True, exist_ok=True)
    (BUILD / package.name / "etc").mkdir(exist_ok=True)
    script = _INSIDE.format(root=BUILD / package.name, folder=folder, commands=commands)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        wait_for_greeting(process, port, folder / "log")
        yield process.pid
    finally:
        # Not unshare itself, which waits for the first process in there, with which all others end.
        for child in Peer(package.name, port, process.pid).tree() - {process.pid}:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        process.wait(30)


def wait_for_greeting(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    """Wait until a server greets.

    Raises:
        RuntimeError: it does not, with what it has said.
    """
    deadline = time.monotonic() + _STARTING
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as client:
            if client.recv(3) == b"+OK":
                return
        time.sleep(0.05)
    text = log.read_text(encoding="utf-8", errors="replace")[-500:].strip()
    raise RuntimeError(f"it has not started: {text or 'it does not say why'}")


def users(kinds: Sequence[Kind]) -> list[str]:
    """Return the names of all users."""
    return [f"{kind.name}{number}" for kind in kinds for number in range(kind.users)]


def free_ports(count: int) -> list[int]:
    """Return ports of the loopback that nobody has."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def _accounts(users: Sequence[str]) -> dict[str, str]:
    """Return passwd and group of the machine, with the users that the packages would have made."""
    passwd, group = (Path("/etc", name).read_text(encoding="utf-8") for name in ("passwd", "group"))
    for number, user in enumerate(users, FIRST_ID):
        passwd += f"{user}:x:{number}:{number}::/:/usr/sbin/nologin\n"
        group += f"{user}:x:{number}:\n"
    return {"passwd": passwd, "group": group}
