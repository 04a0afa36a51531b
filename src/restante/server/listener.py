"""Listening sockets and the connections that come in on them."""

import asyncio
import contextlib
import os
import socket
import stat
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from restante.auth import Closeable
from restante.server.addresses import Address
from restante.server.census import Census, FadingCounts
from restante.server.complaints import Complaints
from restante.server.connection import Connection
from restante.server.conversation import Conversation
from restante.server.guessing import Guesses
from restante.server.idle import IdleWatch
from restante.server.reading import WHOLE
from restante.server.reception import Reception
from restante.server.service import Door, Service
from restante.server.wire import Wire

BACKLOG = 1024
"""Connections the kernel keeps for us before they are accepted."""
BUFFER = 65536

# P-042: a peer that has vanished is noticed after about four minutes, long before the idle timer.
_KEEPALIVE = (("TCP_KEEPIDLE", 120), ("TCP_KEEPINTVL", 30), ("TCP_KEEPCNT", 4))

# From 3.13 on, who closes a UNIX socket removes its file, which other workers or systemd still listen at.
_KEEP_FILE: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}


class Listener(NamedTuple):
    """Where to listen and on what terms."""

    address: Address
    door: Door = Door()
    mode: int = 0o660
    """Of a UNIX socket: who may connect."""
    group: int = -1
    """To which a UNIX socket belongs; -1: that of the process."""


class Listening(NamedTuple):
    """A listener and its socket."""

    listener: Listener
    socket: socket.socket


def bind(listener: Listener, count: int = 1) -> list[Listening]:
    """Open `count` sockets at one address, one for each worker; the kernel shares connections among them.

    Port 0 becomes a free port, which the addresses returned tell.

    Raises:
        OSError: the address is in use, or not ours.
    """
    if listener.address.path:
        shared = _bind_unix(listener)
        return [Listening(listener, shared)] * count  # forked workers accept from one queue
    # SO_REUSEPORT would let a second server slip in beside a running one: ask without it first.
    with _tcp_socket(listener.address, reuse_port=False) as probe:
        address = listener.address._replace(port=probe.getsockname()[1])
    listener = listener._replace(address=address)
    sockets = [_tcp_socket(address, reuse_port=count > 1) for _ in range(count)]
    for sock in sockets:
        _set_options(sock)
    return [Listening(listener, _listen(sock)) for sock in sockets]


def adopt(listener: Listener, sock: socket.socket, count: int = 1) -> list[Listening]:
    """Use a socket that somebody else has opened at the listener's address, for `count` workers.

    Of a UNIX socket, mode and group stay as they are.
    """
    if not listener.address.path:
        _set_options(sock)
    return [Listening(listener, _listen(sock))] * count  # there is one queue, so they accept from it together


def _tcp_socket(address: Address, *, reuse_port: bool) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((address.host, address.port))
    except BaseException:
        sock.close()
        raise
    return sock


def _set_options(sock: socket.socket) -> None:
    """Set what every connection is to have: accepted sockets inherit it."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # P-022
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE:
        if hasattr(socket, name):  # not on every system
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _bind_unix(listener: Listener) -> socket.socket:
    path = listener.address.path
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if _is_stale_socket(path):
            Path(path).unlink()
        sock.bind(path)
        os.chown(path, -1, listener.group)
        Path(path).chmod(listener.mode)
        return _listen(sock)
    except BaseException:
        sock.close()
        raise


def _is_stale_socket(path: str) -> bool:
    """Say whether a socket file was left behind by a server that is gone."""
    try:
        if not stat.S_ISSOCK(Path(path).lstat().st_mode):
            return False
    except FileNotFoundError:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return True
        except BlockingIOError:  # the queue of a server that is busy
            return False
    return False


def _listen(sock: socket.socket) -> socket.socket:
    sock.listen(BACKLOG)
    sock.setblocking(False)
    return sock


class Shared:
    """What all workers count together; made before they are forked."""

    def __init__(self, workers: int = 1) -> None:
        self.census = Census(workers)
        self.failures = FadingCounts(workers)
        self.worker = 0
        """The number of this process, from 0."""

    def begin(self, worker: int) -> None:
        """This process is that worker."""
        self.worker = worker
        self.census.begin(worker)
        self.failures.begin(worker)


class Server:
    """Accepts connections in the running event loop.

    Args:
        service: what is offered.
        shared: counts of all workers; default: this process is alone.
    """

    def __init__(self, service: Service, shared: Shared | None = None) -> None:
        shared = shared or Shared()
        self.census = shared.census
        self.guesses = Guesses(shared.failures)
        self.complaints = Complaints()
        self.idle = IdleWatch()
        self.service = service
        self.wires: set[Wire] = set()
        """All connections, those included that are no sessions yet."""
        self.connections: set[Conversation[Any]] = set()
        self.buffer = memoryview(bytearray(BUFFER))
        """Where every connection reads into, one at a time."""
        self.room = memoryview(bytearray(WHOLE))
        """Where messages are read to that are answered at once."""
        self.stopping = False
        """No session begins any more."""
        self._servers: list[asyncio.Server] = []
        self._empty = asyncio.Event()

    @property
    def service(self) -> Service:
        """What is offered; may be replaced at any time, for the sessions that begin after that."""
        return self._service

    @service.setter
    def service(self, service: Service) -> None:
        self._service = service
        self.guesses.patience = service.limits.patience

    async def start(self, listening: Iterable[Listening]) -> None:
        """Begin to accept connections."""
        loop = asyncio.get_running_loop()
        for listener, sock in listening:
            kind = Connection if listener.door.protocol == "pop3" else Reception
            factory = partial(Wire, self, listener.door, partial(kind, self))
            if listener.address.path:
                server = await loop.create_unix_server(factory, sock=sock, backlog=BACKLOG, **_KEEP_FILE)
            else:
                server = await loop.create_server(factory, sock=sock, backlog=BACKLOG)
            self._servers.append(server)

    async def stop(self, grace: float | None = None) -> None:
        """Accept nothing more, let sessions end by themselves for a while, then drop them without UPDATE (P-294).

        Args:
            grace: seconds; default: the service's.
        """
        self.stopping = True
        for server in self._servers:
            server.close()
        for _ in range(5):  # what is accepted already takes a few turns of the loop to get into `wires`
            await asyncio.sleep(0)
        for wire in list(self.wires):
            wire.give_up()
        for connection in list(self.connections):
            connection.stop_soon()
        await self._wait_until_empty(self.service.limits.stop_grace if grace is None else grace)
        async with asyncio.TaskGroup() as group:
            for connection in list(self.connections):
                group.create_task(connection.drop("server stop"))
        await self._wait_until_empty(self.service.limits.linger)  # their transports are being closed
        if isinstance(self.service.authenticator, Closeable):
            await self.service.authenticator.aclose()

    def make_room(self) -> bool:
        """Drop whoever has been silent longest without logging in; returns whether there was somebody (P-138)."""
        idle = [connection for connection in self.connections if connection.before_login]
        quietest = min(idle, key=lambda connection: connection.active, default=None)
        now = asyncio.get_running_loop().time()
        if quietest is None or now - quietest.active < self.service.limits.idle_when_full:
            return False
        quietest.give_way()
        return True

    def forget(self, connection: Conversation[Any]) -> None:
        """A connection has ended, and all its work is done."""
        self.connections.discard(connection)
        if not self.connections:
            self._empty.set()

    async def _wait_until_empty(self, seconds: float) -> None:
        self._empty.clear()
        if self.connections:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._empty.wait()
