"""Mail servers that cannot be installed beside Postfix: unpacked, and run where nobody else sees it."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.interop.catalogue import ROOT
from tests.interop.program import IN_CI, TIMEOUT

UNPACKED = ROOT / "build/mta"
"""Where `.ci/run` unpacks them."""

# Their users and their configuration stand where they look for them, in a mount namespace of their own.
_INSIDE = """
set -e
mount -t overlay overlay -o lowerdir={root}/usr:/usr /usr
mount -t overlay overlay -o lowerdir={folder}/etc:/etc /etc
mount -t tmpfs -o mode=755 tmpfs /var/spool
mount -t tmpfs -o mode=755 tmpfs /var/lib
mount -t tmpfs -o mode=755 tmpfs /var/log
mount -t tmpfs -o mode=755 tmpfs /run
{more}
exec {command}
"""
_USERS = ("Debian-exim", "opensmtpd", "opensmtpq", "vmail")
FIRST_ID = 64_100


def needs(program: str) -> pytest.MarkDecorator:
    """Skip a test where a program cannot be run."""
    missing = not (UNPACKED / program).exists() or os.geteuid() != 0 or not shutil.which("unshare")
    return pytest.mark.skipif(
        missing and not IN_CI, reason=f"/{program} is not in build/mta, or we are not root (.ci/run unpacks it)"
    )


class Unpacked:
    """A mail server that runs.

    Args:
        port: where it takes mail.
        log: what it says.
        process: the one that all its processes belong to.
    """

    def __init__(self, port: int, log: Path, process: subprocess.Popen[bytes]) -> None:
        self.port = port
        self._log = log
        self._process = process

    def log(self) -> str:
        """Return all that it has logged."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something is true."""
        deadline = time.monotonic() + TIMEOUT
        while not condition():
            assert time.monotonic() < deadline, self.log()[-5000:]
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(0.05)
                raise AssertionError(self.log()[-5000:])


@contextmanager
def running(folder: Path, port: int, etc: Mapping[str, str], more: str, command: str) -> Iterator[Unpacked]:
    """Run one.

    Args:
        folder: of its own, that others may enter.
        port: where its configuration says that it takes mail.
        etc: files that it finds in /etc, beside those of the machine.
        more: shell commands, run before it.
        command: that stays in the foreground, and logs to standard error or to ``logs/mainlog`` in the folder.
    """
    (folder / "etc").mkdir()
    for name, text in {**etc, **_accounts()}.items():
        (folder / "etc" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "etc" / name).write_text(text, encoding="utf-8")
    script = _INSIDE.format(root=UNPACKED, folder=folder, more=more, command=command)
    (folder / "logs").mkdir(mode=0o777)
    (folder / "logs").chmod(0o777)
    log = folder / "logs/mainlog"
    log.touch()
    log.chmod(0o666)
    with log.open("ab") as file:
        process = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    server = Unpacked(port, log, process)
    try:
        server.until(lambda: _greets(port))
        yield server
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(TIMEOUT)


def _accounts() -> dict[str, str]:
    """Return passwd and group of the machine, with the users that the packages would have made."""
    passwd, group = (Path("/etc", name).read_text(encoding="utf-8") for name in ("passwd", "group"))
    for number, user in enumerate(_USERS, FIRST_ID):
        passwd += f"{user}:x:{number}:{number}::/:/usr/sbin/nologin\n"
        group += f"{user}:x:{number}:\n"
    return {"passwd": passwd, "group": group}


def _greets(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), TIMEOUT) as client:
        return client.recv(4) in (b"220 ", b"220-")
    return False
