"""Other protocols on the plain port: answered once at most, named for the log, and nothing of them executed."""

import pytest

from restante.protocol.policy import SessionLimits, Terms
from restante.protocol.strangers import on_tls_port, stranger
from tests.protocol.driver import World, b64, with_tls

MAIL = b"Subject: x\n\nbody\n"
ANSWER = b"-ERR this is POP3, and nothing else\r\n"
TLS_HELLO = bytes.fromhex("1603010200010001fc0303") + b"\x5a" * 40 + b"\nUSER bob\r\nPASS secret\r\n"
SSL_2_HELLO = bytes.fromhex("802e0103010015") + b"\x00" * 20 + b"\nQUIT\r\n"
PROXY_V1 = b"PROXY TCP4 192.0.2.1 192.0.2.2 50000 110\r\n"
PROXY_V2 = b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + b"\xc0\x00\x02\x01" * 3
LOGIN = b"USER bob\r\nPASS secret\r\nDELE 1\r\nQUIT\r\n"
HTTP = "HTTP where there is none"
TLS = "TLS on a port without it"
PROXY = "PROXY header from an address that is not in proxy_networks"


@pytest.mark.parametrize(
    ("octets", "named"),
    [
        (TLS_HELLO, TLS),
        (TLS_HELLO[:2], TLS),
        (SSL_2_HELLO, TLS),
        (PROXY_V1, PROXY),
        (b"proxy unknown\r\n", PROXY),
        (PROXY_V2, PROXY),
        (b"GET / HTTP/1.1\r\nHost: mail.example.org\r\n\r\n", HTTP),
        (b"POST /?x HTTP/1.1\r\nHost: x:110\r\n\r\n", HTTP),
        (b"get / http/1.0\n\n", HTTP),
        (b"OPTIONS * HTTP/1.1\r\n", HTTP),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", HTTP),
        (b"CONNECT mail.example.org:25 HTTP/1.1\r\n", HTTP),
        (b"GET\r\n", HTTP),
        (b"Host: mail.example.org\r\n", HTTP),
    ],
)
def test_strangers(octets: bytes, named: str) -> None:
    """P-292, P-018: the commands that came with it are neither executed nor answered."""
    world = World(MAIL)
    assert world.send(octets + LOGIN) == ANSWER
    assert world.over()
    assert world.session.end_reason == named
    assert world.events == []
    assert world.send(LOGIN) == b""


@pytest.mark.parametrize(
    "first", [b"\r\n", b"CAPA\r\n", b"USER bob\r\n", b"FOO\r\n", b"\xff\xfb\x1fNOOP\r\n", b"x" * 5000 + b"\r\n"]
)
@pytest.mark.parametrize("together", [True, False])
def test_http_in_the_second_line(first: bytes, together: bool) -> None:
    """A browser can be made to begin with a line of its choice, and some health checks begin with an empty one."""
    world = World(MAIL, terms=with_tls("PLAIN"))
    second = b"POST / HTTP/1.1\r\n" + LOGIN
    reply = world.send(first + second) if together else world.send(first) + world.send(second)
    assert reply == World(MAIL, terms=with_tls("PLAIN")).send(first) + ANSWER
    assert world.session.end_reason == HTTP
    assert world.events == []


@pytest.mark.parametrize("second", [PROXY_V1, TLS_HELLO[:11] + b"\r\n", b"GET / HTTP/1.1\r\n"])
@pytest.mark.parametrize("first", [b"AUTH LOGIN\r\n", b"CAPA\r\n"])
def test_a_second_line_is_judged_alike_wherever_it_comes(first: bytes, second: bytes) -> None:
    """P-026, P-278: in the segment of the first one, or in its own."""
    together, apart = World(MAIL, terms=with_tls("LOGIN")), World(MAIL, terms=with_tls("LOGIN"))
    assert together.send(first + second) == apart.send(first) + apart.send(second)
    assert together.session.end_reason == apart.session.end_reason


def test_the_middle_of_a_long_line_is_not_its_beginning() -> None:
    """P-026, P-011."""
    world = World(MAIL)
    assert world.send(b"x" * 5000) == b""
    assert world.send(b"GET / HTTP/1.1\r\n") == b"-ERR a line is at most 4096 octets here\r\n"
    assert not world.over()


def test_http_in_any_line_before_login() -> None:
    """A request with POP3 commands in its body never comes to them, under TLS too."""
    world = World(MAIL, terms=with_tls("PLAIN"))
    world.send(b"CAPA\r\n" * 5)
    assert world.send(b"GET / HTTP/1.1\r\n" + LOGIN) == ANSWER
    assert world.session.end_reason == HTTP
    assert world.events == []


def test_http_after_many_bad_commands() -> None:
    """P-025: the session is over; there is nothing to wait for any more."""
    world = World(MAIL)
    world.send(b"FOO\r\n" * 9)
    assert world.send(b"GET / HTTP/1.1\r\n" + LOGIN) == ANSWER
    assert world.events == []


def test_words_of_http_after_login() -> None:
    """P-004: whoever has logged in speaks POP3; it is an unknown command, and the session goes on."""
    world = World(MAIL).login()
    assert world.send(b"GET / HTTP/1.1\r\n").startswith(b"-ERR unknown command")
    assert world.send(b"STAT\r\n") == b"+OK 1 20\r\n"


@pytest.mark.parametrize(
    "line",
    [
        b"GETX", b"POSTAL", b"HEADS UP", b"PROXYX", b"PROXY", b"PUTTY", b"\x16", b"\x16\x02", b"\x80", b"\xff\xf1",
        b"ab\x01\x03",
        b"PRINT", b"TRACER",
    ],
)  # fmt: skip
def test_what_only_looks_like_it(line: bytes) -> None:
    """P-004, P-026: an unknown command, in one segment and octet by octet."""
    for edges in (False, True):
        world = World(MAIL)
        octets = line + b"\r\n"
        reply = b"".join(world.send(bytes([octet])) for octet in octets) if edges else world.send(octets)
        assert reply.startswith(b"-ERR ")
        assert reply != ANSWER
        assert not world.over()


@pytest.mark.parametrize(
    "octets",
    [TLS_HELLO, SSL_2_HELLO, PROXY_V1, b"GET / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\n", b"FOO\r\nGET / HTTP/1.1\r\n"],
)
def test_octet_by_octet(octets: bytes) -> None:
    """P-026: the same answer, as soon as it is sure."""
    world, whole = World(MAIL), World(MAIL)
    assert b"".join(world.send(bytes([octet])) for octet in octets) == whole.send(octets)
    assert world.session.end_reason == whole.session.end_reason


@pytest.mark.parametrize("response", [b64(b"\x18D\xc0\x0cE"), b64(b"<\xe4\x93"), b64(b"\x1c@\x03x"), b64(b"\x0fT\x80")])
def test_a_response_may_begin_with_any_letters(response: bytes) -> None:
    """P-026: GET, POST, HEAD and PUT are base64 too, wherever the segments are cut."""
    for edge in range(1, len(response)):
        world = World(MAIL, terms=with_tls("LOGIN"))
        world.send(b"AUTH LOGIN\r\n" + response[:edge])
        assert world.send(response[edge:] + b"\r\n") != ANSWER
        assert world.session.end_reason == ""


def test_a_stranger_that_says_little() -> None:
    """P-021: the end of the input after half a greeting of its own."""
    world = World(MAIL)
    assert world.send(b"GE") == b""
    assert world.send_eof() == b""
    assert world.session.end_reason == "client closed the connection"


@pytest.mark.parametrize(
    ("octets", "named"),
    [
        (TLS_HELLO, ""),
        (b"\x16\x02\x00", ""),  # the handshake will say what is wrong with it
        (SSL_2_HELLO, "SSL 2 hello; TLS 1.2 or 1.3 would be right"),
        (b"GET / HTTP/1.1\r\n", HTTP),
        (PROXY_V1, PROXY),
        (b"USER bob\r\n", "no TLS on a port that begins with it"),
        (b"\x15\x03\x01", "no TLS on a port that begins with it"),
    ],
)
def test_what_comes_instead_of_a_handshake(octets: bytes, named: str) -> None:
    """P-230, P-238: told to the log, so that the person who mends it knows what to mend."""
    assert on_tls_port(octets) == named


def test_both_ways_of_asking_agree() -> None:
    """Nothing at all is not a stranger."""
    assert stranger(b"") == ""
    assert not stranger(b"")
    assert on_tls_port(b"") == "no TLS on a port that begins with it"


def test_no_stranger_wears_out_memory() -> None:
    """P-011: a TLS record without any line end is answered at once."""
    world = World(MAIL, terms=Terms(), limits=SessionLimits(line=100))
    assert world.send(b"\x16\x03\x01" + b"\0" * 10_000) == ANSWER
    assert world.over()
