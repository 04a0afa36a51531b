"""Octets between a socket and a `ClientSession`, with back-pressure and patience."""

import asyncio
import os
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple, cast

from restante.client.replies import ConnectionLost, NotPop3
from restante.client.security import Security
from restante.client.url import ServerUrl
from restante.protocol.pop3_client import Challenge, ClientSession, End, Form, NotAReply, Status

_ROOM = 1 << 18
"""Octets that may wait to be interpreted."""

Log = Callable[[str], None]


class Patience(NamedTuple):
    """How long a client waits, in seconds (K-022)."""

    connect: float = 30.0
    """For a connection, and for its encryption."""
    silence: float = 60.0
    """For the next octet."""
    long_silence: float = 300.0
    """The same where a server may have to open a large maildrop, or to delete what is in it."""
    reply: float = 6 * 3600.0
    """For a whole message (K-008)."""


class Connection(asyncio.Protocol):
    """A connection to a server; one coroutine at a time may use it.

    Args:
        url: of the server.
        security: whom to trust.
        patience: how long to wait.
        lenient: as for `ClientSession`.
        log: is called with a line for each line that goes out or comes in.
    """

    def __init__(
        self, url: ServerUrl, security: Security, patience: Patience, *, lenient: bool, log: Log | None
    ) -> None:
        self.url = url
        self.patience = patience
        self.log = log
        self.session = ClientSession(lenient=lenient)
        self.tls: ssl.SSLObject | None = None
        """What is known of the encryption."""
        self.address = ""
        """The server's IP address."""
        self._security = security
        self._transport: asyncio.Transport | None = None
        self._arrived = asyncio.Event()
        self._paused = False
        self._lost: str | None = None
        """Why nothing more will come."""
        self._made = False
        self._closed = asyncio.Event()

    # -- opening and closing ------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect, and encrypt where that comes first.

        Raises:
            ConnectionLost, NotPop3: that is not possible.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self.patience.connect):
                transport, _ = await loop.create_connection(lambda: self, self.url.host, self.url.port)
            self.address = str(transport.get_extra_info("peername")[0])
            if self.url.tls:
                await self.encrypt()
        except TimeoutError:
            self.abort()
            raise ConnectionLost(f"{self.url}: no connection within {self.patience.connect:.0f} seconds") from None
        except OSError as error:
            self.abort()
            raise ConnectionLost(f"{self.url}: {_reason(error)}") from None
        except BaseException:
            self.abort()
            raise

    async def encrypt(self) -> None:
        """Begin TLS.

        Raises:
            ConnectionLost, NotPop3: it did not come about, or the server is not the one it should be.
        """
        assert self._transport is not None
        if self.session.held:  # K-012
            raise NotPop3(f"{self.url} has sent octets before the encryption began: somebody is in between")
        loop = asyncio.get_running_loop()
        try:
            context = self._security.context()
            # Nothing is awaited between the look above and here, so no octet comes between them.
            transport = await loop.start_tls(
                self._transport,
                self,
                context,
                server_hostname=self.url.host,
                ssl_handshake_timeout=self.patience.connect,
                ssl_shutdown_timeout=2.0,
            )
        except ssl.SSLCertVerificationError as error:
            why = error.verify_message or str(error)
            raise NotPop3(f"{self.url}: its certificate is not good: {why}; --ca names who vouches for it") from None
        except ssl.SSLError as error:
            raise NotPop3(f"{self.url}: no encryption: {error.reason or error}") from None
        except OSError as error:
            raise ConnectionLost(f"{self.url}: {_reason(error)}") from None
        if transport is None:
            raise ConnectionLost(f"{self.url}: the connection was closed while the encryption began")
        self._transport = transport
        self.tls = transport.get_extra_info("ssl_object")
        assert self.tls is not None
        self._security.check(self.tls, self.url)
        if self.log:
            self.log(f"-- {self.tls.version()}")

    async def close(self) -> None:
        """Close, saying so to a TLS server (K-021)."""
        if self._transport is not None:
            self._transport.close()
        if self._made:
            with suppress(TimeoutError):
                async with asyncio.timeout(3):
                    await self._closed.wait()
        self.abort()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None
        self._lost = self._lost or "the connection is closed"

    @property
    def usable(self) -> bool:
        """Commands can be sent, and will be understood."""
        return self._lost is None and self._transport is not None

    # -- sending and receiving ----------------------------------------------------------------------

    def send(self, *lines: bytes, form: Form = Form.LINE, shown: str | None = None) -> None:
        """Send command lines; whoever sends many reads replies between them.

        Args:
            lines: with their ends.
            form: of each reply.
            shown: what the log has instead of each, because it is secret.

        Raises:
            ConnectionLost: there is no connection any more.
        """
        if self._lost is not None or self._transport is None:
            raise ConnectionLost(f"{self.url}: {self._lost or 'not connected'}")
        for line in lines:
            if self.log:
                self.log("C: " + (line.decode("utf-8", "backslashreplace").rstrip("\r\n") if shown is None else shown))
            self.session.send(line, form)
        self._transport.write(self.session.data_to_send())

    async def event(self, *, long: bool = False) -> Status | Challenge | bytes | End:
        """Return what comes next.

        Args:
            long: the server may have much to do.

        Raises:
            ConnectionLost: the server has closed, or keeps silent (K-006, K-021).
            NotPop3: what comes is no POP3.
        """
        while True:
            try:
                event = self.session.next_event()
            except NotAReply as error:
                self.abort()
                raise NotPop3(f"{self.url} says what is no POP3: {error}") from None
            if event is not None:
                if self.log:
                    self._note(event)
                return event
            await self._more(self.patience.long_silence if long else self.patience.silence)

    async def anything(self) -> None:
        """Wait until octets come, or the connection ends; whoever waits between commands sees it so."""
        while self._lost is None and not self.session.held:
            self._arrived.clear()
            await self._arrived.wait()

    def lost(self) -> str:
        """Why nothing more will come; ``""``: more may come."""
        return self._lost or ""

    async def _more(self, patience: float) -> None:
        if self._paused and self._transport is not None and self._lost is None:
            self._paused = False
            self._transport.resume_reading()
        if self._lost is not None:
            raise ConnectionLost(f"{self.url}: {self._lost}")
        self._arrived.clear()
        try:
            async with asyncio.timeout(patience):
                await self._arrived.wait()
        except TimeoutError:
            self.abort()
            raise ConnectionLost(f"{self.url} has kept silent for {patience:.0f} seconds") from None

    def _note(self, event: Status | Challenge | bytes | End) -> None:
        assert self.log is not None
        if isinstance(event, Status):
            self.log("S: " + event.line.decode("utf-8", "backslashreplace"))
        elif isinstance(event, Challenge):
            self.log("S: + " + event.text.decode("ascii", "backslashreplace"))
        elif isinstance(event, bytes):
            self.log(f"S: ({len(event)} octets)")
        else:
            self.log("S: .")

    # -- what the event loop calls ------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)
        self._made = True

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self.session.receive_data(data)
        self._arrived.set()
        if self.session.held > _ROOM and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def eof_received(self) -> None:
        """See `asyncio.Protocol`."""
        self._lose("the server has closed the connection")

    def connection_lost(self, error: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._lose(_reason(error) if isinstance(error, OSError) else "the server has closed the connection")
        self._closed.set()

    def _lose(self, why: str) -> None:
        self._lost = self._lost or why
        self._arrived.set()


def _reason(error: OSError) -> str:
    if error.errno is not None and error.errno > 0:  # asyncio puts the address into the words of the system
        return os.strerror(error.errno)
    return error.strerror or str(error) or type(error).__name__
