"""What is read of a TLS client's hello: P-235, P-242."""

import logging
import ssl
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.server.client_hello import Wishes, wishes
from restante.server.service import Door
from tests.server.office import LoopFactory
from tests.server.tls import HOST, client_context, office


def hello(host: str | None = HOST, protocols: tuple[str, ...] = ()) -> bytes:
    """The first octets of a real client."""
    context = client_context(check_hostname=False)
    if protocols:
        context.set_alpn_protocols(protocols)
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=host)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def in_records(octets: bytes, size: int) -> bytes:
    """The same hello in records of that size."""
    message = octets[5:]
    pieces = [message[start : start + size] for start in range(0, len(message), size)]
    return b"".join(b"\x16\x03\x01" + struct.pack("!H", len(piece)) + piece for piece in pieces)


@pytest.mark.parametrize("size", [1, 3, 4, 5, 100, 16_384])
@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (hello(), Wishes(HOST)),
        (hello("POP.Example.NET", ("pop3",)), Wishes("pop.example.net", (b"pop3",))),
        (hello(None, ("h2", "http/1.1")), Wishes("", (b"h2", b"http/1.1"))),
        (hello(None), Wishes()),
    ],
    ids=["host", "host and pop3", "http", "nothing"],
)
def test_real_clients(octets: bytes, expected: Wishes, size: int) -> None:
    """However the hello is cut into records, and the records into segments."""
    octets = in_records(octets, size)
    assert wishes(octets) == wishes(octets + b"more") == expected
    for end in range(0, len(octets), 7):
        assert wishes(octets[:end]) is None


@given(st.binary(max_size=400), st.sampled_from([b"", b"\x16", b"\x16\x03\x01", hello()[:100]]))
def test_any_octets(rest: bytes, start: bytes) -> None:
    """What cannot be read is left to OpenSSL."""
    found = wishes(start + rest)
    assert found is None or isinstance(found, Wishes)


@given(st.integers(0, 500), st.binary(min_size=1, max_size=3))
def test_a_damaged_hello(place: int, damage: bytes) -> None:
    """Never anything but wishes, or waiting for more."""
    octets = bytearray(hello())
    octets[place : place + len(damage)] = damage
    found = wishes(bytes(octets))
    assert found is None or found.host.isascii()


def test_what_is_too_large_or_no_hello_is_not_waited_for() -> None:
    """Bounded: OpenSSL refuses it."""
    assert wishes(b"\x16\x03\x01\x00\x04\x01\x01\x00\x00") == Wishes()  # 65,536 octets and more to come
    assert wishes(b"\x16\x03\x01\x00\x01\x02") == Wishes()
    assert wishes(b"\x17\x03\x01") == Wishes()
    assert wishes(b"") is None


@pytest.mark.parametrize("name", [b"\xff\xfeabc", "m\xfcller.example".encode(), b"\x1b[31m"])
def test_names_that_no_host_has(
    loop_factory: LoopFactory, name: bytes, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """They get the first certificate, and nothing of them is written anywhere (P-296)."""
    caplog.set_level(logging.DEBUG)
    plain = b"x" * len(name)
    octets = hello(plain.decode())
    with office(loop_factory, Door("implicit")) as running, running.connect() as client:
        client.send(octets.replace(b"\0" + plain, b"\0" + name) if octets.count(plain) == 1 else b"")
        assert client.socket.recv(5)[:1] in (b"\x16", b"\x15")  # its part of the handshake, or an alert
        client.reset()
        running.wait_until_empty()
    assert capfd.readouterr() == ("", "")
    assert "Traceback" not in caplog.text
