"""A POP3 session as the client sees it (RFC 1939), blocking.

No limit on the length of lines (K-008); every argument is looked at before it is sent (K-010).
"""

import ipaddress
import socket
import ssl
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from restante.client.replies import CleartextRefused, ConnectionLost, NotPop3, Refused, refusal
from restante.client.url import ServerUrl
from restante.errors import AuthenticationFailed, Condition, one_line
from restante.protocol.framing import MultilineDecoder

CONNECT_TIMEOUT = 30.0
"""Seconds in which a connection must be made (K-022)."""
TIMEOUT = 300.0
"""Seconds without an octet after which a server is given up: the first listing of a Maildir may take long (K-022)."""
LONGEST_STATUS = 65_536
"""Octets of a line that answers a command; RFC 1939 allows 512."""
LONGEST_LISTING = 2**27
"""Octets of a multi-line reply that is kept."""
LONGEST_MESSAGE = 2**34
"""Octets after which a message is taken for one that never ends."""
DEPTH = 50
"""Commands that are sent before a reply is read, where the server can do that."""
_PIECE = 65_536

_Way = Callable[[str, bytes], None]


class Pop3Session:
    """A connection; leaving its context says QUIT.

    Args:
        url: of the server.
        ca: file with the certificates of those who may vouch for the server; None: those of the system.
        cleartext: a password may go over the line unencrypted to other machines too.
        utf8: say UTF8 where the server knows it, so that messages come as they are stored (RFC 6856).

    Raises:
        ConnectionLost, NotPop3: there is no POP3 server, or not the one it should be.
        Condition: it greets with a refusal.
    """

    def __init__(self, url: ServerUrl, *, ca: Path | None = None, cleartext: bool = False, utf8: bool = False) -> None:
        self.url = url
        self._ca = ca
        self._cleartext = cleartext
        self._buffer = bytearray()
        self._in_step = False
        self.capabilities: dict[str, str] = {}
        """Keyword in capitals to parameters; empty where the server knows no CAPA (K-005)."""
        try:
            self._socket = socket.create_connection((url.host, url.port), CONNECT_TIMEOUT)
        except OSError as error:
            raise ConnectionLost(f"{url}: {error.strerror or error}") from None
        try:
            self._socket.settimeout(TIMEOUT)
            self._loopback = _is_loopback(self._socket.getpeername()[0])
            if url.tls:
                self._encrypt()
            self._status()
            self._in_step = True
            self._read_capabilities()
            if not url.tls and self._wants_tls():
                self._start_tls()
            self._utf8 = utf8 and "UTF8" in self.capabilities
            if self._utf8:
                self._ask("UTF8")
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if self._in_step:
                with suppress(Condition):  # nothing was deleted, so nothing depends on the answer
                    self._ask("QUIT")
        finally:
            self._in_step = False
            self._socket.close()

    # -- before the login ---------------------------------------------------------------------------

    def login(self, user: str, password: bytes) -> None:
        """Log in, by the best way of those that need the password itself.

        Raises:
            AuthenticationFailed, MaildropInUse, LoginDelayed: the server says so.
            CleartextRefused: nothing was sent.
            Condition: another refusal.
        """
        if not (isinstance(self._socket, ssl.SSLSocket) or self._loopback or self._cleartext):
            text = "offers no encryption, and a password that goes to another machine would be readable on the way"
            raise CleartextRefused(f"{self.url} {text}")
        ways = self._ways(user, password)
        for number, way in enumerate(ways, 1):
            try:
                return way(user, password)
            except Refused as refused:  # K-017: without a reason, so another way may work
                if number == len(ways):
                    raise AuthenticationFailed(*refused.args) from None
        raise NotPop3(f"{self.url} offers no way to log in by PLAIN, LOGIN or USER")

    def _ways(self, user: str, password: bytes) -> list[_Way]:
        mechanisms = self.capabilities.get("SASL", "").upper().split()
        ways: list[_Way] = []
        if "PLAIN" in mechanisms:
            ways.append(self._auth_plain)
        if "LOGIN" in mechanisms:
            ways.append(self._auth_login)
        utf8_user = self._utf8 and self.capabilities["UTF8"].upper() == "USER"
        # K-026: octets above 127 only where they are announced.
        plain = (user.isascii() and password.isascii()) or utf8_user
        if plain and ("USER" in self.capabilities or not self.capabilities):
            ways.append(self._user)
        return ways

    def _user(self, user: str, password: bytes) -> None:
        self._ask("USER", user)
        self._ask("PASS", password)

    def _auth_plain(self, user: str, password: bytes) -> None:
        self._exchange("PLAIN", [b"\0" + user.encode() + b"\0" + password])

    def _auth_login(self, user: str, password: bytes) -> None:
        self._exchange("LOGIN", [user.encode(), password])

    def _exchange(self, mechanism: str, answers: Sequence[bytes]) -> None:
        # Without an initial response: some servers know none, and none needs it (K-011).
        line = self._raw(b"AUTH " + mechanism.encode())
        for answer in answers:
            if not line.startswith(b"+ ") and line != b"+":
                break
            line = self._raw(b64encode(answer))
        if not line.startswith(b"+OK"):
            raise refusal(line) if line.startswith(b"-ERR") else self._not_pop3(line)

    def _read_capabilities(self) -> None:
        self.capabilities = {}
        try:
            lines = self._lines("CAPA")
        except Refused:
            return
        for line in lines:
            keyword, _, parameters = line.decode("ascii", "replace").partition(" ")
            self.capabilities[keyword.upper()] = parameters

    # -- encryption ---------------------------------------------------------------------------------

    def _wants_tls(self) -> bool:
        """On this machine nobody listens, and certificates have other names than ``127.0.0.1``."""
        if "STLS" not in self.capabilities:
            return False
        can_log_in = "USER" in self.capabilities or "SASL" in self.capabilities
        return not self._loopback or self._ca is not None or not can_log_in

    def _start_tls(self) -> None:
        self._ask("STLS")
        if self._buffer:
            raise NotPop3(f"{self.url} has sent octets before the encryption began: somebody is in between")  # K-012
        self._in_step = False
        self._encrypt()
        self._in_step = True
        self._read_capabilities()  # K-012

    def _encrypt(self) -> None:
        try:
            context = ssl.create_default_context(cafile=self._ca)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            self._socket = context.wrap_socket(self._socket, server_hostname=self.url.host)
        except ssl.SSLCertVerificationError as error:
            why = error.verify_message or str(error)
            raise NotPop3(f"{self.url}: its certificate is not good: {why}; --ca names who vouches for it") from None
        except ssl.SSLError as error:
            raise NotPop3(f"{self.url}: no encryption: {error.reason or error}") from None
        except OSError as error:
            raise ConnectionLost(f"{self.url}: {error.strerror or error}") from None

    # -- after the login ----------------------------------------------------------------------------

    def sizes(self) -> dict[int, int]:
        """Return message numbers and their octets, which may be wrong (K-009)."""
        return {number: int(rest.split()[0]) for number, rest in self._numbered("LIST")}

    def unique_ids(self) -> dict[int, str]:
        """Return message numbers and unique-ids, in the order of the reply (K-007).

        Raises:
            Refused: the server has none.
        """
        try:
            return {number: rest.strip(b" ").decode("ascii", "replace") for number, rest in self._numbered("UIDL")}
        except Refused as refused:
            raise Refused(f"{self.url} does not tell unique-ids: {refused}") from None

    def headers(self, numbers: Iterable[int]) -> Iterator[tuple[int, bytes | Condition]]:
        """Give the headers of messages, many at a time where the server can (K-002); or why there is none."""
        batch: list[int] = []
        depth = DEPTH if "PIPELINING" in self.capabilities else 1
        for number in (*numbers, 0):
            if number:
                batch.append(number)
            if batch and (len(batch) == depth or not number):
                self._send(b"".join(b"TOP %d 0\r\n" % one for one in batch))
                for one in batch:
                    yield one, self._header()
                batch = []

    def _header(self) -> bytes | Condition:
        try:
            self._status()
        except (ConnectionLost, NotPop3):
            raise
        except Condition as refused:
            return refused
        return b"".join(self._body(LONGEST_LISTING))

    def retrieve(self, number: int) -> Iterator[bytes]:
        """Give the octets of a message as they come; read them to their end.

        Raises:
            Condition: the server refuses.
        """
        self._ask("RETR", str(number))
        yield from self._body(LONGEST_MESSAGE)

    def _numbered(self, command: str) -> Iterator[tuple[int, bytes]]:
        for line in self._lines(command):
            digits, _, rest = line.strip(b" ").partition(b" ")
            if not digits.isdigit() or not rest.strip():
                raise self._not_pop3(line)
            yield int(digits), rest.lstrip(b" ")

    # -- lines --------------------------------------------------------------------------------------

    def _lines(self, command: str) -> list[bytes]:
        self._ask(command)
        return b"".join(self._body(LONGEST_LISTING)).split(b"\r\n")[:-1]

    def _ask(self, command: str, argument: str | bytes = b"") -> bytes:
        octets = argument.encode() if isinstance(argument, str) else argument
        if any(octet in octets for octet in b"\r\n\0"):
            raise ValueError(f"{command} with a line break or NUL in its argument would be another command")  # K-010
        self._send(command.encode() + (b" " + octets if octets else b"") + b"\r\n")
        return self._status()

    def _raw(self, line: bytes) -> bytes:
        self._send(line + b"\r\n")
        return self._line()

    def _status(self) -> bytes:
        line = self._line()
        if line.startswith(b"+OK"):
            return line
        if line.startswith(b"-ERR"):
            raise refusal(line)
        raise self._not_pop3(line)

    def _not_pop3(self, line: bytes) -> NotPop3:
        self._in_step = False
        return NotPop3(f"{self.url} says what is no POP3: {one_line(line[:60].decode('ascii', 'replace'))!r}")

    def _line(self) -> bytes:
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > LONGEST_STATUS:
                raise self._not_pop3(bytes(self._buffer))
            self._buffer += self._receive()
        line = bytes(self._buffer[:end]).removesuffix(b"\r")
        del self._buffer[: end + 1]
        return line

    def _body(self, limit: int) -> Iterator[bytes]:
        """Give what follows a positive status line, up to its terminator (K-001)."""
        decoder = MultilineDecoder()
        octets = 0
        in_step, self._in_step = self._in_step, False
        piece = bytes(self._buffer)
        self._buffer.clear()
        while True:
            message = decoder.feed(piece)
            octets += len(message)
            if octets > limit:
                raise NotPop3(f"{self.url} sends a reply that does not end after {limit} octets")
            if message:
                yield message
            if decoder.finished:
                break
            piece = self._receive()
        self._buffer += decoder.rest
        self._in_step = in_step

    def _send(self, octets: bytes) -> None:
        try:
            self._socket.sendall(octets)
        except OSError as error:
            self._in_step = False
            raise ConnectionLost(f"{self.url}: {error.strerror or error}") from None

    def _receive(self) -> bytes:
        try:
            piece = self._socket.recv(_PIECE)
        except TimeoutError:
            self._in_step = False
            raise ConnectionLost(f"{self.url} has kept silent for {TIMEOUT:.0f} seconds") from None
        except OSError as error:  # a TLS connection that ends without a word is one (K-021)
            self._in_step = False
            raise ConnectionLost(f"{self.url}: {error.strerror or error}") from None
        if not piece:
            self._in_step = False
            raise ConnectionLost(f"{self.url} has closed the connection")
        return piece


def _is_loopback(address: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    return False
