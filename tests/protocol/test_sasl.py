"""AUTH and what all mechanisms have in common: conformance section 7 (P-185 to P-204)."""

import pytest

from restante.auth import Password
from restante.errors import Condition, InternalError, LoginDelayed, MaildropInUse, PermanentFailure, TemporaryFailure
from restante.protocol import sasl
from restante.protocol.events import Event, FindRecord, Login
from restante.protocol.policy import Features, SessionLimits, Terms
from restante.protocol.stage import State
from tests.protocol.driver import World, b64, with_tls
from tests.protocol.scram_client import DECOY

MAIL = b"Subject: x\n\nbody\n"
PLAIN = b64("\0bob\0secret")
LOGGED_IN = b"+OK 1 messages (20 octets)\r\n"
WRONG = b"-ERR [AUTH] wrong user name or password\r\n"
EVERY = tuple(sasl.MECHANISMS)
CLIENT_FIRST = [name for name in EVERY if name not in ("LOGIN", "CRAM-MD5")]


def world_of(
    *mechanisms: str, limits: SessionLimits | None = None, conditions: dict[type[Event], Condition] | None = None
) -> World:
    terms = with_tls(*(mechanisms or EVERY), identities=("bob",))
    return World(MAIL, terms=terms, records={"": DECOY}, limits=limits, conditions=conditions)


def challenged(name: str) -> World:
    """A world in which that mechanism has begun and waits for the client."""
    world = world_of()
    assert world.send(b"AUTH %b\r\n" % name.encode()).startswith(b"+ ")
    return world


@pytest.mark.parametrize("line", [b"AUTH PLAIN ", b"auth plain ", b"aUtH pLaIn  "])
def test_a_login_in_one_line(line: bytes) -> None:
    """P-185: names of mechanisms match without regard to case; success is TRANSACTION, and the maildrop is open."""
    world = world_of()
    assert world.send(line + PLAIN + b"\r\nSTAT\r\n") == LOGGED_IN + b"+OK 1 20\r\n"
    assert world.events == [Login(Password("bob", b"secret"), "PLAIN")]
    assert world.session.state is State.TRANSACTION


@pytest.mark.parametrize("name", CLIENT_FIRST)
def test_the_empty_challenge(name: str) -> None:
    """P-186: plus, space, CR, LF, and not one octet else."""
    assert world_of().send(b"AUTH %b\r\n" % name.encode()) == b"+ \r\n"


@pytest.mark.parametrize("name", EVERY)
def test_a_star_cancels(name: str) -> None:
    """P-187: back to AUTHORIZATION, nothing is asked, and the next star is a command like any other."""
    world = challenged(name)
    assert world.send(b"*\r\n") == b"-ERR authentication cancelled\r\n"
    assert world.send(b"*\r\n").startswith(b"-ERR unknown command")
    assert world.events == []
    assert world.login().session.state is State.TRANSACTION


def test_a_star_in_the_middle_leaves_nothing_behind() -> None:
    """P-187: the name that LOGIN has heard is not the next one's."""
    world = challenged("LOGIN")
    assert world.send(b64("bob") + b"\r\n*\r\n").endswith(b"-ERR authentication cancelled\r\n")
    assert world.send(b"AUTH LOGIN\r\n" + b64("secret") + b"\r\n" + b64("x") + b"\r\n").endswith(WRONG)
    assert world.logins() == [Login(Password("secret", b"x"), "LOGIN")]


MALFORMED = [
    b"AGJvYgBzZWNyZXQ",  # the padding is missing
    b"AGJvYgBzZWNyZXQ===",
    b"AGJvYgBzZWNyZXQ=A",
    b"AGJv=YgBzZWNyZXQ=",
    b"AGJvYgBzZWNyZXR=",  # bits are left over
    b"AB==",
    b"AAAA====",
    b"====",
    b"A",
    b"AGJvYgBzZWNyZXQ=\t",
    b"AGJv.YgBzZWNyZXQ=",
    b"AGJvYgBzZWNyZX-_",  # the alphabet of URLs
    b"AGJvYgBzZWNyZXQ=\0",
    b"AGJvYgBzZWNyZXQ=\r",
    b"AGJv\xc3\xa4=",
    b"**",
]


@pytest.mark.parametrize(
    "response", [*MALFORMED, b"AGJv YgBzZWNyZXQ=", b" AGJvYgBzZWNyZXQ=", b"AGJvYgBzZWNyZXQ= ", b"="]
)
@pytest.mark.parametrize("name", ["PLAIN", "XOAUTH2", "SCRAM-SHA-256"])
def test_a_response_is_strict_base64(response: bytes, name: str) -> None:
    """P-188: alphabet, padding, length, and no white space; P-179: no code, for the credentials are unknown."""
    world = challenged(name)
    assert world.send(response + b"\r\n") == b"-ERR that is not base64\r\n"
    assert world.events == []
    assert world.login().session.state is State.TRANSACTION


@pytest.mark.parametrize("response", MALFORMED)
def test_an_initial_response_is_strict_base64(response: bytes) -> None:
    """P-188; a tab at the end of a command is forgiven (P-003), and other octets are none of a command (P-018)."""
    world = world_of()
    reply = world.send(b"AUTH PLAIN " + response + b"\r\n")
    if response.endswith(b"\t"):
        assert reply == LOGGED_IN
    else:
        assert reply.startswith(b"-ERR ")
        assert reply.count(b"\r\n") == 1
        assert world.events == []


@pytest.mark.parametrize(
    "line", [b"AUTH FOO", b"AUTH FOO AGJv", b"AUTH DIGEST-MD5", b"AUTH GSSAPI", b"AUTH PLAIN-", b"AUTH *"]
)
def test_an_unknown_mechanism_is_refused_at_once(line: bytes) -> None:
    """P-189: no challenge, so what a client has pipelined is not taken for a response; P-204: nor is DIGEST-MD5."""
    world = world_of("PLAIN", "LOGIN")
    assert world.send(line + b"\r\n") == b"-ERR unknown mechanism; right are PLAIN LOGIN\r\n"
    assert world.send(PLAIN + b"\r\n").startswith(b"-ERR unknown command")
    assert world.events == []


@pytest.mark.parametrize("name", EVERY)
def test_a_mechanism_that_is_not_offered_is_unknown(name: str) -> None:
    """P-189, P-161."""
    reply = b"-ERR unknown mechanism; right are ANONYMOUS\r\n"
    if name != "ANONYMOUS":
        assert world_of("ANONYMOUS").send(b"AUTH %b\r\n" % name.encode()) == reply
    assert World(terms=Terms(tls="x")).send(b"AUTH PLAIN\r\n") == b"-ERR no mechanism is possible here\r\n"


@pytest.mark.parametrize("name", ["PLAIN", "LOGIN", "OAUTHBEARER", "XOAUTH2", "EXTERNAL"])
@pytest.mark.parametrize("stls", [True, False])
def test_a_password_is_not_asked_for_where_one_can_listen(name: str, stls: bool) -> None:
    """P-055, P-221: no ``+``, no code, the same for right and wrong credentials."""
    world = World(terms=Terms(passwords=False, mechanisms=("SCRAM-SHA-256",), stls=stls))
    reply = world.send(b"AUTH %b\r\n" % name.encode())
    assert reply == world.send(b"AUTH %b " % name.encode() + PLAIN + b"\r\n") == world.send(b"USER bob\r\n")
    assert (reply == b"-ERR not over an unencrypted connection; use STLS or port 995\r\n") is stls
    assert world.events == []


def test_an_equals_sign_is_an_empty_initial_response() -> None:
    """P-190: and later on an empty line is one."""
    assert world_of("EXTERNAL").send(b"AUTH EXTERNAL =\r\n") == LOGGED_IN
    assert world_of("EXTERNAL").send(b"AUTH EXTERNAL\r\n\r\n") == b"+ \r\n" + LOGGED_IN
    assert world_of("PLAIN").send(b"AUTH PLAIN =\r\n") == b"-ERR that is not what a PLAIN message looks like\r\n"


def test_no_auth_after_login() -> None:
    """P-191, P-046."""
    world = world_of()
    world.send(b"AUTH PLAIN " + PLAIN + b"\r\n")
    for line in (b"AUTH PLAIN " + PLAIN, b"AUTH PLAIN", b"AUTH"):
        assert world.send(line + b"\r\n") == b"-ERR already logged in\r\n"
    assert len(world.logins()) == 1


def token_of(octets: int) -> tuple[bytes, bytes]:
    """A message whose base64 has exactly so many octets, and its token."""
    frame = b"n,,\x01auth=Bearer %b\x01\x01"
    token = b"x" * (octets // 4 * 3 - len(frame) + 2)
    return b64(frame % token), token


@pytest.mark.parametrize("octets", [300, 5000, 40_000, 65_536 - 20])
def test_responses_may_be_long(octets: int) -> None:
    """P-192: a response line and the AUTH line itself, up to 64 KiB."""
    message, token = token_of(octets)
    assert len(message) == octets // 4 * 4
    for command in (b"AUTH OAUTHBEARER " + message + b"\r\n", b"AUTH OAUTHBEARER\r\n" + message + b"\r\n"):
        world = world_of()
        world.send(command)
        (event,) = world.logins()
        assert getattr(event.credentials, "token", "").encode() == token


def test_a_response_of_exactly_64_kib() -> None:
    """P-192: the limit is that of the line without its end."""
    message, _ = token_of(65_536)
    world = challenged("OAUTHBEARER")
    world.send(message + b"\r\n")
    assert len(world.logins()) == 1


LENIENT = SessionLimits(dropped=10**6)


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_a_response_over_the_limit_ends_the_exchange(end: bytes) -> None:
    """P-192: dropped to its LF without being kept, one -ERR, and the next line is a command."""
    world = world_of(limits=LENIENT)
    world.send(b"AUTH PLAIN\r\n")
    assert world.send(b"A" * 70_000) == b""
    assert world.session.input_octets == 0
    assert world.send(end) == b"-ERR a line is at most 65536 octets here\r\n"
    assert world.login().session.state is State.TRANSACTION


def test_an_auth_line_over_the_limit() -> None:
    """P-192."""
    world = world_of(limits=LENIENT)
    reply = world.send(b"AUTH PLAIN " + b"A" * 65_536 + b"\r\nUSER bob\r\n")
    assert reply == b"-ERR a line is at most 65536 octets here\r\n+OK send PASS\r\n"


def test_only_auth_may_be_long() -> None:
    """P-192, P-011: AUTH lines end where those of other commands do not."""
    world = world_of()
    assert world.send(b"USER " + b"x" * 4092 + b"\r\n") == b"-ERR a line is at most 4096 octets here\r\n"
    assert world.send(b"AUTHX" + b"x" * 4092 + b"\r\n") == b"-ERR a line is at most 4096 octets here\r\n"


def test_an_endless_response_ends_the_session() -> None:
    """P-192, P-011: one reply."""
    world = challenged("PLAIN")
    assert world.send(b"A" * 70_000) == b"-ERR a line is at most 65536 octets here\r\n"
    assert world.over()


@pytest.mark.parametrize("name", ["LOGIN", "CRAM-MD5"])
@pytest.mark.parametrize("initial", [b"=", b64("bob"), b64("")])
def test_no_initial_response_where_the_server_begins(name: str, initial: bytes) -> None:
    """P-195."""
    if initial:
        world = world_of()
        reply = world.send(b"AUTH %b %b\r\n" % (name.encode(), initial))
        assert reply == b"-ERR %b takes no initial response\r\n" % name.encode()
        assert world.send(b"*\r\n").startswith(b"-ERR unknown command")  # no exchange has begun


@pytest.mark.parametrize("line", [b"AUTH", b"AUTH ", b"auth  ", b"AUTH\t"])
def test_bare_auth_lists_the_mechanisms(line: bytes) -> None:
    """P-196: Outlook asks so, with a space too."""
    reply = world_of("SCRAM-SHA-256", "PLAIN").send(line + b"\r\n")
    assert reply == b"+OK mechanisms follow\r\nSCRAM-SHA-256\r\nPLAIN\r\n.\r\n"
    assert World().send(line + b"\r\n") == b"+OK mechanisms follow\r\n.\r\n"


def test_auth_with_too_many_arguments() -> None:
    """P-006: a response with a space in it, for one."""
    reply = b"-ERR AUTH needs a mechanism, and takes one initial response\r\n"
    assert world_of().send(b"AUTH PLAIN AGJv YgBz\r\n") == reply


FAILURES = [
    b"AUTH PLAIN " + b64("\0bob\0wrong"),
    b"AUTH PLAIN " + b64("\0nobody\0secret"),
    b"AUTH PLAIN\r\n" + b64("\0bob\0wrong"),
    b"AUTH LOGIN\r\n" + b64("bob") + b"\r\n" + b64("wrong"),
    b"AUTH CRAM-MD5\r\n" + b64("bob " + "0" * 32),
    b"AUTH EXTERNAL " + b64("alice"),
    b"AUTH ANONYMOUS " + b64("somebody else"),
]


@pytest.mark.parametrize("lines", FAILURES)
def test_a_failed_auth_leaves_the_session_as_it_was(lines: bytes) -> None:
    """P-197, P-038, P-039, P-179: one text and code for every reason; then another mechanism, or USER and PASS."""
    world = world_of()
    assert world.send(lines + b"\r\n").endswith(WRONG)
    assert world.session.state is State.AUTHORIZATION
    assert world.session.failed_logins == 1
    assert world.send(lines + b"\r\n").endswith(WRONG)
    assert world.send(b"STAT\r\n").startswith(b"-ERR log in first")
    assert world.send(b"USER bob\r\nPASS secret\r\n") == b"+OK send PASS\r\n" + LOGGED_IN


def test_failures_of_auth_count_like_others() -> None:
    """P-045."""
    world = world_of()
    for line in FAILURES[:4]:
        world.send(line + b"\r\n")
    assert not world.over()
    assert world.send(b"USER bob\r\nPASS wrong\r\n").endswith(WRONG)
    assert world.session.end_reason == "too many failed logins"


@pytest.mark.parametrize(
    "exchange", [b"AUTH PLAIN\r\n*\r\n", b"AUTH SCRAM-SHA-256 " + b64("n,,n=bob,r=x") + b"\r\n!\r\n"]
)
def test_exchanges_that_come_to_nothing_wear_out_patience(exchange: bytes) -> None:
    """P-025, P-045: a challenge in between makes up for nothing; else names could be looked up without end."""
    world = world_of()
    world.send(exchange * 19)
    assert not world.over()
    world.send(exchange)
    assert world.session.end_reason == "too many bad commands"


@pytest.mark.parametrize(
    "between",
    [
        b"AUTH PLAIN " + b64("\0bob\0wrong"),
        b"AUTH PLAIN\r\n*",
        b"AUTH PLAIN\r\n!",
        b"AUTH",
        b"AUTH FOO",
        b"AUTH PLAIN !",
        b"AUTH OAUTHBEARER AQ==",
    ],
)
def test_a_pending_user_dies_with_auth(between: bytes) -> None:
    """P-198."""
    world = world_of()
    world.send(b"USER bob\r\n" + between + b"\r\n")
    assert world.send(b"PASS secret\r\n") == b"-ERR USER comes first, and PASS right after it\r\n"


@pytest.mark.parametrize(
    ("condition", "code"),
    [
        (MaildropInUse("x"), b"[IN-USE] another"),
        (LoginDelayed("x"), b"[LOGIN-DELAY] too soon"),
        (TemporaryFailure("/x"), b"[SYS/TEMP] not possible"),
        (PermanentFailure("/x"), b"[SYS/PERM] not possible"),
        (InternalError("x"), b"[SYS/TEMP] internal"),
    ],
)
@pytest.mark.parametrize(
    "line",
    [b"AUTH PLAIN " + PLAIN, b"AUTH LOGIN\r\n" + b64("bob") + b"\r\n" + b64("secret"), b"AUTH EXTERNAL ="],
)
def test_a_maildrop_that_cannot_be_opened(condition: Condition, code: bytes, line: bytes) -> None:
    """P-041, P-044, P-050, P-175 to P-178: each with its code, with AUTH too, and no attempt at guessing."""
    world = world_of(conditions={Login: condition})
    reply = world.send(line + b"\r\n").splitlines(keepends=True)[-1]
    assert reply.startswith(b"-ERR " + code)
    assert b"/x" not in reply
    assert world.session.failed_logins == 0
    assert world.over() == isinstance(condition, InternalError)


def test_accounts_that_cannot_be_read() -> None:
    """P-178: in the middle of an exchange."""
    world = world_of(conditions={FindRecord: TemporaryFailure("ldap is down")})
    line = b"AUTH SCRAM-SHA-256 " + b64("n,,n=bob,r=x") + b"\r\n"
    assert world.send(line) == b"-ERR [SYS/TEMP] not possible at the moment; please try again later\r\n"
    assert world.send(b"USER bob\r\n") == b"+OK send PASS\r\n"


@pytest.mark.parametrize("name", EVERY)
def test_no_command_works_inside_an_exchange(name: str) -> None:
    """Section 17, P-005: the next line is a response, never a command; QUIT is not one either."""
    world = challenged(name)
    reply = world.send(b"QUIT\r\n")
    assert reply == WRONG if name == "EXTERNAL" else reply.startswith((b"-ERR that is not", b"+ "))
    assert not world.over()


def test_what_is_pipelined_behind_a_login() -> None:
    """P-276: commands behind an initial response; and behind a failed one they are judged in AUTHORIZATION."""
    world = world_of()
    assert world.send(b"AUTH PLAIN " + PLAIN + b"\r\nDELE 1\r\nQUIT\r\n").endswith(
        b"+OK 1 messages deleted, 0 left\r\n"
    )
    assert world.updated == frozenset({1})
    world = world_of()
    sent = world.send(b"AUTH PLAIN " + b64("\0bob\0wrong") + b"\r\nDELE 1\r\nQUIT\r\n")
    assert [line[:4] for line in sent.splitlines()] == [b"-ERR", b"-ERR", b"+OK "]
    assert world.updated is None


def test_a_challenge_is_base64_and_nothing_else() -> None:
    """P-199: and no data comes with +OK."""
    features = Features("mail.example.org", token=lambda: "t")
    for name in EVERY:
        reply = World(terms=with_tls(*EVERY, identities=("bob",)), features=features).send(
            b"AUTH %b\r\n" % name.encode()
        )
        plus, challenge = reply.removesuffix(b"\r\n").split(b" ")
        assert plus == b"+"
        assert b64(sasl.decode(challenge)) == challenge
    assert challenged("LOGIN").send(b64("bob") + b"\r\n") == b"+ " + b64("Password:") + b"\r\n"
