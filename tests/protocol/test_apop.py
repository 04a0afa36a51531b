"""APOP: conformance section 2 (P-060 to P-066)."""

import hashlib

import pytest

from restante.auth import Apop
from restante.errors import MaildropInUse
from restante.protocol.events import Login
from restante.protocol.policy import Features, Terms
from restante.protocol.stage import State
from tests.protocol.driver import World

MAIL = b"Subject: x\n\nbody\n"
LOGGED_IN = b"+OK 1 messages (20 octets)\r\n"
WRONG = b"-ERR [AUTH] wrong user name or password\r\n"
DIGEST = b"c4c9334bac560ecc979e58001b3e22fb"
ARGUMENTS = b"-ERR APOP needs a name and a digest of 32 hexadecimal digits\r\n"


def world_of() -> World:
    """The server of RFC 1939 section 7."""
    features = Features("dbc.mtview.ca.us", token=lambda: "1896.697170952")
    return World(MAIL, terms=Terms(apop=True), features=features)


def test_the_example_of_the_rfc() -> None:
    """P-060, P-061: a msg-id in the greeting; the digest of it, angle brackets included, and the secret."""
    world = world_of()
    assert world.greeting.endswith(b" <1896.697170952@dbc.mtview.ca.us>\r\n")
    assert hashlib.md5(b"<1896.697170952@dbc.mtview.ca.us>tanstaaf").hexdigest().encode() == DIGEST
    assert world.send(b"APOP mrose " + DIGEST + b"\r\n") == LOGGED_IN
    assert world.events == [Login(Apop("mrose", b"<1896.697170952@dbc.mtview.ca.us>", DIGEST.decode()), "APOP")]
    assert world.session.state is State.TRANSACTION


def test_the_timestamp_is_different_each_time() -> None:
    """P-060: 128 random bits at least; the rest of the greeting is that of others (P-023)."""
    greetings = {World(terms=Terms(apop=True)).greeting for _ in range(20)}
    assert len(greetings) == 20
    for greeting in greetings:
        token = greeting.rpartition(b"<")[2].partition(b"@")[0]
        assert len(bytes.fromhex(token.decode())) >= 16
        assert len(greeting) <= 512
        assert greeting.count(b"<") == greeting.count(b">") == greeting.count(b"\r\n") == 1


@pytest.mark.parametrize("user", [b"mrose", b"nobody", b"MROSE"])
def test_a_wrong_digest(user: bytes) -> None:
    """P-062, P-039: the same for an unknown user; another attempt may follow."""
    world = world_of()
    assert world.send(b"APOP " + user + b" " + b"0" * 32 + b"\r\n") == WRONG
    assert world.session.state is State.AUTHORIZATION
    assert world.session.failed_logins == 1
    assert world.send(b"APOP mrose " + DIGEST + b"\r\n") == LOGGED_IN


def test_a_digest_works_on_its_own_greeting_only() -> None:
    """P-062: what the authenticator is asked has the timestamp of this connection."""
    world = World(MAIL, terms=Terms(apop=True))
    assert world.send(b"APOP mrose " + DIGEST + b"\r\n") == WRONG
    (event,) = world.logins()
    assert isinstance(event.credentials, Apop)
    assert world.greeting.endswith(b" %b\r\n" % event.credentials.timestamp)


def test_apop_is_discovered_by_the_timestamp_only() -> None:
    """P-063: it has no capability; HELP is for people (P-305)."""
    world = world_of()
    assert b"APOP" not in world.send(b"CAPA\r\n")
    assert b" APOP " in world.send(b"HELP\r\n")


def test_no_timestamp_no_apop() -> None:
    """P-063: whatever the digest; nobody is asked."""
    world = World(MAIL)
    assert b"<" not in world.greeting
    reply = b"-ERR APOP is not possible here: the greeting had no timestamp\r\n"
    assert world.send(b"APOP mrose " + DIGEST + b"\r\n") == reply
    assert world.send(b"APOP mrose x\r\n") == reply
    assert b"APOP" not in world.send(b"HELP\r\n")
    assert world.events == []


@pytest.mark.parametrize(
    "line",
    [
        b"APOP", b"APOP mrose", b"APOP " + DIGEST, b"APOP mrose x " + DIGEST, b"APOP mrose " + DIGEST + b" x",
        b"APOP mrose " + DIGEST[1:],
        b"APOP mrose " + DIGEST + b"0", b"APOP mrose g" + DIGEST[1:], b"APOP mrose 0x" + DIGEST[2:],
        b"APOP mrose " + b"\xd9\xa1" * 16, b"APOP mrose " + DIGEST + b" ",
    ],
)  # fmt: skip
def test_malformed_arguments_ask_nobody(line: bytes) -> None:
    """P-066; a space at the end is forgiven (P-003)."""
    world = world_of()
    assert world.send(line + b"\r\n") == (LOGGED_IN if line.endswith(b" ") else ARGUMENTS)
    assert len(world.events) == line.endswith(b" ")


def test_capital_digits_are_taken() -> None:
    """P-066: the authenticator gets them in lower case."""
    assert world_of().send(b"apop mrose " + DIGEST.upper() + b"\r\n") == LOGGED_IN


@pytest.mark.parametrize(
    ("raw", "user"), [("\u2168", "IX"), ("J\u00f6rg", "J\u00f6rg"), ("a\u00adb", "ab"), ("\u06271", "")]
)
def test_names_are_prepared(raw: str, user: str) -> None:
    """P-257, P-202: the secret stays as the authenticator has it."""
    world = world_of()
    assert world.send(b"APOP " + raw.encode() + b" " + DIGEST + b"\r\n") == WRONG
    assert [event.credentials.user for event in world.logins()] == [user]


def test_a_pending_user_dies_with_apop() -> None:
    """P-034."""
    world = world_of()
    world.send(b"USER bob\r\nAPOP mrose " + b"0" * 32 + b"\r\n")
    assert world.send(b"PASS secret\r\n") == b"-ERR USER comes first, and PASS right after it\r\n"


def test_no_apop_after_login() -> None:
    """P-005, P-046."""
    assert world_of().login().send(b"APOP mrose " + DIGEST + b"\r\n") == b"-ERR already logged in\r\n"


def test_passwords_may_be_forbidden_where_apop_is_not() -> None:
    """P-064, P-065, P-055: the digest shows no password."""
    features = Features("dbc.mtview.ca.us", token=lambda: "1896.697170952")
    world = World(MAIL, terms=Terms(passwords=False, apop=True), features=features)
    assert world.send(b"USER mrose\r\n").startswith(b"-ERR no passwords")
    assert world.send(b"APOP mrose " + DIGEST + b"\r\n") == LOGGED_IN


def test_a_maildrop_that_is_in_use() -> None:
    """P-041, P-177."""
    world = world_of()
    world.conditions[Login] = MaildropInUse()
    assert world.send(b"APOP mrose " + DIGEST + b"\r\n").startswith(b"-ERR [IN-USE] ")


def test_the_digest_shows_in_no_text() -> None:
    """P-287."""
    world = world_of()
    world.send(b"APOP mrose " + DIGEST + b"\r\n")
    assert DIGEST.decode() not in f"{world.events!r}"
