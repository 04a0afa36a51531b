"""One client of a POP3 server, in no hurry: every reply is looked at."""

import socket

from bench.peers import PASSWORD


class Talk:
    """One connection; every reply is looked at."""

    def __init__(self, port: int, user: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb", buffering=262_144)
        self._user = user
        self._expect_ok()

    def ask(self, line: bytes) -> bytes:
        """Send a command; returns the status line."""
        self._socket.sendall(line + b"\r\n")
        return self._expect_ok()

    def refused(self, line: bytes) -> bool:
        """Send a command; says whether the reply is an error."""
        self._socket.sendall(line + b"\r\n")
        return self._file.readline().startswith(b"-ERR")

    def lines(self) -> int:
        """Read a multi-line reply to its end; returns its octets."""
        return len(self.reply())

    def reply(self) -> bytes:
        """Read a multi-line reply to its end; returns its lines."""
        lines = []
        while (line := self._file.readline()) != b".\r\n":
            assert line
            lines.append(line)
        return b"".join(lines)

    def login(self) -> None:
        """Go to TRANSACTION."""
        self.ask(b"USER " + self._user.encode())
        self.ask(b"PASS " + PASSWORD)

    def close(self) -> None:
        """Say QUIT, and wait until the server has closed."""
        self.ask(b"QUIT")
        assert self._file.read() == b""
        self._file.close()
        self._socket.close()

    def _expect_ok(self) -> bytes:
        line = self._file.readline()
        assert line.startswith(b"+OK"), line
        return line
