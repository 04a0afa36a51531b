"""UTF8, and headers that are not ASCII: conformance section 9 (P-255 to P-259) and P-180."""

import pytest

from restante.auth import Password, Proven
from restante.errors import NeedsUtf8
from restante.protocol.events import Login, Retrieve
from restante.protocol.policy import Features
from restante.protocol.scan_listing import Headers
from tests.protocol.driver import World, body_of

ASCII = b"Subject: x\n\nbody\n"
EIGHT_BIT_BODY = "Subject: x\n\nK\u00f6ln\n".encode()
INTERNATIONAL = "From: J\u00f6rg <j\u00f6rg@example.org>\nSubject: K\u00f6ln\n\n.body\n\u00e4\n".encode()
LATIN_1 = b"Subject: caf\xe9\n\nx"
IN_A_PART = 'Content-Type: multipart/mixed; boundary="-"\n\n---\nSubject: \u00fc\n\nx\n---\n\n\u00fc\n-----\n'.encode()
MAILS = (ASCII, EIGHT_BIT_BODY, INTERNATIONAL, LATIN_1, IN_A_PART)
NEEDING = {3, 4, 5}
REFUSED = b"-ERR [UTF8] this message needs UTF8, which is said before logging in\r\n"


def world_of(headers: Headers = Headers.SURROGATE, *, aware: bool = False) -> World:
    world = World(*MAILS, features=Features("mail.example.org", headers=headers))
    if aware:
        assert world.send(b"UTF8\r\n") == b"+OK UTF-8 is welcome\r\n"
    return world.login()


def wire(stored: bytes) -> bytes:
    """A stored message as it is, on the wire."""
    octets = stored.replace(b"\n", b"\r\n")
    return octets if octets.endswith(b"\r\n") else octets + b"\r\n"


def scan_listing(world: World) -> dict[int, int]:
    lines = body_of(world.send(b"LIST\r\n")).splitlines()
    return {int(number): int(octets) for number, octets in (line.split(b" ") for line in lines)}


@pytest.mark.parametrize("line", [b"UTF8\r\n", b"utf8\n", b"UTF8 \r\n"])
def test_utf8_before_login(line: bytes) -> None:
    """P-255: again does no harm; it is announced in both states."""
    world = World(*MAILS)
    assert world.send(line) == world.send(line) == b"+OK UTF-8 is welcome\r\n"
    assert b"\r\nUTF8 USER\r\n" in world.send(b"CAPA\r\n")
    assert b"\r\nUTF8 USER\r\n" in world.login().send(b"CAPA\r\n")


@pytest.mark.parametrize("line", [b"UTF8 USER", b"UTF8 x", b"UTF8 1"])
def test_utf8_takes_no_argument(line: bytes) -> None:
    """P-255: and what is refused has no effect."""
    world = World(*MAILS)
    assert world.send(line + b"\r\n") == b"-ERR UTF8 takes no argument\r\n"
    assert world.login().send(b"RETR 3\r\n").isascii() is False  # the body has 8 bits
    assert b"=?UTF-8?Q?K=C3=B6ln?=" in world.send(b"TOP 3 0\r\n")


def test_utf8_after_login() -> None:
    """P-255: refused, and the session is in the mode in which it logged in."""
    world = world_of()
    assert world.send(b"UTF8\r\n") == b"-ERR already logged in\r\n"
    assert world.send(b"TOP 3 0\r\n").isascii()


@pytest.mark.parametrize("headers", list(Headers))
def test_an_aware_client_gets_what_is_stored(headers: Headers) -> None:
    """P-256, P-259, P-088: octet for octet, whatever others get."""
    world = world_of(headers, aware=True)
    sizes = scan_listing(world)
    for number, stored in enumerate(MAILS, 1):
        body = body_of(world.send(b"RETR %d\r\n" % number))
        assert body == wire(stored)
        assert sizes[number] == len(body)
    assert world.send(b"STAT\r\n") == b"+OK 5 %d\r\n" % sum(sizes.values())


def test_raw_headers_where_the_site_wants_them() -> None:
    """P-256: as before RFC 6856."""
    world = world_of(Headers.RAW)
    for number, stored in enumerate(MAILS, 1):
        assert body_of(world.send(b"RETR %d\r\n" % number)) == wire(stored)


def test_an_unaware_client_gets_ascii_headers() -> None:
    """P-256: bodies are as they are, 8 bits and all; a message that is not concerned is octet for octet the same."""
    world = world_of()
    for number, stored in enumerate(MAILS, 1):
        top = body_of(world.send(b"TOP %d 0\r\n" % number))
        assert top.isascii()
        body = body_of(world.send(b"RETR %d\r\n" % number))
        assert body.startswith(top)
        assert (body == wire(stored)) is (number not in NEEDING)
    assert body_of(world.send(b"RETR 3\r\n")).endswith("\r\n\r\n.body\r\n\u00e4\r\n".encode())
    # The header of a part is a header, too.
    assert b"\r\nSubject: =?UTF-8?B?w7w=?=\r\n\r\nx" in world.send(b"RETR 5\r\n")


@pytest.mark.parametrize("aware", [True, False])
@pytest.mark.parametrize("headers", [Headers.SURROGATE, Headers.RAW])
def test_all_sizes_are_exact(headers: Headers, aware: bool) -> None:
    """P-256, P-073, P-085, P-088: LIST, LIST n, STAT, RETR and what is left of them after DELE."""
    world = world_of(headers, aware=aware)
    sizes = scan_listing(world)
    for number in range(1, len(MAILS) + 1):
        reply = world.send(b"RETR %d\r\n" % number)
        assert reply.startswith(b"+OK %d octets\r\n" % sizes[number])
        assert len(body_of(reply)) == sizes[number]
        assert len(body_of(world.send(b"TOP %d 99999999\r\n" % number))) == sizes[number]
        assert world.send(b"LIST %d\r\n" % number) == b"+OK %d %d\r\n" % (number, sizes[number])
    assert world.send(b"STAT\r\n") == b"+OK 5 %d\r\n" % sum(sizes.values())
    world.send(b"DELE 3\r\n")
    assert world.send(b"STAT\r\n") == b"+OK 4 %d\r\n" % (sum(sizes.values()) - sizes[3])
    assert world.send(b"RSET\r\n") == b"+OK 5 messages (%d octets)\r\n" % sum(sizes.values())
    assert world.session.statistics.retr_octets == sum(sizes.values())


def test_sizes_of_aware_and_unaware_clients_differ() -> None:
    """P-256: each is told of the form it gets."""
    unaware, aware = scan_listing(world_of()), scan_listing(world_of(aware=True))
    assert {number for number in unaware if unaware[number] != aware[number]} == NEEDING


def test_a_site_that_refuses() -> None:
    """P-180, P-256: RETR, TOP and LIST n get -ERR [UTF8]; nothing else is in the way."""
    world = world_of(Headers.REFUSE)
    for number in range(1, len(MAILS) + 1):
        for command in (b"RETR %d\r\n", b"TOP %d 0\r\n", b"LIST %d\r\n"):
            reply = world.send(command % number)
            assert (reply == REFUSED) is (number in NEEDING)
            assert reply.startswith((b"+OK ", REFUSED))
    assert {event.number for event in world.events if isinstance(event, Retrieve)} == {1, 2}
    assert scan_listing(world) == {number: len(wire(stored)) for number, stored in enumerate(MAILS, 1)}
    assert world.send(b"UIDL 3\r\n") == b"+OK 3 id-3\r\n"
    assert world.send(b"DELE 3\r\nRETR 3\r\n").endswith(b"-ERR message 3 is marked deleted (RSET undoes that)\r\n")
    assert not world.over()


def test_refusals_do_not_wear_out_patience() -> None:
    """P-180, P-025: it is no bad command."""
    world = world_of(Headers.REFUSE)
    assert world.send(b"RETR 3\r\n" * 60) == REFUSED * 60
    assert not world.over()


def test_the_world_may_refuse_too() -> None:
    """P-180: a store that knows better."""
    world = World(ASCII, conditions={Retrieve: NeedsUtf8("1")}).login()
    assert world.send(b"RETR 1\r\n") == REFUSED


@pytest.mark.parametrize("said", [b"", b"UTF8\r\n"])
def test_names_and_passwords_in_utf_8(said: bytes) -> None:
    """P-257: even before UTF8; spaces of a password kept (P-036), and SASLprep makes equals of what looks equal."""
    world = World(*MAILS)
    world.send(said + "USER J\u00f6rg\r\nPASS  K\u00f6\u00f6l\u00adn \r\n".encode())
    world.send(said + "USER Jo\u0308rg\r\nPASS  Ko\u0308\u00f6ln \r\n".encode())
    assert world.events == [Login(Password("J\u00f6rg", " K\u00f6\u00f6ln ".encode()), "USER")] * 2


@pytest.mark.parametrize(
    "octets", [b"\xff", b"J\xf6rg", b"\xc3", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\x80"]
)
def test_malformed_utf_8(octets: bytes) -> None:
    """P-257, P-018: -ERR, nobody is asked, nothing is echoed."""
    reply = b"-ERR a name or password that is not ASCII must be UTF-8\r\n"
    world = World(*MAILS)
    assert world.send(b"USER x" + octets + b"\r\n") == reply
    assert world.send(b"USER bob\r\nPASS x" + octets + b"\r\n") == b"+OK send PASS\r\n" + reply
    assert world.send(b"APOP x" + octets + b" " + b"0" * 32 + b"\r\n") == reply
    assert world.events == []


@pytest.mark.parametrize("raw", ["a\u200eb", "\ue000", "\u06271", "\ufffd", "\u0085", "\u00ad"])
def test_prohibited_characters(raw: str) -> None:
    """P-257, P-202: fail like wrong credentials, and never reach an authenticator as a password."""
    world = World(*MAILS)
    for user, password in ((raw, "secret"), ("bob", raw)):
        reply = world.send(f"USER {user}\r\nPASS {password}\r\n".encode())
        assert reply == b"+OK send PASS\r\n-ERR [AUTH] wrong user name or password\r\n"
    assert world.events == [Login(Proven(raw, None), "USER"), Login(Proven("bob", None), "USER")]


@pytest.mark.parametrize(
    "line", ["RETR \u00e4", "DELE \u0661", "LIST \u0661", "LANG d\u00e9", "AUTH PL\u00c4IN", "CAP\u00c4", "\u00e4"]
)
def test_8_bits_are_for_names_and_passwords_only(line: str) -> None:
    """P-018, P-257."""
    reply = b"-ERR a command is printable ASCII; this line has other octets, please retype it\r\n"
    world = World(*MAILS)
    assert world.send(b"UTF8\r\n" + line.encode() + b"\r\n") == b"+OK UTF-8 is welcome\r\n" + reply
    assert world.login().send(line.encode() + b"\r\n") == reply


def test_controls_are_for_nobody() -> None:
    """P-018: not in UTF-8 either."""
    assert World().send(b"CAPA \x7f\r\n").startswith(b"-ERR a command is printable ASCII")
    for octets in ("\u00e4\0", "\u00e4\x1b[2J", "\u00e4\x7f", "\u00e4\r\u00e4"):
        assert World().send(b"USER " + octets.encode() + b"\r\n").startswith(b"-ERR a command is printable ASCII")
