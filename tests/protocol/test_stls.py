"""STLS: conformance section 8 (P-231 to P-239), as far as the session is concerned."""

import pytest

from restante.protocol.events import StartTLS
from restante.protocol.policy import SessionLimits, Terms
from restante.protocol.stage import State
from tests.protocol.driver import World, b64, with_tls

MAIL = b"Subject: x\n\nbody\n"
LOGGED_IN = b"+OK 1 messages (20 octets)\r\n"
BEGIN = b"+OK begin TLS\r\n"
CLEAR = Terms(passwords=False, mechanisms=("SCRAM-SHA-256",), stls=True)
SECURED = with_tls("SCRAM-SHA-256", "PLAIN")


def world_of(limits: SessionLimits | None = None) -> World:
    return World(MAIL, terms=CLEAR, secured=SECURED, limits=limits)


def capabilities(world: World) -> list[bytes]:
    return world.send(b"CAPA\r\n").split(b"\r\n")[1:-2]


@pytest.mark.parametrize("line", [b"STLS\r\n", b"stls\n", b"STLS \r\n"])
def test_stls(line: bytes) -> None:
    """P-231: one reply, then the handshake; no second greeting; the state is still AUTHORIZATION."""
    world = world_of()
    assert world.send(line) == BEGIN
    assert world.events == [StartTLS(b"")]
    assert world.session.state is State.AUTHORIZATION
    assert world.send(b"STAT\r\n") == b"-ERR log in first: USER, then PASS\r\n"
    assert world.send(b"USER bob\r\nPASS secret\r\n") == b"+OK send PASS\r\n" + LOGGED_IN


def test_the_reply_goes_out_before_the_handshake() -> None:
    """P-231: and nothing else is parsed or said until TLS is active."""
    session = world_of().session
    session.receive_data(b"STLS\r\n")
    assert session.next_event() == StartTLS(b"")
    assert session.data_to_send() == BEGIN
    session.receive_data(b"CAPA\r\n")
    assert session.next_event() is None
    assert session.data_to_send() == b""
    session.tls_started(SECURED)
    assert session.next_event() is None
    assert session.data_to_send().startswith(b"+OK capabilities follow\r\n")


@pytest.mark.parametrize(
    "leftover",
    [
        b"USER eve",
        b"USER eve\r\nPASS x\r\n",
        b"\r",
        b"\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"AUTH PLAIN ",
        b"CAPA\r\n" * 10_000,
    ],
)
def test_octets_before_the_handshake_never_count_inside_tls(leftover: bytes) -> None:
    """P-232: they are handed over, for the handshake or for the end; half a line begins no line inside TLS."""
    world = world_of()
    assert world.send(b"STLS\r\n" + leftover) == BEGIN
    assert world.events == [StartTLS(leftover)]
    assert world.session.input_octets == 0
    assert world.send(b"NOOP\r\n") == b"-ERR log in first: USER, then PASS\r\n"
    assert len(world.events) == 1


def test_half_a_line_that_is_too_long() -> None:
    """P-232, P-011: that a line was being dropped is forgotten with it."""
    limits = SessionLimits(line=10)
    session = world_of(limits).session
    session.receive_data(b"STLS\r\n" + b"x" * 50)
    assert session.next_event() == StartTLS(b"x" * 50)
    session.tls_started(SECURED)
    session.data_to_send()
    session.receive_data(b"NOOP\r\n")
    session.next_event()
    assert session.data_to_send() == b"-ERR log in first: USER, then PASS\r\n"


def test_stls_under_tls() -> None:
    """P-233, P-236: after STLS, and on a port that began with TLS."""
    world = world_of()
    world.send(b"STLS\r\n")
    assert world.send(b"STLS\r\n") == b"-ERR TLS is active already\r\n"
    assert World(terms=SECURED).send(b"STLS\r\n") == b"-ERR TLS is active already\r\n"
    assert World(terms=SECURED._replace(stls=True)).send(b"STLS\r\n") == b"-ERR TLS is active already\r\n"
    assert world.events == [StartTLS(b"")]


@pytest.mark.parametrize("line", [b"STLS x", b"STLS STLS", b"STLS 1"])
def test_stls_takes_no_argument(line: bytes) -> None:
    """P-234."""
    world = world_of()
    assert world.send(line + b"\r\n") == b"-ERR STLS takes no argument\r\n"
    assert world.events == []


def test_stls_without_a_certificate() -> None:
    """P-239: neither announced nor taken."""
    world = World(MAIL)
    assert b"STLS" not in capabilities(world)
    assert world.send(b"STLS\r\n") == b"-ERR STLS is not possible here\r\n"
    assert world.login().session.state is State.TRANSACTION


def test_stls_after_login() -> None:
    """P-005, P-154."""
    world = World(MAIL, terms=CLEAR._replace(passwords=True)).login()
    assert world.send(b"STLS\r\n") == b"-ERR already logged in\r\n"
    assert b"STLS" not in capabilities(world)


def test_a_pending_user_dies_with_stls() -> None:
    """P-234, P-198, P-034."""
    world = World(MAIL, terms=CLEAR._replace(passwords=True), secured=SECURED)
    assert world.send(b"USER bob\r\nSTLS\r\n") == b"+OK send PASS\r\n" + BEGIN
    assert world.send(b"PASS secret\r\n") == b"-ERR USER comes first, and PASS right after it\r\n"


def test_the_language_is_forgotten() -> None:
    """P-234: somebody else may have chosen it."""
    world = world_of()
    assert world.send(b"LANG de\r\nSTLS\r\n").endswith(b"+OK TLS kann beginnen\r\n")
    assert world.send(b"UTF8\r\n") == b"+OK UTF-8 is welcome\r\n"


def test_stls_after_utf8() -> None:
    """P-258: refused; so UTF8 is always said inside TLS."""
    world = world_of()
    assert world.send(b"UTF8\r\nSTLS\r\n") == b"+OK UTF-8 is welcome\r\n-ERR STLS comes before UTF8\r\n"
    assert world.events == []


def test_capabilities_before_and_after() -> None:
    """P-231, P-154, P-155, P-161, P-055: what TLS brings is announced with it, and STLS no more."""
    world = world_of()
    before = capabilities(world)
    world.send(b"STLS\r\n")
    after = capabilities(world)
    assert set(before) - set(after) == {b"SASL SCRAM-SHA-256", b"STLS"}
    assert set(after) - set(before) == {b"SASL SCRAM-SHA-256 PLAIN", b"USER"}
    world.send(b"AUTH PLAIN " + b64("\0bob\0secret") + b"\r\n")
    assert capabilities(world) == after


def test_help_says_it_too() -> None:
    """P-305."""
    world = world_of()
    assert world.send(b"HELP\r\n") == b"-ERR POP3 commands now: AUTH STLS UTF8 LANG CAPA QUIT\r\n"
    world.send(b"STLS\r\n")
    assert world.send(b"HELP\r\n") == b"-ERR POP3 commands now: USER PASS AUTH UTF8 LANG CAPA QUIT\r\n"


def test_without_passwords_the_first_thing_to_say_is_another() -> None:
    """P-307, P-055."""
    assert world_of().send(b"STAT\r\n") == b"-ERR log in first\r\n"
    assert world_of().send(b"USER bob\r\n") == b"-ERR not over an unencrypted connection; use STLS or port 995\r\n"


def test_an_end_during_the_handshake_is_the_end() -> None:
    """P-238: no way back to an unencrypted session."""
    session = world_of().session
    session.receive_data(b"STLS\r\n")
    session.next_event()
    session.data_to_send()
    session.abandon("TLS handshake failed")
    session.receive_data(b"USER bob\r\n")
    assert session.next_event() is None
    assert session.data_to_send() == b""
    assert session.end_reason == "TLS handshake failed"


def test_failures_before_tls_still_count() -> None:
    """P-045, P-234: what is forgotten is what the client said, not how often it guessed."""
    limits = SessionLimits(login_attempts=2)
    world = World(MAIL, terms=CLEAR._replace(passwords=True), secured=SECURED, limits=limits)
    world.send(b"USER bob\r\nPASS wrong\r\nSTLS\r\n")
    world.send(b"USER bob\r\nPASS wrong\r\n")
    assert world.over()
