"""A POP3 server that says what it is told to, and writes down what it hears."""

import socket
import ssl
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Self

from restante.client import ServerUrl

TIMEOUT = 20.0
"""Seconds after which a test gives up."""


class Peer:
    """Serves one connection after the other.

    Args:
        replies: by whole line, or else by keyword; ``b""`` closes the connection.
        greeting: what it begins with.
        tls: for STLS, or from the first octet.
        implicit: from the first octet.
        address: where it listens.
        otherwise: the reply to everything else.
        cut: a line after whose reply it closes, in TLS without a word.
    """

    def __init__(
        self,
        replies: Mapping[bytes, bytes] | None = None,
        *,
        greeting: bytes = b"+OK ready\r\n",
        tls: ssl.SSLContext | None = None,
        implicit: bool = False,
        address: str = "127.0.0.1",
        otherwise: bytes = b"-ERR unknown\r\n",
        cut: bytes | None = None,
    ) -> None:
        self._replies = {b"QUIT": b"+OK\r\n"} | dict(replies or {})
        self._greeting = greeting
        self._tls = tls
        self._implicit = implicit
        self._otherwise = otherwise
        self._cut = cut
        self._listener = socket.create_server((address, 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = ServerUrl(address, self.port, implicit)
        self.heard: list[bytes] = []
        """Lines without their ends."""
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(TIMEOUT)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        with suppress(OSError):  # the listener is closed
            while True:
                client, _ = self._listener.accept()
                client.settimeout(TIMEOUT)
                with suppress(OSError):
                    self._serve(client)
                client.close()

    def _serve(self, client: socket.socket) -> None:
        if self._implicit:
            client = self._encrypted(client)
        client.sendall(self._greeting)
        buffer = b""
        while True:
            line, end, buffer = buffer.partition(b"\r\n")
            if not end:
                piece = client.recv(4096)
                if not piece:
                    return
                buffer = line + piece
                continue
            self.heard.append(line)
            reply = self._replies.get(line, self._replies.get(line.split(b" ")[0], self._otherwise))
            if not reply:
                client.close()
                return
            client.sendall(reply)
            if line == b"STLS" and reply.startswith(b"+OK"):
                client = self._encrypted(client)
            if line in (b"QUIT", self._cut):
                client.close()
                return

    def _encrypted(self, client: socket.socket) -> socket.socket:
        assert self._tls is not None
        return self._tls.wrap_socket(client, server_side=True)


def multi(*lines: bytes) -> bytes:
    """Return a multi-line reply."""
    return b"".join(line + b"\r\n" for line in (b"+OK", *lines, b"."))
