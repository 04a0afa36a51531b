"""The PROXY protocol: P-292."""

import contextlib
import ipaddress
import logging
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.server.proxy_protocol import Header, Incomplete, parse
from restante.server.service import Door
from tests.server.office import LoopFactory, Office, TravelLoop
from tests.server.tls import office, secure

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
PLAIN = Door(proxy_networks=LOOPBACK)


def version_2(command: int, family: int, body: bytes) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(body)) + body


ADDRESSES_4 = socket.inet_aton("192.0.2.7") + socket.inet_aton("192.0.2.1") + struct.pack("!HH", 4711, 110)
ADDRESSES_6 = (
    socket.inet_pton(socket.AF_INET6, "2001:db8::7")
    + socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    + struct.pack("!HH", 4711, 110)
)
OTHER = b"\x04\x00\x02hi"
SSL = b"\x20\x00\x05\x01\x00\x00\x00\x00"
HEADERS = {
    b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 110\r\n": Header("192.0.2.7", 4711, tls=False, octets=41),
    b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 110\r\n": Header("2001:db8::7", 4711, tls=False, octets=45),
    b"PROXY UNKNOWN\r\n": Header("", 0, tls=False, octets=15),
    b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n": Header("", 0, tls=False, octets=35),
    version_2(0x21, 0x11, ADDRESSES_4): Header("192.0.2.7", 4711, tls=False, octets=28),
    version_2(0x21, 0x21, ADDRESSES_6): Header("2001:db8::7", 4711, tls=False, octets=52),
    version_2(0x20, 0x00, b""): Header("", 0, tls=False, octets=16, local=True),
    version_2(0x21, 0x31, b"x" * 216): Header("", 0, tls=False, octets=232),  # a UNIX socket
    version_2(0x21, 0x11, ADDRESSES_4 + OTHER + SSL): Header("192.0.2.7", 4711, tls=True, octets=41),
    version_2(0x21, 0x11, ADDRESSES_4 + SSL.replace(b"\x01", b"\x00")): Header("192.0.2.7", 4711, tls=False, octets=36),
    version_2(0x21, 0x11, ADDRESSES_4 + b"\x20\x00"): Header("192.0.2.7", 4711, tls=False, octets=30),
}


@pytest.mark.parametrize(("octets", "header"), HEADERS.items())
def test_headers(octets: bytes, header: Header) -> None:
    """Both versions, however they are cut; what follows is left alone."""
    assert parse(octets) == parse(octets + b"USER bob\r\n") == header
    for end in range(len(octets)):
        with pytest.raises(Incomplete):
            parse(octets[:end])


@pytest.mark.parametrize(
    "octets",
    [
        b"USER bob\r\n",
        b"PROXY TCP4 192.0.2.7 192.0.2.1 4711\r\n",
        b"PROXY TCP4 2001:db8::7 2001:db8::1 4711 110\r\n",
        b"PROXY TCP4 192.0.2.777 192.0.2.1 4711 110\r\n",
        b"PROXY TCP4 192.0.2.7 192.0.2.1 70000 110\r\n",
        b"PROXY TCP4 " + b"1" * 100,
        version_2(0x31, 0x11, ADDRESSES_4),
        version_2(0x21, 0x11, ADDRESSES_4[:4]),
        version_2(0x21, 0x11, b"x" * 5000),
    ],
)
def test_what_is_no_header(octets: bytes) -> None:
    with pytest.raises(ValueError, match="PROXY"):
        parse(octets)


@given(st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11"]), st.binary(max_size=300))
def test_any_octets(start: bytes, rest: bytes) -> None:
    """Never anything but a header, or one of the two refusals."""
    with contextlib.suppress(Incomplete, ValueError):
        assert parse(start + rest).octets <= len(start + rest)


def test_the_address_is_that_of_the_client(loop_factory: LoopFactory, caplog: pytest.LogCaptureFixture) -> None:
    """P-292: in the log, and for the policy on passwords: the client is not on this machine."""
    caplog.set_level(logging.INFO)
    with office(loop_factory, PLAIN) as running, running.connect() as client:
        client.send(b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 110\r\nUSER bob\r\nQUIT\r\n")
        assert client.rest().splitlines()[1] == b"-ERR no passwords over an unencrypted connection from your address"
        running.wait_until_empty()
    assert "address=192.0.2.7:4711" in caplog.text


def test_the_proxy_speaks_for_itself(loop_factory: LoopFactory) -> None:
    """A LOCAL header: a health check from where it comes from."""
    with office(loop_factory, PLAIN) as running, running.connect() as client:
        client.send(version_2(0x20, 0, b""))
        assert client.login() == b"+OK 0 messages (0 octets)\r\n"


@pytest.mark.parametrize("header", [b"PROXY UNKNOWN\r\n", version_2(0x21, 0x31, b"x" * 216)])
def test_nobody_knows_who_it_is(loop_factory: LoopFactory, header: bytes) -> None:
    """P-292, P-055: not somebody on this machine, though the proxy is."""
    with office(loop_factory, PLAIN) as running, running.connect() as client:
        client.send(header)
        client.line()
        assert client.ask(b"USER bob").startswith(b"-ERR no passwords ")


def test_tls_ends_at_the_proxy(loop_factory: LoopFactory) -> None:
    """A client that speaks TLS to the proxy may show its password."""
    with office(loop_factory, PLAIN) as running, running.connect() as client:
        client.send(version_2(0x21, 0x11, ADDRESSES_4 + SSL))
        assert client.login() == b"+OK 0 messages (0 octets)\r\n"


def test_tls_behind_the_header(loop_factory: LoopFactory) -> None:
    """P-230: header, handshake, greeting; also when header and handshake come in one piece."""
    with office(loop_factory, Door("implicit", proxy_networks=LOOPBACK)) as running, running.connect() as client:
        client.send(b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 110\r\n")
        secure(client)
        assert client.login() == b"+OK 0 messages (0 octets)\r\n"


def test_no_header(loop_factory: LoopFactory, caplog: pytest.LogCaptureFixture) -> None:
    """Who connects past the proxy is turned away."""
    with office(loop_factory, PLAIN) as running, running.connect() as client:
        client.send(b"USER bob\r\n")
        assert client.rest() == b""
    assert "no PROXY header, though a proxy of ours is connected" in caplog.text


def test_no_header_in_time() -> None:
    with office(TravelLoop, PLAIN) as running, running.connect() as client:
        assert isinstance(running.loop, TravelLoop)
        client.send(b"PROXY ")
        running.call(_turn())
        running.loop.travel(31)
        assert client.rest() == b""


async def _turn() -> None:
    """Let the loop read what has come."""


def test_a_header_from_elsewhere(loop_factory: LoopFactory) -> None:
    """P-292: refused with one line; the address it names counts for nothing."""
    for header in (b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 110\r\n", version_2(0x21, 0x11, ADDRESSES_4)):
        with Office(loop_factory) as running, running.connect() as client:
            client.send(header + b"USER bob\r\nPASS secret\r\n")
            assert client.rest().splitlines()[1:] == [b"-ERR this is POP3, and nothing else"]
