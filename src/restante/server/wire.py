"""A connection up to the point where it carries POP3: PROXY header, TLS, and what is neither."""

import asyncio
import logging
import ssl
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, cast

from restante.protocol import strangers
from restante.server import client_hello, proxy_protocol
from restante.server.addresses import Peer
from restante.server.service import Door
from restante.server.tls import TlsFilter

if TYPE_CHECKING:
    from restante.server.listener import Server

log = logging.getLogger("restante.connection")

WRITE_AHEAD = 65536
"""Octets the transport may hold before we wait for the peer."""
BUSY = {
    "pop3": b"-ERR [SYS/TEMP] too many connections; please try again later\r\n",
    "lmtp": b"421 4.3.2 too many connections; please try again later\r\n",
    "smtp": b"421 4.3.2 too many connections; please try again later\r\n",
}
"""P-286: no greeting is negative in RFC 1939, but this is what clients understand."""
NOT_YOU = b"554 5.7.1 mail is taken from other addresses only\r\n"


class Upper(Protocol):
    """What sits on a wire."""

    def opened(self) -> None:
        """The peer is there, and `Wire.tls` too if the port begins with it."""

    def secured(self) -> None:
        """The handshake that `Wire.start_tls` began is done."""

    def received(self, octets: bytes) -> None:
        """Octets have come."""

    def eof(self) -> bool:
        """No more will come; returns whether the connection is to stay open for what we have to say."""

    def pause_writing(self) -> None:
        """The peer reads slower than we write."""

    def resume_writing(self) -> None:
        """The peer has read."""

    def lost(self, error: Exception | None) -> None:
        """The connection is over."""


class Wire(asyncio.BufferedProtocol):
    """The lower half of a connection.

    Args:
        server: which this connection belongs to.
        door: the terms of its listener.
        make_upper: makes what the octets are for, once it is known who is there.
    """

    __slots__ = (
        "_counted",
        "_early",
        "_handshaking",
        "_logged_in",
        "_make_upper",
        "_server",
        "_service",
        "_take",
        "_timer",
        "_upper",
        "door",
        "peer",
        "tls",
        "transport",
    )

    transport: asyncio.Transport
    peer: Peer

    def __init__(self, server: "Server", door: Door, make_upper: Callable[["Wire"], Upper]) -> None:
        self.door = door
        self.tls: TlsFilter | None = None
        """None: in the clear."""
        self._server = server
        self._service = server.service
        self._make_upper = make_upper
        self._upper: Upper | None = None
        self._take: Callable[[Wire, bytes], None] = _ignore
        """A function and no method, which would take memory for each connection."""
        self._early = b""
        """What has come of a PROXY header or of the first TLS record."""
        self._timer: asyncio.TimerHandle | None = None
        self._counted = self._logged_in = False

    # -- called by the transport --------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Find out who is there."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=WRITE_AHEAD)
        self.peer = Peer.of(transport.get_extra_info("peername"))
        self._server.wires.add(self)
        if self._server.stopping:
            self.transport.abort()
        elif self.door.proxy_networks and self.peer.is_in(self.door.proxy_networks):
            self._take = Wire._take_proxy_header
            self._begin_timer("no PROXY header")
        else:
            self._identified(b"")

    def get_buffer(self, _sizehint: int) -> memoryview:
        """Return where the loop puts what it reads; all connections share it, as it is emptied at once."""
        return self._server.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was read."""
        self._take(self, bytes(self._server.buffer[:nbytes]))

    def eof_received(self) -> bool:
        """The peer sends nothing more."""
        if self._upper is None or self._take in (Wire._take_hello, Wire._take_handshake):
            return False
        return self._upper.eof()

    def pause_writing(self) -> None:
        """See `Upper`."""
        if self._upper is not None:
            self._upper.pause_writing()

    def resume_writing(self) -> None:
        """See `Upper`."""
        if self._upper is not None:
            self._upper.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `Upper`."""
        self._end_timer()
        self._take = _ignore
        if self._counted:
            self._server.census.leave(self.peer.host, logged_in=self._logged_in)
            self._counted = False
        self._server.wires.discard(self)
        upper, self._upper = self._upper, None  # no circle is left for the garbage collector
        if upper is not None:
            upper.lost(exc)

    # -- called from above --------------------------------------------------------------------------

    def write(self, pieces: Sequence[bytes]) -> None:
        """Send octets, which are in one piece or more."""
        if self.tls is not None:
            self.tls.write(pieces)
            self.transport.write(self.tls.to_send())
        elif len(pieces) == 1:
            self.transport.write(pieces[0])
        else:
            self.transport.writelines(pieces)

    def start_tls(self, leftover: bytes) -> None:
        """Begin a handshake (RFC 2595 section 4).

        Args:
            leftover: octets that have come already: they are the handshake's, never what comes inside TLS (P-232).
        """
        self._take = Wire._take_hello
        self._begin_timer("no TLS handshake after STLS")
        if leftover:
            self._take(self, leftover)

    def close(self) -> None:
        """Close, after what was written is sent; TLS says so, and waits for nobody (P-237)."""
        self._say_close()
        self.transport.close()

    def write_eof(self) -> None:
        """Close our direction only; what comes is thrown away from now on."""
        self._say_close()
        self._take = _ignore
        self.transport.write_eof()

    def logged_in(self) -> None:
        """The connection no longer counts as one before login."""
        if self._counted and not self._logged_in:
            self._logged_in = True
            self._server.census.logged_in()

    def abort(self) -> None:
        """Close at once."""
        self.transport.abort()

    def give_up(self) -> None:
        """The server stops: what is no session yet does not become one."""
        if self._upper is None:
            self.transport.abort()

    # -- who is there -------------------------------------------------------------------------------

    def _take_proxy_header(self, octets: bytes) -> None:
        self._early += octets
        try:
            header = proxy_protocol.parse(self._early)
        except proxy_protocol.Incomplete:
            return
        except ValueError as error:
            self._turn_away(f"{error}, though a proxy of ours is connected")
            return
        self._end_timer()
        if header.host:
            self.peer = Peer.at(header.host, header.port, tls=header.tls)
        elif not header.local:  # somebody, from anywhere
            self.peer = self.peer._replace(loopback=False)
        rest, self._early = self._early[header.octets :], b""
        self._identified(rest)

    def _identified(self, rest: bytes) -> None:
        """It is known who is there: let them in, or not (P-286)."""
        # D-021: whoever speaks LMTP could bring anything to anybody.
        if self.door.protocol == "lmtp" and not (self.peer.loopback or self.peer.is_in(self.door.networks)):
            self.transport.write(NOT_YOU if self.door.tls != "implicit" else b"")
            self._turn_away("LMTP from an address that is not in networks")
            return
        if problem := self._no_room():
            if self.door.tls != "implicit":
                self.transport.write(BUSY[self.door.protocol])
            self._turn_away(problem)
            return
        self._server.census.enter(self.peer.host)
        self._counted = True
        if self.door.tls == "implicit":
            self._take = Wire._take_hello
            self._begin_timer("no TLS handshake")
        else:
            self._open()
        if rest:
            self._take(self, rest)

    def _no_room(self) -> str:
        census, limits = self._server.census, self._service.limits
        connections = census.connections
        if connections < min(limits.connections, limits.connections_before_login, limits.connections_per_address):
            return ""
        if connections >= limits.connections:
            return f"too many connections ({limits.connections})"
        known = self.door.protocol == "lmtp"  # strangers, however many, do not keep out who brings the mail
        full = census.before_login >= limits.connections_before_login
        if full and not known and not self._server.make_room():
            return f"too many connections that have not logged in ({limits.connections_before_login})"
        if self.peer.host and census.of(self.peer.host) >= limits.connections_per_address:
            return f"too many connections from that address ({limits.connections_per_address})"
        return ""

    def _open(self) -> None:
        """From now on it is POP3, or mail that comes in."""
        self._take = Wire._take_records if self.tls is not None else Wire._take_octets
        if self._upper is None:
            self._upper = self._make_upper(self)
            self._upper.opened()
        else:
            self._upper.secured()

    # -- octets -------------------------------------------------------------------------------------

    def _take_octets(self, octets: bytes) -> None:
        assert self._upper is not None
        self._upper.received(octets)

    def _take_records(self, records: bytes) -> None:
        assert self.tls is not None
        assert self._upper is not None
        self.tls.receive(records)
        try:
            octets = self.tls.read()
        except ssl.SSLError:
            self.transport.abort()
            return
        if answer := self.tls.to_send():  # a key update, or an alert
            self.transport.write(answer)
        if octets:
            self._upper.received(octets)
        if self.tls is not None and self.tls.closed and not self.transport.is_closing():
            self._take = _ignore
            if not self._upper.eof():
                self.close()

    # -- the handshake ------------------------------------------------------------------------------

    def _take_hello(self, octets: bytes) -> None:
        """Look at the hello before OpenSSL does: it may be no TLS, or for another protocol."""
        self._early += octets
        if problem := strangers.on_tls_port(self._early):
            self._turn_away(problem)
            return
        wishes = client_hello.wishes(self._early)
        if wishes is None:
            return
        if self.door.protocol == "pop3" and wishes.protocols and b"pop3" not in wishes.protocols:  # P-242
            self.transport.write(client_hello.NO_APPLICATION_PROTOCOL)
            self._turn_away("a TLS client that speaks another protocol than pop3 (ALPN)")
            return
        assert self._service.certificates is not None
        self._handshaking = TlsFilter(self._service.certificates.context(wishes.host), wishes.host)
        self._take = Wire._take_handshake
        records, self._early = self._early, b""
        self._take(self, records)

    def _take_handshake(self, records: bytes) -> None:
        self._handshaking.receive(records)
        try:
            done = self._handshaking.handshake()
        except ssl.SSLError as error:
            self.transport.write(self._handshaking.to_send())
            self._turn_away(f"TLS handshake failed: {(error.reason or str(error)).lower().replace('_', ' ')}")
            return
        self.transport.write(self._handshaking.to_send())
        if not done:
            return
        self._end_timer()
        self.tls = self._handshaking
        self._open()
        self._take(self, b"")  # what came behind the handshake in one piece

    # -- the end ------------------------------------------------------------------------------------

    def _turn_away(self, problem: str) -> None:
        """This is not going to be a session, or no longer one (P-238)."""
        self._end_timer()
        self._take = _ignore
        self._server.complaints.say(self.peer, problem)
        self.transport.close()

    def _say_close(self) -> None:
        if self.tls is not None:
            self.tls.close()
            self.transport.write(self.tls.to_send())

    def _begin_timer(self, problem: str) -> None:
        seconds = self._service.limits.handshake
        self._timer = asyncio.get_running_loop().call_later(
            seconds, lambda: self._turn_away(f"{problem} within {seconds:g} seconds")
        )

    def _end_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _ignore(_wire: Wire, _octets: bytes) -> None:
    """These are a peer's last words."""
