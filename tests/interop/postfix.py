"""A Postfix of the test's own, with queues and ports of its own, and what stands between it and the server."""

import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

import pytest

from tests.cli.program import free_port
from tests.interop.program import IN_CI, TIMEOUT

needs_postfix = pytest.mark.skipif(
    not (shutil.which("postfix") and os.geteuid() == 0) and not IN_CI,
    reason="a Postfix of our own needs root (apt install postfix; .ci/run does this)",
)

_MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/log
maillog_file_prefixes = /
mail_owner = postfix
setgid_group = postdrop
myhostname = mail.example.org
inet_interfaces = loopback-only
inet_protocols = ipv4
alias_maps =
alias_database =
# What fails is tried again at once.
minimal_backoff_time = 1s
maximal_backoff_time = 1s
queue_run_delay = 1s
transport_retry_time = 1s
"""
_MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 1 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 1 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000 0 flush
proxymap unix - - n - - proxymap
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
local unix - n n - - local
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


class Postfix:
    """One that runs.

    Args:
        folder: of its own.
        port: where it takes mail.
        process: its master.
    """

    def __init__(self, folder: Path, port: int, process: subprocess.Popen[bytes]) -> None:
        self.port = port
        self._log = folder / "log"
        self._process = process

    def log(self) -> str:
        """Return all that it has logged."""
        return self._log.read_text(encoding="utf-8")

    def delivered(self) -> int:
        """Return how many recipients have got their message."""
        return self.log().count(" status=sent ")

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something is true."""
        deadline = time.monotonic() + 3 * TIMEOUT
        while not condition():
            assert time.monotonic() < deadline, self.log()[-5000:]
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(0.05)
                raise AssertionError("Postfix has ended")

    def source(self, *options: str) -> subprocess.Popen[bytes]:
        """Start its load generator towards it."""
        return subprocess.Popen(["smtp-source", *options, f"inet:127.0.0.1:{self.port}"])


@contextmanager
def postfix(folder: Path, main: str) -> Iterator[Postfix]:
    """Run a Postfix.

    Args:
        folder: that others may enter, for all it has.
        main: what this test adds to main.cf.
    """
    port = free_port()
    for part in ("conf", "queue", "data"):
        (folder / part).mkdir()
    shutil.chown(folder / "data", "postfix")
    (folder / "conf/main.cf").write_text(_MAIN.format(folder=folder) + main, encoding="ascii")
    (folder / "conf/master.cf").write_text(_MASTER.format(port=port), encoding="ascii")
    # It ends its own process group, and sometimes whoever is in it.
    command = ["postfix", "-c", str(folder / "conf"), "start-fg"]
    process = subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL)
    running = Postfix(folder, port, process)
    try:
        running.until(lambda: _greets(port))
        yield running
    finally:
        subprocess.run(["postfix", "-c", str(folder / "conf"), "stop"], check=False, timeout=TIMEOUT)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(TIMEOUT)


def _greets(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), TIMEOUT) as client:
        return client.recv(4) == b"220 "
    return False


class Server:
    """Our own server, which may be killed and started anew.

    Args:
        configuration: its file.
        listeners: how many it has; the first is for POP3, on port 0.
    """

    def __init__(self, configuration: Path, listeners: int = 2) -> None:
        self._command = [sys.executable, "-m", "restante", "serve", "-c", str(configuration)]
        self._listeners = listeners
        self._process: subprocess.Popen[str] | None = None
        self.port = 0
        """Where it speaks POP3."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        self._process = subprocess.Popen(
            self._command,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,  # the processes of this test, and no others, are its group
        )
        assert self._process.stdout is not None
        lines = [self._process.stdout.readline() for _ in range(self._listeners)]
        assert all(line.endswith(" ready\n") for line in lines), lines
        match = re.search(r":(\d+) ready", lines[0])
        assert match is not None
        self.port = int(match[1])

    def kill(self) -> None:
        """End all its processes as a power cut would."""
        assert self._process is not None
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(TIMEOUT)
        assert self._process.stdout is not None
        self._process.stdout.close()


class Witness:
    """Stands between Postfix and the server, and keeps the messages that are handed over.

    Args:
        path: of a UNIX socket, which is made.
        target: of the server's.
    """

    def __init__(self, path: Path, target: Path) -> None:
        self._target = str(target)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        path.chmod(0o666)
        self._listener.listen(128)
        self._streams: list[bytearray] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(TIMEOUT)

    def messages(self) -> list[bytes]:
        """Return the messages that were handed over completely, as they were before byte-stuffing."""
        whole = re.compile(rb"(?<=\r\nDATA\r\n).*?\r\n\.(?=\r\n)", re.DOTALL)
        found = [octets for stream in self._streams for octets in whole.findall(bytes(stream))]
        return [octets[:-1].replace(b"\r\n.", b"\r\n").removeprefix(b".") for octets in found]

    def _accept(self) -> None:
        with suppress(OSError):  # the listener is closed
            while True:
                client, _ = self._listener.accept()
                self._threads.append(threading.Thread(target=self._serve, args=[client]))
                self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        stream = bytearray()
        self._streams.append(stream)
        with client, socket.socket(socket.AF_UNIX) as server, suppress(OSError):
            server.connect(self._target)
            while True:
                for source in select.select([client, server], [], [])[0]:
                    octets = source.recv(65536)
                    if not octets:
                        return
                    if source is client:
                        stream += octets
                    (server if source is client else client).sendall(octets)
