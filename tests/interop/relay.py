"""Stands between a client and the server, and writes down the commands that pass."""

import re
import select
import socket
import threading
from contextlib import suppress
from typing import Self

from tests.interop.program import TIMEOUT

_LONGEST_PATTERN = 8


class Relay:
    """Listens on a port of its own, and passes all octets on.

    Args:
        port: of the server.
    """

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._commands: list[str] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(TIMEOUT)

    def commands(self) -> list[str]:
        """Wait for the ends of the connections; returns what was sent on them, without secrets."""
        for thread in self._threads[1:]:
            thread.join(TIMEOUT)
        return self._commands

    def in_short(self) -> str:
        """Return the commands like this: ``CAPA, USER, PASS, STAT, 3 x (LIST n, RETR n), QUIT``."""
        return in_short(self.commands())

    def _accept(self) -> None:
        with suppress(OSError):  # the listener is closed
            while True:
                client, _ = self._listener.accept()
                self._threads.append(threading.Thread(target=self._serve, args=[client]))
                self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        recorder = _Recorder(self._commands)
        with client, socket.create_connection(self._target, TIMEOUT) as server, suppress(OSError):
            open_ends = {client: server, server: client}
            while open_ends:
                for source in select.select(list(open_ends), [], [])[0]:
                    data = source.recv(65536)
                    sink = server if source is client else client
                    if not data:
                        del open_ends[source]
                        sink.shutdown(socket.SHUT_WR)
                        continue
                    if source is client:
                        recorder.sent(data)
                    else:
                        recorder.answered(data)
                    sink.sendall(data)


class _Recorder:
    """Tells the commands of a connection from what else a client sends on it."""

    def __init__(self, commands: list[str]) -> None:
        self._commands = commands
        self._rest = b""
        self._challenged = False
        self._encrypted = False

    def sent(self, data: bytes) -> None:
        """The client has sent this."""
        self._encrypted = self._encrypted or (self._rest + data).startswith(b"\x16\x03")  # TLS, also after STLS
        if self._encrypted:
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if self._challenged:
                self._challenged = False
                self._commands.append("(response)")
                continue
            self._commands.append(_command(line.rstrip(b"\r").decode("latin-1")))

    def answered(self, data: bytes) -> None:
        """The server has sent this."""
        self._challenged = not self._encrypted and re.search(rb"(?:\A|\n)\+ [^\n]*\n\Z", data) is not None


def _command(line: str) -> str:
    """Return a command without names, secrets and numbers of messages."""
    verb, *arguments = line.split() or [""]
    if verb.upper() == "AUTH" and arguments:
        return " ".join([verb, arguments[0], *["(response)" for _ in arguments[1:]]])
    if verb.upper() in ("RETR", "DELE", "LIST", "UIDL", "TOP") and arguments:
        return " ".join([verb, "n", *arguments[1:]])
    return verb


def in_short(commands: list[str]) -> str:
    """Gather repeated commands, and repeated groups of them."""
    parts = []
    position = 0
    while position < len(commands):
        length, times = max(
            ((length, _times(commands, position, length)) for length in range(1, _LONGEST_PATTERN + 1)),
            key=lambda found: (found[0] * found[1] if found[1] > 1 else 0, -found[0]),
        )
        if times == 1:
            length = 1
        group = ", ".join(commands[position : position + length])
        parts.append(group if times == 1 else f"{times} x {group}" if length == 1 else f"{times} x ({group})")
        position += length * times
    return ", ".join(parts)


def _times(commands: list[str], position: int, length: int) -> int:
    """Say how often the group that stands there is repeated at once."""
    group = commands[position : position + length]
    times = 1
    while commands[position + times * length : position + (times + 1) * length] == group:
        times += 1
    return times
