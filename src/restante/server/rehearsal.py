"""One session before the first client comes: what only the first one pays for is paid then.

A worker that was forked shares its memory with its parent until it writes to a page, and in Python whoever uses an
object writes to it.  So the first session of a worker copied some seven hundred pages, which took it a millisecond.
"""

import asyncio
import io
import logging
import socket
from collections.abc import Collection, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial

from restante.auth import Credentials, Principal
from restante.maildrop import Delivery, Maildrop, Message, MessageFile
from restante.protocol.policy import Features
from restante.server.connection import Connection
from restante.server.listener import Server
from restante.server.service import Door, Service
from restante.server.wire import Wire

log = logging.getLogger("restante.server")

_MAIL = b"Subject: rehearsal\r\n\r\nNobody reads this.\r\n"
_LINES = b"USER nobody\r\nPASS x\r\nSTAT\r\nLIST\r\nUIDL\r\nRETR 1\r\nTOP 1 0\r\nNOOP\r\nQUIT\r\n"


async def rehearse() -> str:
    """Hold a session with nobody, about a maildrop of nobody's, by a socket that nobody sees; returns its replies.

    It comes into no count and into no log.
    """
    loop = asyncio.get_running_loop()
    server = Server(Service(Features("localhost"), _Anybody(), _Store()))
    sessions = logging.getLogger("restante.session")
    ours, theirs = socket.socketpair()
    sessions.disabled = True
    try:
        with ours:
            ours.setblocking(False)
            await loop.connect_accepted_socket(partial(Wire, server, Door(), partial(Connection, server)), theirs)
            await loop.sock_sendall(ours, _LINES)
            replies = b""
            while octets := await loop.sock_recv(ours, 4096):
                replies += octets
        await server.stop()
    finally:
        sessions.disabled = False
    return replies.decode()


class _Anybody:
    async def authenticate(self, credentials: Credentials) -> Principal:
        return Principal(credentials.user)


class _Store:
    async def open(self, principal: Principal) -> Maildrop:
        return _Maildrop()

    def deliver(self, user: str) -> AbstractAsyncContextManager[Delivery]:
        raise NotImplementedError


class _Maildrop:
    listing: Sequence[Message] = (Message("1", len(_MAIL)),)

    async def retrieve(self, number: int) -> MessageFile:
        return io.BytesIO(_MAIL)

    async def update(self, deleted: Collection[int]) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        pass
