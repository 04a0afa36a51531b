"""OAUTHBEARER and XOAUTH2: conformance section 7 (P-215 to P-217)."""

import json

import pytest

from restante.auth import Bearer, Proven
from restante.errors import TemporaryFailure
from restante.protocol import sasl
from restante.protocol.events import Login
from restante.protocol.policy import Features, SessionLimits, Terms
from restante.protocol.stage import State
from tests.protocol.driver import World, b64, with_tls

MAIL = b"Subject: x\n\nbody\n"
LOGGED_IN = b"+OK 1 messages (20 octets)\r\n"
WRONG = b"-ERR [AUTH] wrong user name or password\r\n"
CHALLENGE = {"scope": "mail", "openid-configuration": "https://id.example.org/.well-known/openid-configuration"}
NAMES = ("OAUTHBEARER", "XOAUTH2")


def world_of(host: str = "", challenge: dict[str, str] | None = None, limits: SessionLimits | None = None) -> World:
    challenge = CHALLENGE if challenge is None else challenge
    features = Features("mail.example.org", oauth_challenge=challenge, limits=limits or SessionLimits())
    return World(MAIL, terms=with_tls(*NAMES, host=host), features=features)


def message(name: str, user: str = "bob", *pairs: str, auth: str = "Bearer good-token") -> str:
    """The client's only message, with more pairs if wanted."""
    head = f"n,a={user}," if name == "OAUTHBEARER" else f"user={user}"
    return "\x01".join([head, *pairs, f"auth={auth}", "", ""])


def log_in(world: World, name: str, text: str | bytes) -> bytes:
    return world.send(b"AUTH %b " % name.encode() + b64(text) + b"\r\n")


def malformed(name: str) -> bytes:
    return b"-ERR that is not what a %b message looks like\r\n" % name.encode()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("initial", [True, False])
def test_a_good_token(name: str, initial: bool) -> None:
    """P-215, P-216, P-185, P-186."""
    world = world_of()
    line = b64(message(name)) + b"\r\n"
    if initial:
        assert world.send(b"AUTH %b " % name.encode() + line) == LOGGED_IN
    else:
        assert world.send(b"AUTH %b\r\n" % name.encode()) == b"+ \r\n"
        assert world.send(line) == LOGGED_IN
    assert world.events == [Login(Bearer("bob", "good-token"), name)]


def test_the_messages_of_the_specifications() -> None:
    """P-215: RFC 7628 section 4.1; P-216: Google's and Microsoft's documents, for other users and tokens."""
    world = world_of()
    assert (
        log_in(world, "OAUTHBEARER", message("OAUTHBEARER", "bob", "host=server.example.com", "port=143")) == LOGGED_IN
    )
    assert log_in(world_of(), "XOAUTH2", b"user=bob\x01auth=Bearer good-token\x01\x01") == LOGGED_IN


def test_the_user_may_be_left_to_the_token() -> None:
    """P-215: no authorization identity; the authenticator knows whose token it is."""
    for header in ("n,,", "y,,", "n,a=,"):
        world = world_of()
        assert log_in(world, "OAUTHBEARER", f"{header}\x01auth=Bearer good-token\x01\x01") == LOGGED_IN
        assert world.events == [Login(Bearer("", "good-token"), "OAUTHBEARER")]


@pytest.mark.parametrize(
    ("sent", "user"), [("b=2Co=3Db", "b,o=b"), ("=3D2C", "=2C"), ("I\u00adX", "IX"), ("\u2168", "IX")]
)
def test_names_are_unescaped_and_prepared(sent: str, user: str) -> None:
    """P-215, P-202."""
    world = world_of()
    log_in(world, "OAUTHBEARER", message("OAUTHBEARER", sent))
    assert world.events == [Login(Bearer(user, "good-token"), "OAUTHBEARER")]


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "BeArEr"])
@pytest.mark.parametrize("name", NAMES)
def test_the_scheme_is_matched_without_case(name: str, scheme: str) -> None:
    """P-215: and blanks around the token are not part of it."""
    assert log_in(world_of(), name, message(name, auth=f"{scheme}  good-token ")) == LOGGED_IN


@pytest.mark.parametrize("name", NAMES)
def test_what_nobody_knows_does_no_harm(name: str) -> None:
    """P-215: unknown keys, in any place."""
    assert log_in(world_of(), name, message(name, "bob", "x=y", "novalue", "qs=a=b")) == LOGGED_IN


ENDS = [b"AQ==\r\n", b"*\r\n", b"\r\n", b"!!!\r\n", b"QUIT\r\n", b"AQ==\n", b"\x01\r\n", b"\x01"]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("name", NAMES)
def test_a_bad_token(name: str, end: bytes) -> None:
    """P-215, P-216, P-179: a challenge says why; whatever ends it, 0x01 without a line end too, gets -ERR [AUTH]."""
    world = world_of()
    reply = log_in(world, name, message(name, auth="Bearer bad-token"))
    assert reply.startswith(b"+ ")
    assert reply.count(b"\r\n") == 1
    assert world.session.failed_logins == 0
    assert world.send(end) == WRONG
    assert world.session.failed_logins == 1
    assert world.session.state is State.AUTHORIZATION
    assert world.events == [Login(Bearer("bob", "bad-token"), name)]
    assert world.send(b"USER bob\r\nPASS secret\r\n") == b"+OK send PASS\r\n" + LOGGED_IN


def test_an_octet_of_0x01_is_a_line_of_its_own_only_then() -> None:
    """P-215, P-018, P-026: elsewhere it waits for its line end like any octet."""
    world = world_of()
    assert world.send(b"\x01") == b""
    assert world.send(b"\r\n").startswith(b"-ERR a command is printable ASCII")
    assert world.send(b"AUTH OAUTHBEARER\r\n\x01") == b"+ \r\n"
    assert world.send(b"\r\n") == b"-ERR that is not base64\r\n"


def test_a_line_that_is_too_long_ends_a_failed_exchange_too() -> None:
    """P-192, P-215, P-179, P-045: it is a failed login like any other, and counts as one."""
    world = world_of(limits=SessionLimits(dropped=10**6))
    log_in(world, "OAUTHBEARER", message("OAUTHBEARER", auth="Bearer bad-token"))
    assert world.send(b"A" * 65_537 + b"\r\n") == WRONG
    assert world.session.failed_logins == 1
    assert world.send(b"USER bob\r\n") == b"+OK send PASS\r\n"


def challenge_for(world: World, name: str) -> object:
    reply = log_in(world, name, message(name, auth="Bearer bad-token"))
    return json.loads(sasl.decode(reply.removeprefix(b"+ ").removesuffix(b"\r\n")))


def test_what_the_challenge_says() -> None:
    """P-215, P-216: JSON; what the site has not configured is not there."""
    assert challenge_for(world_of(), "OAUTHBEARER") == {"status": "invalid_token"} | CHALLENGE
    assert challenge_for(world_of(challenge={}), "OAUTHBEARER") == {"status": "invalid_token"}
    assert challenge_for(world_of(challenge={"scope": ""}), "OAUTHBEARER") == {"status": "invalid_token"}
    assert challenge_for(world_of(), "XOAUTH2") == {"status": "401", "schemes": "bearer", "scope": "mail"}
    assert challenge_for(world_of(challenge={}), "XOAUTH2") == {"status": "401", "schemes": "bearer", "scope": ""}


def test_a_lone_0x01_as_first_message_is_a_plain_failure() -> None:
    """P-215: no challenge."""
    for lines in (b"AUTH OAUTHBEARER AQ==\r\n", b"AUTH OAUTHBEARER\r\nAQ==\r\n"):
        world = world_of()
        assert world.send(lines).endswith(WRONG)
        assert world.events == [Login(Proven("", None), "OAUTHBEARER")]


@pytest.mark.parametrize(
    ("host", "sent", "right"),
    [
        ("mail.example.org", "mail.example.org", True),
        ("mail.example.org", "MAIL.Example.ORG", True),
        ("mail.example.org", "evil.example.org", False),
        ("mail.example.org", "", False),
        ("mail.example.org", "mail.example.org.evil.org", False),
        ("", "anything", True),  # the server does not know by which name it was called
    ],
)
def test_a_token_that_was_meant_for_another_server(host: str, sent: str, right: bool) -> None:
    """P-215: fails without the authenticator being asked, which could not know."""
    world = world_of(host)
    reply = log_in(world, "OAUTHBEARER", message("OAUTHBEARER", "bob", f"host={sent}"))
    if right:
        assert reply == LOGGED_IN
    else:
        assert reply.startswith(b"+ ")
        assert world.send(b"AQ==\r\n") == WRONG
        assert world.events == [Login(Proven("bob", None), "OAUTHBEARER")]


def test_a_host_need_not_be_named() -> None:
    """P-215."""
    assert log_in(world_of("mail.example.org"), "OAUTHBEARER", message("OAUTHBEARER")) == LOGGED_IN


@pytest.mark.parametrize("auth", ["", "Bearer", "Bearer ", "Basic good-token", "good-token", "Bearergood-token"])
@pytest.mark.parametrize("name", NAMES)
def test_no_token_at_all(name: str, auth: str) -> None:
    """P-215, P-216: a failed login, and no authenticator sees an empty token."""
    world = world_of()
    assert log_in(world, name, message(name, auth=auth)).startswith(b"+ ")
    assert world.send(b"\r\n") == WRONG
    assert world.events == [Login(Proven("bob", None), name)]


@pytest.mark.parametrize("user", ["\x07", "\u06271", "\u00ad"])
@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_cannot_be_one(name: str, user: str) -> None:
    """P-202, P-193: is not taken for "left to the token"."""
    world = world_of()
    assert log_in(world, name, message(name, user)).startswith(b"+ ")
    assert world.events == [Login(Proven(user, None), name)]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("OAUTHBEARER", b""),
        ("OAUTHBEARER", b"n,,"),
        ("OAUTHBEARER", b"n,,auth=Bearer good-token\x01\x01"),
        ("OAUTHBEARER", b"n,,\x01auth=Bearer good-token\x01"),
        ("OAUTHBEARER", b"n,,\x01auth=Bearer good-token"),
        ("OAUTHBEARER", b"n,bob,\x01auth=Bearer good-token\x01\x01"),
        ("OAUTHBEARER", b"p=tls-exporter,,\x01auth=Bearer good-token\x01\x01"),
        ("OAUTHBEARER", b"x,,\x01auth=Bearer good-token\x01\x01"),
        ("OAUTHBEARER", b"\x01auth=Bearer good-token\x01\x01"),
        ("OAUTHBEARER", b"n,,\x01auth=Bearer good-token\0\x01\x01"),
        ("OAUTHBEARER", b"n,a=b\xff,\x01auth=Bearer good-token\x01\x01"),
        ("OAUTHBEARER", b"user=bob\x01auth=Bearer good-token\x01\x01"),
        ("XOAUTH2", b""),
        ("XOAUTH2", b"\x01"),
        ("XOAUTH2", b"auth=Bearer good-token\x01\x01"),
        ("XOAUTH2", b"user=bob\x01auth=Bearer good-token\x01"),
        ("XOAUTH2", b"user=bob auth=Bearer good-token"),
        ("XOAUTH2", b"n,a=bob,\x01auth=Bearer good-token\x01\x01"),
        ("XOAUTH2", b"user=b\xff\x01auth=Bearer good-token\x01\x01"),
    ],
)
def test_messages_that_are_none(name: str, text: bytes) -> None:
    """P-215, P-216, P-179: no code, no challenge, nobody is asked."""
    world = world_of()
    assert world.send(b"AUTH %b\r\n" % name.encode() + b64(text) + b"\r\n") == b"+ \r\n" + malformed(name)
    assert world.events == []


def test_an_issuer_that_cannot_be_asked() -> None:
    """P-217, P-178: at once, without the challenge of a token that is bad."""
    world = world_of()
    world.conditions[Login] = TemporaryFailure("connection refused")
    for name in NAMES:
        assert log_in(world, name, message(name)) == (
            b"-ERR [SYS/TEMP] not possible at the moment; please try again later\r\n"
        )
    assert world.session.failed_logins == 0


def test_a_token_shows_in_no_text() -> None:
    """P-217, P-287."""
    world = world_of()
    log_in(world, "XOAUTH2", message("XOAUTH2"))
    assert "good-token" not in f"{world.events!r} {world.events[0]}"


def test_only_under_tls() -> None:
    """P-215, P-055."""
    world = World(MAIL, terms=Terms(mechanisms=("PLAIN",), stls=True))
    for name in NAMES:
        assert (
            log_in(world, name, message(name)) == b"-ERR not over an unencrypted connection; use STLS or port 995\r\n"
        )
    assert world.events == []
