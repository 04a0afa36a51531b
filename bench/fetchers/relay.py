"""Stands between a fetcher and a server, follows the POP3 session in cleartext, and makes one fault.

Everything is told by commands and octets, nothing by time, so the same fault comes at the same place each time.
"""

import socket
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from select import select
from typing import NamedTuple, Self

TIMEOUT = 60.0
"""Seconds without an octet after which a connection is given up."""
_SLICE = 4096
"""Octets: so few are under way at a time that the relay knows how far the fetcher is."""


class Fault(Enum):
    """What the relay does to a session."""

    NONE = "none"
    CUT_IN_RETRIEVAL = "cut inside the 6th RETR"
    CUT_BEFORE_QUIT = "cut instead of QUIT"
    QUIT_REPLY_LOST = "reply to QUIT lost"
    KILL = "SIGKILL half-way"
    EMPTY = "maildrop empty once"


THE_CUT_ONE = 6
"""Of the messages that are retrieved."""
_LISTINGS = {
    b"STAT": b"+OK 0 0\r\n",
    b"LAST": b"+OK 0\r\n",
    b"LIST": b"+OK\r\n.\r\n",
    b"UIDL": b"+OK\r\n.\r\n",
}
"""Of a maildrop without messages."""


class Command(NamedTuple):
    """A command that waits for its reply."""

    verb: bytes
    multiline: bool
    """Its positive reply ends with a line that has a dot alone."""
    instead: bytes = b""
    """What the fetcher is answered, whatever the server says."""


def parsed(line: bytes) -> Command:
    """Understand a line of the client."""
    verb, *arguments = line.split() or [b""]
    verb = verb.upper()
    if verb == b"TOP" and len(arguments) == 2 and int(arguments[1]) > 1_000_000:
        verb = b"RETR"  # fetchmail's way to retrieve
    multiline = verb in {b"RETR", b"TOP", b"CAPA"} or (verb in {b"LIST", b"UIDL", b"AUTH"} and not arguments)
    return Command(verb, multiline)


class Dialogue:
    """Tells which octets of the server answer which command, however they are cut into pieces."""

    def __init__(self) -> None:
        self._waiting: deque[Command] = deque([Command(b"greeting", multiline=False)])
        self._lines: deque[bytes] = deque()
        self._rest = b""
        self._body = False
        """A multi-line reply is under way."""
        self.challenged = False
        """The next line of the client is a response of SASL."""

    @property
    def idle(self) -> bool:
        """Say whether every command has its whole reply."""
        return not self._waiting

    def asked(self, command: Command) -> None:
        """The server is sent this command."""
        self._waiting.append(command)

    def answered(self, data: bytes) -> list[tuple[Command, bytes, bool]]:
        """Take octets of the server; returns for each line its command, the line, and whether the reply ends there."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [self._line(line + b"\n") for line in lines]

    def _line(self, line: bytes) -> tuple[Command, bytes, bool]:
        command = self._waiting[0]
        if self._body:
            self._body = line != b".\r\n"
        elif line.startswith(b"+ "):
            self.challenged = True
            return command, line, False
        else:
            self._body = command.multiline and line.startswith(b"+OK")
        if not self._body:
            self._waiting.popleft()
        return command, line, not self._body


class Relay:
    """Listens on a loopback port of its own, and is one server to a fetcher from run to run.

    Args:
        host: of the server.
        port: of the server.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._fault = Fault.NONE
        self._kill: Callable[[], None] | None = None
        self._kill_at = 0
        self.octets = 0
        """That have come from the server and were passed on in this run."""
        self.happened = False
        """The fault has been made in this run."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._connections: list[threading.Thread] = []
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(TIMEOUT)
        self.wait()

    def expect(self, fault: Fault, kill: Callable[[], None], kill_at: int = 0) -> None:
        """Begin a run.

        Args:
            fault: to be made.
            kill: ends the fetcher at once, for `Fault.KILL`.
            kill_at: octets from the server after which it is called.
        """
        self._fault, self._kill, self._kill_at = fault, kill, kill_at
        self.octets, self.happened = 0, False

    def wait(self) -> None:
        """Wait until the connections have ended, so that the server has let go of the maildrop."""
        for thread in self._connections:
            thread.join(2 * TIMEOUT)
        self._connections = []

    def _accept(self) -> None:
        with suppress(OSError):  # the listener is closed
            while True:
                client, _ = self._listener.accept()
                self._connections.append(threading.Thread(target=self._serve, args=[client]))
                self._connections[-1].start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._target, TIMEOUT) as server:
            client.settimeout(TIMEOUT)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SLICE)
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with suppress(OSError):
                _Connection(self, client, server).run()
            for end in (client, server):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_WR)
            # When it closes, the server has let go of the maildrop; and what a fetcher has been sent, it can read.
            for end in (server, client):
                with suppress(OSError):
                    while end.recv(65536):
                        pass

    # -- for its connections ------------------------------------------------------------------------

    def fault_is(self, fault: Fault) -> bool:
        """Say whether this one is to be made, and has not been."""
        return self._fault is fault and not self.happened

    def passable(self, octets: bytes) -> bytes:
        """Return what may pass until the fetcher is to be killed."""
        return octets[: self._kill_at - self.octets] if self.fault_is(Fault.KILL) else octets

    def passed(self, octets: int) -> bool:
        """So many octets have been passed on; returns whether the fetcher has been killed for it."""
        self.octets += octets
        if self.fault_is(Fault.KILL) and self.octets >= self._kill_at:
            assert self._kill is not None
            self.happened = True
            self._kill()
            return True
        return False


class _Connection:
    """One connection of a relay."""

    def __init__(self, relay: Relay, client: socket.socket, server: socket.socket) -> None:
        self._relay = relay
        self._client = client
        self._server = server
        self._dialogue = Dialogue()
        self._typed = b""
        self._retrieved = 0
        self._held = b""
        """Of the reply that will be cut."""
        self._quitting = False
        self._open = True

    def run(self) -> None:
        while self._open:
            ready, _, _ = select([self._client, self._server], [], [], TIMEOUT)
            if not ready:
                return
            # What the server has said first; so a reply and its command do not change places.
            source = self._server if self._server in ready else self._client
            data = source.recv(_SLICE)
            if not data:
                return
            if source is self._server:
                self._from_server(data)
            else:
                self._from_client(data)

    def _from_client(self, data: bytes) -> None:
        *lines, self._typed = (self._typed + data).split(b"\n")
        passed = b""
        for line in lines:
            if self._dialogue.challenged:
                self._dialogue.challenged = False
            else:
                command = parsed(line)
                if command.verb == b"QUIT" and self._relay.fault_is(Fault.CUT_BEFORE_QUIT):
                    self._quitting = True
                    break
                if self._relay.fault_is(Fault.EMPTY) and command.verb in _LISTINGS:
                    self._dialogue.asked(Command(b"NOOP", multiline=False, instead=_empty(line)))
                    passed += b"NOOP\r\n"
                    continue
                self._dialogue.asked(command)
            passed += line + b"\n"
        self._server.sendall(passed)
        self._maybe_cut_before_quit()

    def _maybe_cut_before_quit(self) -> None:
        if self._quitting and self._dialogue.idle:
            self._relay.happened = True
            self._open = False

    def _from_server(self, data: bytes) -> None:
        passed = b""
        for command, line, ends in self._dialogue.answered(data):
            if not self._open:
                break
            passed += self._answer(command, line, ends=ends)
        self._pass(passed)
        self._maybe_cut_before_quit()

    def _answer(self, command: Command, line: bytes, *, ends: bool) -> bytes:
        """Return what of a line is passed on."""
        if command.instead:
            return command.instead
        if command.verb == b"QUIT":
            if self._relay.fault_is(Fault.EMPTY):
                self._relay.happened = True
            if self._relay.fault_is(Fault.QUIT_REPLY_LOST):
                self._relay.happened = True
                self._open = False
                return b""
        if command.verb != b"RETR":
            return line
        if self._relay.fault_is(Fault.CUT_IN_RETRIEVAL) and self._retrieved == THE_CUT_ONE - 1:
            self._held += line
            if not ends:
                return b""
            self._relay.happened = True
            self._open = False
            return self._held[: len(self._held) // 2]
        self._retrieved += ends
        return line

    def _pass(self, octets: bytes) -> None:
        octets = self._relay.passable(octets)
        self._client.sendall(octets)
        if self._relay.passed(len(octets)):
            self._open = False


def _empty(line: bytes) -> bytes:
    """Answer a question about a maildrop that has no message."""
    verb, *arguments = line.split()
    return b"-ERR no such message\r\n" if arguments else _LISTINGS[verb.upper()]
