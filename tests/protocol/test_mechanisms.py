"""The mechanisms that take a step or two, and which of them work: conformance section 7 (P-193 to P-204, P-220)."""

from typing import Any

import pytest

from restante.auth import Anonymous, CramMd5, External, Kind, Kinds, Password, Proven
from restante.errors import AuthenticationFailed
from restante.protocol import sasl
from restante.protocol.events import Login
from restante.protocol.policy import Features, Terms
from tests.protocol.driver import World, b64, with_tls

MAIL = b"Subject: x\n\nbody\n"
LOGGED_IN = b"+OK 1 messages (20 octets)\r\n"
WRONG = b"-ERR [AUTH] wrong user name or password\r\n"
EVERY = tuple(sasl.MECHANISMS)
OVER = "x" * 256


def world_of(identities: tuple[str, ...] = ("bob",)) -> World:
    return World(MAIL, terms=with_tls(*EVERY, identities=identities))


def malformed(name: str) -> bytes:
    return b"-ERR that is not what a %b message looks like\r\n" % name.encode()


@pytest.mark.parametrize("authorization", ["", "bob", "\u00adbob", "bo\u00adb"])
def test_an_authorization_identity_may_be_ones_own(authorization: str) -> None:
    """P-193: absent, or equal after preparation."""
    assert world_of().send(b"AUTH PLAIN " + b64(f"{authorization}\0bob\0secret") + b"\r\n") == LOGGED_IN


@pytest.mark.parametrize("authorization", ["alice", "BOB", "bob ", "bob@x", "\u06271"])
def test_acting_as_somebody_else_is_not_offered(authorization: str) -> None:
    """P-193: and the reply does not tell whether the password was right; no authenticator is asked."""
    for password in ("secret", "wrong"):
        world = world_of()
        assert world.send(b"AUTH PLAIN " + b64(f"{authorization}\0bob\0{password}") + b"\r\n") == WRONG
        assert world.events == [Login(Proven("bob", None), "PLAIN")]


@pytest.mark.parametrize(
    "message",
    [
        b"", b"bob", b"bob\0secret", b"\0bob\0secret\0", b"\0bob\0sec\0ret", b"\0\0bob\0secret", b"\0\0secret",
        b"\0bob\0", b"\0\0", b"\0bob\0\xff", b"\0\xc3\0secret", b"\xe9\0bob\0secret", OVER.encode() + b"\0bob\0secret",
        b"\0" + OVER.encode() + b"\0secret", b"\0bob\0" + OVER.encode(), b"\0bob\0\xed\xa0\x80",
    ],
)  # fmt: skip
def test_the_message_of_plain(message: bytes) -> None:
    """P-194: three fields of UTF-8 up to 255 octets, name and password not empty (P-037); P-179: no code."""
    world = world_of()
    assert world.send(b"AUTH PLAIN\r\n" + b64(message) + b"\r\n") == b"+ \r\n" + malformed("PLAIN")
    assert world.events == []


def test_fields_of_255_octets_are_taken() -> None:
    """P-194: octets, not characters."""
    world = world_of()
    field = "\u00e4" * 127 + "x"
    world.send(b"AUTH PLAIN " + b64(f"{field}\0{field}\0{field}") + b"\r\n")
    assert world.events == [Login(Password(field, field.encode()), "PLAIN")]


def test_login_prompts_twice() -> None:
    """P-221, P-195: name, then password."""
    world = world_of()
    assert world.send(b"AUTH LOGIN\r\n") == b"+ VXNlcm5hbWU6\r\n"
    assert world.send(b64("bob") + b"\r\n") == b"+ UGFzc3dvcmQ6\r\n"
    assert world.send(b64("secret") + b"\r\n") == LOGGED_IN
    assert world.events == [Login(Password("bob", b"secret"), "LOGIN")]


@pytest.mark.parametrize(
    ("user", "password"), [(b"", b"x"), (b"bob", b""), (b"\xff", b"x"), (b"bob", b"\xff"), (b"b\0b", b"x")]
)
def test_what_login_does_not_take(user: bytes, password: bytes) -> None:
    """P-221, P-037: an empty password is never passed on."""
    world = world_of()
    reply = world.send(b"AUTH LOGIN\r\n" + b64(user) + b"\r\n")
    if not reply.endswith(malformed("LOGIN")):
        reply = world.send(b64(password) + b"\r\n")
    assert reply.endswith(malformed("LOGIN"))
    assert world.events == []


def test_cram_md5() -> None:
    """P-220: the example of RFC 2195 section 2, octet for octet."""
    features = Features("postoffice.reston.mci.net", token=lambda: "1896.697170952")
    world = World(MAIL, terms=Terms(mechanisms=("CRAM-MD5",)), features=features)
    assert world.send(b"auth cram-md5\r\n") == b"+ PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+\r\n"
    assert world.send(b"dGltIGI5MTNhNjAyYzdlZGE3YTQ5NWI0ZTZlNzMzNGQzODkw\r\n") == LOGGED_IN
    (event,) = world.logins()
    assert isinstance(event.credentials, CramMd5)
    assert event.credentials.user == "tim"


def test_the_challenge_of_cram_md5_is_new_each_time() -> None:
    """P-220."""
    world = world_of()
    challenges = {world.send(b"AUTH CRAM-MD5\r\n*\r\n").partition(b"\r\n")[0] for _ in range(5)}
    assert len(challenges) == 5
    for challenge in challenges:
        decoded = sasl.decode(challenge.removeprefix(b"+ "))
        assert decoded.startswith(b"<")
        assert decoded.endswith(b"@mail.example.org>")
        assert len(decoded) > 32 + len("<@mail.example.org>")


DIGEST = b"b913a602c7eda7a495b4e6e7334d3890"


@pytest.mark.parametrize(
    "answer",
    [
        b"", b"tim", DIGEST, b" " + DIGEST, b"tim " + DIGEST[:-1], b"tim " + DIGEST + b"0", b"tim x" + DIGEST[1:],
        b"tim " + DIGEST.upper(), b"t\xff " + DIGEST, b"tim " + DIGEST + b" ",
    ],
)  # fmt: skip
def test_what_cram_md5_does_not_take(answer: bytes) -> None:
    """P-220: RFC 2195 has lower-case digits."""
    world = world_of()
    assert world.send(b"AUTH CRAM-MD5\r\n" + b64(answer) + b"\r\n").endswith(malformed("CRAM-MD5"))
    assert world.events == []


def test_a_name_in_cram_md5_may_have_spaces() -> None:
    """P-220: the digest is what follows the last one."""
    world = world_of()
    assert world.send(b"AUTH CRAM-MD5\r\n" + b64(b"t i m " + DIGEST) + b"\r\n").endswith(WRONG)
    assert [event.credentials.user for event in world.logins()] == ["t i m"]


def test_external_takes_the_name_from_the_certificate() -> None:
    """P-201: an empty response is the first of its names; another of them may be asked for."""
    world = world_of(identities=("bob", "robert"))
    assert world.send(b"AUTH EXTERNAL =\r\n") == LOGGED_IN
    assert world.events == [Login(External("bob"), "EXTERNAL")]
    world = world_of(identities=("alice", "bob"))
    assert world.send(b"AUTH EXTERNAL " + b64("bo\u00adb") + b"\r\n") == LOGGED_IN
    assert world.events == [Login(External("bob"), "EXTERNAL")]


@pytest.mark.parametrize("wanted", ["alice", "BOB", "\x07", "\u06271"])
def test_external_gives_nobody_elses_mail(wanted: str) -> None:
    """P-201, P-193: what the certificate does not vouch for fails, and no authenticator is asked."""
    world = world_of()
    assert world.send(b"AUTH EXTERNAL\r\n" + b64(wanted) + b"\r\n") == b"+ \r\n" + WRONG
    assert all(event.credentials.__class__ is Proven for event in world.logins())


def test_external_needs_a_certificate() -> None:
    """P-201: without one it is not there, so nobody has to give a name for it."""
    world = World(MAIL, terms=with_tls("PLAIN"))
    assert world.send(b"AUTH EXTERNAL =\r\n") == b"-ERR unknown mechanism; right are PLAIN\r\n"
    assert world_of().send(b"AUTH EXTERNAL " + b64(b"\xff") + b"\r\n") == malformed("EXTERNAL")


@pytest.mark.parametrize("trace", ["somebody@example.org", ""])
def test_anonymous(trace: str) -> None:
    """P-200: the trace text proves nothing, and may be empty; the maildrop is read-only, if it so happens."""
    world = world_of()
    world.read_only = True
    assert world.send(b"AUTH ANONYMOUS " + (b64(trace) or b"=") + b"\r\n") == (LOGGED_IN if trace else WRONG)
    assert world.events == [Login(Anonymous(trace), "ANONYMOUS")]


def test_nothing_is_deleted_from_a_read_only_maildrop() -> None:
    """P-200: refused at DELE, so that no client believes it has deleted something."""
    world = world_of()
    world.read_only = True
    world.send(b"AUTH ANONYMOUS\r\n" + b64("somebody@example.org") + b"\r\n")
    assert world.send(b"DELE 1\r\n") == b"-ERR nothing can be deleted from this maildrop\r\n"
    assert world.send(b"DELE 2\r\n") == b"-ERR no such message, numbers are 1 to 1\r\n"
    assert world.send(b"QUIT\r\n") == b"+OK 0 messages deleted, 1 left\r\n"
    assert world.updated is None


@pytest.mark.parametrize(
    "trace", [b"x" * 256, "\u00e4".encode() * 256, b"a\x1b[2Jb", b"a\nb", b"\xff", b"a\0b", "\u202e".encode()]
)
def test_a_trace_text_that_is_none(trace: bytes) -> None:
    """P-200: up to 255 characters, and nothing that would command a terminal."""
    world = world_of()
    assert world.send(b"AUTH ANONYMOUS " + b64(trace) + b"\r\n") == malformed("ANONYMOUS")
    assert world.events == []
    assert world.send(b"AUTH ANONYMOUS " + b64("\u00e4" * 255) + b"\r\n") == WRONG


@pytest.mark.parametrize("name", ["PLAIN", "LOGIN", "CRAM-MD5", "EXTERNAL", "ANONYMOUS"])
def test_secrets_show_in_no_text(name: str) -> None:
    """P-287."""
    world = world_of()
    secret = "5ecretsecretsecretsecretsecret00"
    digest = secret.translate(str.maketrans("srt", "abc"))
    response = {"PLAIN": f"\0bob\0{secret}", "CRAM-MD5": f"bob {digest}"}
    world.send(b"AUTH %b\r\n" % name.encode() + b64(response.get(name, "bob")) + b"\r\n" + b64(secret) + b"\r\n")
    assert len(world.logins()) == 1
    # Challenges are random hexadecimal digits: a word that is too short would be found in one, some day.
    assert not any(word[:8] in f"{world.events}" for word in (secret, digest))


def test_a_refusal_by_the_authenticator_has_no_details() -> None:
    """P-039, P-182: a disabled account gets the text of a wrong password."""
    world = World(MAIL, terms=with_tls("PLAIN"), conditions={Login: AuthenticationFailed("bob is disabled")})
    assert world.send(b"AUTH PLAIN " + b64("\0bob\0secret") + b"\r\n") == WRONG


@pytest.mark.parametrize(
    ("raw", "prepared"),
    [
        ("I\u00adX", "IX"),  # RFC 4013 section 3
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        ("a\u00a0b", "a b"),
        ("\u0627\u0628", "\u0627\u0628"),
    ],
)
def test_names_and_passwords_are_prepared(raw: str, prepared: str) -> None:
    """P-202, P-257: with SASLprep, in PLAIN, LOGIN, USER and PASS."""
    expected = Password(prepared, prepared.encode())
    world = world_of()
    world.send(b"AUTH PLAIN " + b64(f"\0{raw}\0{raw}") + b"\r\n")
    world.send(b"AUTH LOGIN\r\n" + b64(raw) + b"\r\n" + b64(raw) + b"\r\n")
    world.send(b"USER " + raw.encode() + b"\r\nPASS " + raw.encode() + b"\r\n")
    assert [event.credentials for event in world.logins()] == [expected] * 3


@pytest.mark.parametrize("raw", ["\x07", "\u06271", "\u00ad", "a\u0000b", "\ue000", "\u200e", "\ufffd"])
def test_what_cannot_be_prepared_fails_the_login(raw: str) -> None:
    """P-202: as wrong credentials, or as a malformed message; never passed on."""
    world = world_of()
    for line in (f"\0{raw}\0secret", f"\0bob\0{raw}"):
        assert world.send(b"AUTH PLAIN " + b64(line) + b"\r\n").startswith(b"-ERR ")
    assert world.send(b"AUTH LOGIN\r\n" + b64("bob") + b"\r\n" + b64(raw) + b"\r\n").count(b"-ERR ") == 1
    assert all(event.credentials in (Proven(raw, None), Proven("bob", None)) for event in world.logins())


def conditions(*every: Kind, some: tuple[Kind, ...] = ()) -> sasl.Conditions:
    kinds = Kinds(frozenset(every), frozenset(every + some))
    return sasl.Conditions(kinds, passwords=True, tls=True, bindings=True, certificate=True)


def test_the_mechanisms_that_work() -> None:
    """P-161, P-203: the best first; CRAM-MD5 (P-220) only by name."""
    assert sasl.usable(conditions(*Kind), None) == tuple(name for name in EVERY if name != "CRAM-MD5")
    assert sasl.usable(conditions(*Kind), EVERY) == EVERY
    assert sasl.usable(conditions(Kind.PASSWORD), None) == ("PLAIN", "LOGIN")
    assert sasl.usable(conditions(Kind.PASSWORD), ("LOGIN",)) == ("LOGIN",)
    assert sasl.usable(conditions(Kind.PASSWORD), ()) == ()


@pytest.mark.parametrize(
    ("given", "gone"),
    [
        ({"passwords": False}, {"PLAIN", "LOGIN", "OAUTHBEARER", "XOAUTH2"}),  # P-055
        ({"tls": False}, {"LOGIN", "OAUTHBEARER", "XOAUTH2", "EXTERNAL"}),  # P-215, P-221
        ({"bindings": False}, {"SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS"}),  # P-210
        ({"certificate": False}, {"EXTERNAL"}),  # P-201
    ],
)
def test_what_a_mechanism_needs(given: dict[str, Any], gone: set[str]) -> None:
    """P-055, P-161, P-201, P-210, P-215, P-221."""
    assert set(EVERY) - set(sasl.usable(conditions(*Kind)._replace(**given), EVERY)) == gone


def test_no_client_shall_choose_in_vain() -> None:
    """P-161: what works for some accounts only is for those who ask for it by name; P-200: ANONYMOUS needs its kind."""
    some = conditions(Kind.PASSWORD, some=(Kind.SCRAM_SHA_256, Kind.SECRET))
    assert sasl.usable(some, None) == ("PLAIN", "LOGIN")
    assert sasl.usable(some, EVERY) == ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN", "CRAM-MD5")
