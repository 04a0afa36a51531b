"""Where to listen, and who has connected."""

import socket

import pytest

from restante.server.addresses import Address, Peer


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:1110", Address("127.0.0.1", 1110)),
        ("192.0.2.1:0", Address("192.0.2.1", 0)),
        ("0.0.0.0:65535", Address("0.0.0.0", 65535)),
        ("localhost:110", Address("127.0.0.1", 110)),
        ("*:110", Address("0.0.0.0", 110)),
        ("[::1]:1110", Address("::1", 1110)),
        ("[::]:110", Address("::", 110)),
        ("[2001:db8::1]:110", Address("2001:db8::1", 110)),
        ("unix:/run/restante.sock", Address("", 0, "/run/restante.sock")),
        ("unix:restante.sock", Address("", 0, "restante.sock")),
        ("unix:/odd:name", Address("", 0, "/odd:name")),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    """Design, section 3: "host:port", "[v6]:port", "unix:/path"; what is shown can be read again."""
    assert Address.parse(text) == address
    assert Address.parse(str(address)) == address


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("", "right are"),
        ("127.0.0.1", "right are"),
        ("1110", "right are"),
        ("127.0.0.1:", "right are"),
        ("127.0.0.1:x", "right are"),
        ("127.0.0.1:-1", "right are"),
        ("127.0.0.1:+1", "right are"),
        ("127.0.0.1: 1", "right are"),
        ("127.0.0.1:65536", "right are"),
        ("127.0.0.1:000110", "right are"),
        ("127.0.0.1:1110/tcp", "right are"),
        (":1110", "no IP address"),
        ("mail.example.org:110", "no IP address"),
        ("127.0.0.256:110", "no IP address"),
        ("127.1:110", "no IP address"),
        ("[mail]:110", "no IP address"),
        ("[]:110", "no IP address"),
        ("[::1:110", "no IP address"),
        ("::1:110", "in brackets"),
        ("[127.0.0.1]:110", "in brackets"),
        ("[::1]", "right are"),
        ("unix:", "needs a path"),
        ("127.0.0.1:\N{FULLWIDTH DIGIT ONE}", "right are"),
    ],
)
def test_what_is_no_address(text: str, right: str) -> None:
    """The text says what would be right."""
    with pytest.raises(ValueError, match=right) as caught:
        Address.parse(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("peername", "name", "loopback"),
    [
        (("127.0.0.1", 4711), "127.0.0.1:4711", True),
        (("127.8.9.10", 4711), "127.8.9.10:4711", True),
        (("192.0.2.1", 1), "192.0.2.1:1", False),
        (("10.0.0.1", 1), "10.0.0.1:1", False),
        (("0.0.0.0", 1), "0.0.0.0:1", False),
        (("::1", 4711, 0, 0), "[::1]:4711", True),
        (("2001:db8::1", 4711, 0, 0), "[2001:db8::1]:4711", False),
        (("fe80::1%eth0", 4711, 0, 2), "[fe80::1%eth0]:4711", False),
        (("::ffff:127.0.0.1", 4711, 0, 0), "[::ffff:127.0.0.1]:4711", True),
        (("::ffff:192.0.2.1", 4711, 0, 0), "[::ffff:192.0.2.1]:4711", False),
        ("", "unix", True),
        (None, "unknown", False),  # gone before anybody asked
        ("/run/client.sock", "unix", True),
    ],
)
def test_peers(peername: object, name: str, loopback: bool) -> None:
    """P-055: whether a password may be taken from there without TLS depends on `loopback`."""
    peer = Peer.of(peername)
    assert str(peer) == peer.name == name
    assert peer.loopback is loopback


def test_peers_of_real_sockets() -> None:
    """What the kernel says about a TCP connection and a UNIX one."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname(), 5) as client:
        connection, peername = server.accept()
        with connection:
            assert Peer.of(peername) == Peer(f"127.0.0.1:{client.getsockname()[1]}", "127.0.0.1", loopback=True)
    near, far = socket.socketpair(socket.AF_UNIX)
    with near, far:
        assert Peer.of(near.getpeername()) == Peer("unix", "", loopback=True)
