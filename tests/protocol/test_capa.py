"""CAPA: conformance section 5 (P-150 to P-163), and help for the person typing (section 12)."""

import pytest

from restante.errors import LoginDelayed
from restante.protocol.events import Login
from restante.protocol.policy import Features, SessionLimits, Terms
from restante.protocol.sasl import MECHANISMS
from tests.protocol.driver import World, b64, with_tls

MAIL = b"Subject: x\n\nbody\n"
REGISTERED = {
    "TOP", "USER", "SASL", "RESP-CODES", "LOGIN-DELAY", "PIPELINING", "EXPIRE", "UIDL", "IMPLEMENTATION", "STLS",
    "AUTH-RESP-CODE", "UTF8", "LANG",
}  # fmt: skip


def capabilities(world: World) -> list[str]:
    first, *lines, dot, rest = world.send(b"CAPA\r\n").decode("ascii").split("\r\n")
    assert first.startswith("+OK ")
    assert (dot, rest) == (".", "")
    return lines


def test_capa_in_both_states() -> None:
    """P-150, P-151, P-155: the same list, USER included."""
    world = World(MAIL)
    before = capabilities(world)
    assert capabilities(world.login()) == before
    assert {"TOP", "USER", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING", "EXPIRE NEVER"} <= set(before)


def test_capability_lines() -> None:
    """P-152, P-153, P-156, P-157, P-159, P-161: registered tags only, each once, printable, no dot."""
    lines = capabilities(World())
    tags = [line.split(" ")[0] for line in lines]
    assert set(tags) <= REGISTERED
    assert len(tags) == len(set(tags))
    assert all(line.isascii() and line.isprintable() and "." not in line and len(line) < 510 for line in lines)
    assert "IMPLEMENTATION Restante" in lines
    assert not {"SASL", "STLS", "LOGIN-DELAY"} & set(tags)  # announced when they work


TRACE = b64("somebody@example.org") + b"\r\n"
PASS = b"USER bob\r\nPASS secret\r\n"
ALL_TERMS = [
    (Terms(), PASS),
    (Terms(apop=True), PASS),
    (Terms(passwords=False, mechanisms=("SCRAM-SHA-256", "ANONYMOUS"), stls=True), b"AUTH ANONYMOUS " + TRACE),
    (Terms(mechanisms=("SCRAM-SHA-256",), stls=True), PASS),
    (with_tls(*MECHANISMS, identities=("bob",)), PASS),
    (with_tls("EXTERNAL", identities=("bob",))._replace(passwords=False), b"AUTH EXTERNAL =\r\n"),
]
OTHER = Features("mail.example.org", expire=30, login_delay=600)


@pytest.mark.parametrize("features", [None, OTHER])
@pytest.mark.parametrize(("terms", "login"), ALL_TERMS)
def test_what_authorization_announces_transaction_announces_too(
    terms: Terms, login: bytes, features: Features | None
) -> None:
    """P-151, P-155, P-161: SASL and USER too, though AUTH is refused then; STLS alone is no more (P-154)."""
    world = World(MAIL, terms=terms, features=features)
    before = capabilities(world)
    assert world.send(login).endswith(b"+OK 1 messages (20 octets)\r\n")
    assert [line for line in before if line != "STLS"] == capabilities(world)


@pytest.mark.parametrize("terms", [terms for terms, _ in ALL_TERMS])
def test_all_lines_are_well_formed(terms: Terms) -> None:
    """P-152, P-153: registered tags in printable ASCII, each once, at most 512 octets, whatever is offered."""
    lines = capabilities(World(terms=terms, features=Features("x" * 255, expire=10**9, login_delay=10**9)))
    tags = [line.split(" ")[0] for line in lines]
    assert set(tags) <= REGISTERED
    assert len(tags) == len(set(tags))
    for line in lines:
        assert line.isascii()
        assert line.isprintable()
        assert "  " not in line
        assert len(line) <= 510


@pytest.mark.parametrize(
    ("terms", "line"),
    [
        (Terms(), None),
        (Terms(mechanisms=("SCRAM-SHA-256",)), "SASL SCRAM-SHA-256"),
        (with_tls("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN"), "SASL SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN"),
    ],
)
def test_sasl(terms: Terms, line: str | None) -> None:
    """P-161, P-163: the mechanisms that work now, in their order; no line without any."""
    assert [found for found in capabilities(World(terms=terms)) if found.startswith("SASL")] == ([line] if line else [])


@pytest.mark.parametrize(("passwords", "announced"), [(True, 1), (False, 0)])
def test_user(passwords: bool, announced: int) -> None:
    """P-163, P-055: where passwords are not taken, USER is not there."""
    assert capabilities(World(passwords=passwords)).count("USER") == announced


def test_stls() -> None:
    """P-154: only while it may be used."""
    assert "STLS" in capabilities(World(terms=Terms(stls=True)))
    assert "STLS" not in capabilities(World(terms=Terms(stls=True)).login())
    assert "STLS" not in capabilities(World(terms=Terms(stls=True, tls="TLSv1.3")))
    assert "STLS" not in capabilities(World())


@pytest.mark.parametrize(("days", "announced"), [(None, "NEVER"), (0, "0"), (1, "1"), (365, "365")])
def test_expire(days: int | None, announced: str) -> None:
    """P-157: the same for every user, so without USER, in both states."""
    world = World(MAIL, features=Features("mail.example.org", expire=days))
    assert f"EXPIRE {announced}" in capabilities(world)
    assert f"EXPIRE {announced}" in capabilities(world.login())


@pytest.mark.parametrize("seconds", [0, 1, 600])
def test_login_delay(seconds: int) -> None:
    """P-158, P-051: the same for every user; none is not announced."""
    world = World(MAIL, features=Features("mail.example.org", login_delay=seconds))
    expected = [f"LOGIN-DELAY {seconds}"] if seconds else []
    assert [line for line in capabilities(world) if line.startswith("LOGIN-DELAY")] == expected
    assert [line for line in capabilities(world.login()) if line.startswith("LOGIN-DELAY")] == expected


def test_too_soon() -> None:
    """P-050, P-051, P-176: told to PASS, never to USER; it is no wrong password, and does not count as one."""
    world = World(MAIL, features=Features("mail.example.org", login_delay=600), conditions={Login: LoginDelayed("x")})
    assert world.send(b"USER bob\r\n") == world.send(b"USER nobody\r\n") == b"+OK send PASS\r\n"
    assert world.send(b"USER bob\r\nPASS secret\r\n") == (
        b"+OK send PASS\r\n-ERR [LOGIN-DELAY] too soon after the last login; wait a while\r\n"
    )
    assert world.session.failed_logins == 0


def expiring(*messages: bytes) -> World:
    return World(*messages, features=Features("mail.example.org", expire=0))


def test_under_expire_0_what_was_retrieved_goes_at_quit() -> None:
    """P-142: RETR counts, to its end; TOP never does (P-117); what DELE has marked goes too, once."""
    world = expiring(MAIL, MAIL, MAIL, MAIL).login()
    world.send(b"RETR 1\r\nTOP 2 99\r\nDELE 3\r\nRETR 4\r\nDELE 4\r\n")
    assert world.send(b"STAT\r\n") == b"+OK 2 40\r\n"  # not before QUIT
    assert world.send(b"RETR 1\r\n").startswith(b"+OK 20 octets\r\n")  # P-143: readable to the end
    assert world.send(b"QUIT\r\n") == b"+OK 3 messages deleted, 1 left\r\n"
    assert world.updated == frozenset({1, 3, 4})


def test_under_expire_0_rset_does_not_undo_a_retr() -> None:
    """P-142, P-107: RSET takes back marks, and a RETR is none."""
    world = expiring(MAIL, MAIL).login()
    world.send(b"RETR 1\r\nDELE 2\r\nRSET\r\n")
    world.send(b"QUIT\r\n")
    assert world.updated == frozenset({1})


@pytest.mark.parametrize("end", ["eof", "QUIT x", "bad commands"])
def test_under_expire_0_nothing_goes_without_quit(end: str) -> None:
    """P-142, P-133."""
    world = expiring(MAIL).login()
    world.send(b"RETR 1\r\n")
    if end == "eof":
        world.send_eof()
    else:
        world.send(b"QUIT x\r\n" * (1 if end == "QUIT x" else 50))
    assert world.updated is None


@pytest.mark.parametrize("days", [None, 1, 30])
def test_otherwise_a_retr_deletes_nothing(days: int | None) -> None:
    """P-092, P-142, P-143."""
    world = World(MAIL, features=Features("mail.example.org", expire=days)).login()
    world.send(b"RETR 1\r\nQUIT\r\n")
    assert world.updated is None


def test_under_expire_0_a_read_only_maildrop_stays_as_it_is() -> None:
    """P-142, P-200."""
    world = expiring(MAIL)
    world.read_only = True
    world.login().send(b"RETR 1\r\n")
    assert world.send(b"QUIT\r\n") == b"+OK 0 messages deleted, 1 left\r\n"
    assert world.updated is None


def test_capa_takes_no_argument_and_costs_nothing() -> None:
    """P-150, P-006, P-025."""
    world = World(MAIL, limits=SessionLimits(bad_before_login=3))
    assert world.send(b"CAPA x\r\n") == b"-ERR CAPA takes no argument\r\n"
    first = capabilities(world)
    for _ in range(30):
        assert capabilities(world) == first
    assert not world.over()


@pytest.mark.parametrize("help_line", [b"HELP\r\n", b"help\n", b"HELP RETR\r\n"])
def test_help(help_line: bytes) -> None:
    """P-305: not POP3, so -ERR, but with what works now."""
    world = World(MAIL)
    assert world.send(help_line) == b"-ERR POP3 commands now: USER PASS UTF8 LANG CAPA QUIT\r\n"
    assert world.login().send(help_line) == (
        b"-ERR POP3 commands now: STAT LIST RETR DELE TOP UIDL NOOP RSET LANG CAPA QUIT\r\n"
    )


def test_errors_say_what_would_be_right() -> None:
    """P-307."""
    world = World(MAIL, MAIL).login()
    assert world.send(b"RETR\r\n") == b"-ERR RETR needs a message number, 1 to 2\r\n"
    assert world.send(b"TOP 1\r\n") == b"-ERR TOP needs a message number, 1 to 2, and a count of body lines\r\n"
    assert world.send(b"LIST all\r\n") == b"-ERR LIST takes nothing or one message number, 1 to 2\r\n"
    assert world.send(b"STAT 1\r\n") == b"-ERR STAT takes no argument\r\n"
    assert world.send(b"READ 1\r\n").startswith(b"-ERR unknown command; POP3 commands now: STAT LIST ")
    assert world.send(b"RETR 3\r\n") == b"-ERR no such message, numbers are 1 to 2\r\n"
