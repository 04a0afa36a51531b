"""SCRAM: conformance section 7 (P-205 to P-211), octet for octet with the examples of the RFCs."""

import base64

import pytest

from restante.auth import Kind, Principal, Proven, ScramRecord
from restante.errors import AuthenticationFailed, MaildropInUse
from restante.protocol.events import FindRecord, Login
from restante.protocol.policy import Features, Terms
from restante.protocol.stage import State
from tests.protocol.driver import World, b64, with_tls
from tests.protocol.scram_client import DECOY, ScramClient, record

MAIL = b"Subject: x\n\nbody\n"
LOGGED_IN = b"+OK 1 messages (20 octets)\r\n"
WRONG = b"-ERR [AUTH] wrong user name or password\r\n"
MALFORMED = b"-ERR that is not what a SCRAM message looks like\r\n"
BINDINGS = {"tls-exporter": bytes(range(32)), "tls-server-end-point": b"\xff" * 32}
PLAIN_NAMES = ("SCRAM-SHA-256", "SCRAM-SHA-1")
PLUS_NAMES = ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS")
RECORD = record("secret")
SHA_1 = record("secret", "sha1")
SERVER_NONCE = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"


def world_of(terms: Terms | None = None, records: dict[str, ScramRecord] | None = None) -> World:
    features = Features("mail.example.org", token=lambda: SERVER_NONCE)
    terms = terms or Terms(mechanisms=PLAIN_NAMES)
    return World(MAIL, terms=terms, features=features, records={"bob": RECORD, "": DECOY} | (records or {}))


def bound() -> World:
    """A world under TLS with all SCRAM names."""
    return world_of(with_tls(*PLUS_NAMES, *PLAIN_NAMES, bindings=BINDINGS))


def begin(world: World, client: ScramClient, name: str = "SCRAM-SHA-256") -> str:
    """Send the client's first message; returns the server's."""
    reply = world.send(b"AUTH %b " % name.encode() + b64(client.first) + b"\r\n")
    assert reply.startswith(b"+ ")
    return base64.b64decode(reply[2:], validate=False).decode()


def log_in(world: World, client: ScramClient, name: str = "SCRAM-SHA-256") -> bytes:
    """Play the whole exchange; returns the last reply."""
    reply = world.send(b64(client.final(begin(world, client, name))) + b"\r\n")
    if not reply.startswith(b"+ "):
        return reply
    assert base64.b64decode(reply[2:]) == f"v={client.signature}".encode()
    return world.send(b"\r\n")


@pytest.mark.parametrize(
    ("name", "algorithm", "salt", "messages", "server_nonce"),
    [
        (  # RFC 5802 section 5
            "SCRAM-SHA-1",
            "sha1",
            "QSXCR+Q6sek8bf92",
            (
                "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
                "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
                "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
                "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
            ),
            "3rfcNHYJY1ZVvWVs7j",
        ),
        (  # RFC 7677 section 3
            "SCRAM-SHA-256",
            "sha256",
            "W22ZaJ0SNY7soEsUEjb6gQ==",
            (
                "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
                "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
                "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
                "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
                "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
            ),
            SERVER_NONCE,
        ),
    ],
)
@pytest.mark.parametrize("initial", [True, False])
def test_the_examples_of_the_rfcs(
    name: str, algorithm: str, salt: str, messages: tuple[str, str, str, str], server_nonce: str, initial: bool
) -> None:
    """P-205, P-206, P-199, P-211: a record is all the server has; its final data come in a last challenge."""
    kept = record("pencil", algorithm, base64.b64decode(salt), user="bob")
    features = Features("mail.example.org", token=lambda: server_nonce)
    world = World(MAIL, terms=Terms(mechanisms=(name,)), features=features, records={"user": kept})
    client_first, server_first, client_final, server_final = map(b64, messages)
    if initial:
        sent = world.send(b"AUTH %b %b\r\n" % (name.encode(), client_first))
    else:
        assert world.send(b"AUTH %b\r\n" % name.encode()) == b"+ \r\n"
        sent = world.send(client_first + b"\r\n")
    assert sent == b"+ %b\r\n" % server_first
    assert world.events == [FindRecord("user", Kind(name))]
    assert world.send(client_final + b"\r\n") == b"+ %b\r\n" % server_final
    assert world.session.state is State.AUTHORIZATION  # not before the client has seen it
    assert world.logins() == []
    world.conditions[Login] = MaildropInUse()  # in the RFCs it is "user" who logs in, not bob
    assert world.send(b"\r\n").startswith(b"-ERR [IN-USE] ")
    assert world.logins() == [Login(Proven("user", Principal("bob")), name)]


@pytest.mark.parametrize("name", [*PLAIN_NAMES, *PLUS_NAMES])
def test_a_login(name: str) -> None:
    """P-205, P-206, P-210, P-185."""
    world = bound()
    algorithm, kept = ("sha256", RECORD) if "256" in name else ("sha1", SHA_1)
    world.records = {"bob": kept}
    gs2, binding = ("p=tls-exporter,,", BINDINGS["tls-exporter"]) if name in PLUS_NAMES else ("n,,", b"")
    assert log_in(world, ScramClient("bob", "secret", algorithm, gs2=gs2, binding=binding), name) == LOGGED_IN
    assert world.logins() == [Login(Proven("bob", Principal("bob")), name)]


def test_wrong_password() -> None:
    """P-206, P-197, P-205: -ERR [AUTH] straight after the client's last message."""
    world = world_of()
    for client in (ScramClient("bob", "wrong"), ScramClient("bob", "Secret")):
        assert world.send(b64(client.final(begin(world, client))) + b"\r\n") == WRONG
    assert world.logins() == [Login(Proven("bob", None), "SCRAM-SHA-256")] * 2
    assert log_in(world, ScramClient("bob", "secret")) == LOGGED_IN


def test_an_unknown_user_goes_through_and_fails_in_the_end() -> None:
    """P-207, P-039: the same steps and the same words, even with the right password of the invented record."""
    world = world_of()
    for user, password in (("nobody", "secret"), ("nobody", "nobody knows it"), ("=2C", "x")):
        client = ScramClient(user, password)
        server_first = begin(world, client)
        assert server_first == f"r=rOprNGfwEbeRWgbNEkqO{SERVER_NONCE},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
        assert world.send(b64(client.final(server_first)) + b"\r\n") == WRONG
    assert [event.credentials for event in world.logins()] == [
        Proven("nobody", None),
        Proven("nobody", None),
        Proven(",", None),
    ]


@pytest.mark.parametrize(("user", "found"), [("b=2Cb=3D2C", "b,b=2C"), ("I\u00adX", "IX"), ("\u2168", "IX"), ("", "")])
def test_the_name_is_prepared_to_be_looked_up_and_signed_as_it_came(user: str, found: str) -> None:
    """P-208, P-202; P-206: =2C and =3D stand for comma and equals sign; an empty name is nobody's."""
    world = world_of(records={found or "x": RECORD})
    reply = log_in(world, ScramClient(user, "secret"))
    assert world.events[0] == FindRecord(found, Kind.SCRAM_SHA_256)
    assert world.logins() == [Login(Proven(found, Principal("bob") if found else None), "SCRAM-SHA-256")]
    assert reply == WRONG  # in this world only bob has a maildrop


@pytest.mark.parametrize(
    "first",
    [
        "", "n", "n,", "n,,", "n=bob,r=x", "n,,n=bob", "n,,r=x,n=bob", "n,,n=bob,r=", "n,,n=bob,r=a b",
        "n,,n=bob,r=\u00e4", "n,,n=b=2Db,r=x", "n,,n=b=,r=x", "n,,n=b=2c,r=x", "n,,n=b=3d,r=x", "n,,n=b,b,r=x",
        "x,,n=bob,r=x", "N,,n=bob,r=x", "n,,m=x,n=bob,r=x", "n,,n=bob,r=x,m=y", "n,,n=bob,r=x,y=z,m=",
        "n,,n=bob,r=x,", "n,,n=bob,r=x,xy=z", "n,,n=bob,r=x,1=z", "n,a=,n=bob,r=x", "n,bob,n=bob,r=x",
        "n,a=b=,n=bob,r=x", "n,a=b,a=b,n=bob,r=x", "n,,n=bob,r=x,x=\0", "p,,n=bob,r=x", "p=,,n=bob,r=x",
        "p=a_b,,n=bob,r=x", "n,,n=bob,r=x\x7f", " n,,n=bob,r=x", "n,,n=bob,r=x\r\n",
    ],
)  # fmt: skip
def test_first_messages_that_are_none(first: str) -> None:
    """P-206: attributes in their order; P-179: no code, and nobody is looked up."""
    world = world_of()
    assert world.send(b"AUTH SCRAM-SHA-256\r\n" + b64(first) + b"\r\n") == b"+ \r\n" + MALFORMED
    assert world.events == []
    assert log_in(world, ScramClient("bob", "secret")) == LOGGED_IN


def test_a_first_message_in_another_charset() -> None:
    """P-202: names are UTF-8."""
    assert world_of().send(b"AUTH SCRAM-SHA-256 " + b64(b"n,,n=b\xe9b,r=x") + b"\r\n") == MALFORMED


@pytest.mark.parametrize("nonce", ["!", "~", "a=b", "x" * 200, "+-/"])
def test_nonces_of_other_clients(nonce: str) -> None:
    """P-206: printable ASCII but comma."""
    assert log_in(world_of(), ScramClient("bob", "secret", nonce=nonce)) == LOGGED_IN


def test_extensions_that_nobody_knows_are_ignored() -> None:
    """P-206: at the end of both messages; they are signed all the same."""
    client = ScramClient("bob", "secret", extensions=(",x=1,Y=a=b", ",z=\u00e4,e="))
    assert log_in(world_of(), client) == LOGGED_IN


FINALS = [
    "", "c=biws", "c=biws,p=AAAA", "r={r},c=biws,p={p}", "c=biws,r={r}", "c=biws,r={r},p=",
    "c=biws,r={r},p={p},x=y", "c=biws,r={r},p={p}=", "c=biws,r={r},p=AAAA", "c=biws,r={r},p={p}A",
    "c=biws,r={r},p= {p}", "c=biws,,r={r},p={p}", "c=bixx,r={r},m=x,p={p}", "c=biws,r=,p={p}", "C=biws,r={r},p={p}",
    "c=biws,r={r},p={p}\0", "c=biws,r={r},p={p}\n", "c=biws,r={r},p={p},p={p}",
]  # fmt: skip


@pytest.mark.parametrize("final", FINALS)
def test_last_messages_that_are_none(final: str) -> None:
    """P-206, P-188, P-179: no code; p= comes last, and base64 is strict in here too."""
    world = world_of()
    client = ScramClient("bob", "secret")
    server_first = begin(world, client)
    proof = client.final(server_first).partition(",p=")[2]
    nonce = server_first.partition(",")[0].removeprefix("r=")
    final = final.replace("{r}", nonce).replace("{p}", proof)
    assert world.send(b64(final) + b"\r\n") == MALFORMED
    assert world.logins() == []


@pytest.mark.parametrize("channel", ["biw", "bi=ws", "biws=", "=", "biwt=", "AB==", "biws===="])
def test_channel_binding_is_strict_base64(channel: str) -> None:
    """P-188, P-206: though it is signed."""
    world = world_of()
    client = ScramClient("bob", "secret")
    assert world.send(b64(client.final(begin(world, client), channel=channel)) + b"\r\n") == MALFORMED


@pytest.mark.parametrize(
    ("channel", "nonce"),
    [
        ("eSws", None),  # "y,,", and "n,," was said
        ("", None),
        ("biwsYQ==", None),  # "n,,a"
        ("cD10bHMtZXhwb3J0ZXIsLA==", None),
        (None, "rOprNGfwEbeRWgbNEkqO"),  # without the server's part
        (None, "rOprNGfwEbeRWgbNEkqO" + SERVER_NONCE + "x"),
        (None, "x" + SERVER_NONCE),
        (None, SERVER_NONCE),
        (None, ("rOprNGfwEbeRWgbNEkqO" + SERVER_NONCE).upper()),
    ],
)
def test_header_and_nonce_are_repeated_exactly(channel: str | None, nonce: str | None) -> None:
    """P-206: else wrong, however well it is signed."""
    world = world_of()
    client = ScramClient("bob", "secret")
    assert world.send(b64(client.final(begin(world, client), channel=channel, nonce=nonce)) + b"\r\n") == WRONG


@pytest.mark.parametrize(
    ("gs2", "right"),
    [
        ("n,a=bob,", True),
        ("n,a=bo\u00adb,", True),
        ("y,a=bob,", True),
        ("n,a=alice,", False),
        ("n,a=bob=2C,", False),
        ("n,a=BOB,", False),
        ("n,a=\x07,", False),
    ],
)
def test_authorization_identities(gs2: str, right: bool) -> None:
    """P-193, P-206: ones own, after preparation; acting as somebody else is not offered."""
    assert log_in(world_of(), ScramClient("bob", "secret", gs2=gs2)) == (LOGGED_IN if right else WRONG)


@pytest.mark.parametrize("answer", [b"AA==", b"*", b"!", b"=", b64("v="), b"STAT"])
def test_the_servers_last_message_is_answered_with_an_empty_line(answer: bytes) -> None:
    """P-199, P-187: anything else is no login, though the password was right."""
    world = world_of()
    client = ScramClient("bob", "secret")
    world.send(b64(client.final(begin(world, client))) + b"\r\n")
    assert world.send(answer + b"\r\n").startswith(b"-ERR ")
    assert world.logins() == []
    assert world.session.state is State.AUTHORIZATION


def test_each_exchange_has_a_nonce_of_its_own() -> None:
    """P-206, P-205: what was recorded once does not work again."""
    world = World(MAIL, terms=Terms(mechanisms=PLAIN_NAMES), records={"bob": RECORD})
    client = ScramClient("bob", "secret")
    first, second = begin(world, client), ""
    recorded = client.final(first)
    world.send(b"*\r\n")
    second = begin(world, client)
    assert first != second
    assert len(first.partition(",")[0]) >= len("r=rOprNGfwEbeRWgbNEkqO") + 32
    assert world.send(b64(recorded) + b"\r\n") == WRONG


# -- channel binding --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(BINDINGS))
@pytest.mark.parametrize("name", PLUS_NAMES)
def test_channel_binding(kind: str, name: str) -> None:
    """P-210: tls-exporter and tls-server-end-point; data of another connection do not do."""
    algorithm, kept = ("sha256", RECORD) if "256" in name else ("sha1", SHA_1)
    for binding, reply in (
        (BINDINGS[kind], LOGGED_IN),
        (b"\0" * 32, WRONG),
        (b"", WRONG),
        (BINDINGS[kind][:-1], WRONG),
    ):
        world = bound()
        world.records = {"bob": kept}
        client = ScramClient("bob", "secret", algorithm, gs2=f"p={kind},,", binding=binding)
        assert log_in(world, client, name) == reply


def test_the_data_of_one_type_are_not_those_of_another() -> None:
    """P-210."""
    client = ScramClient("bob", "secret", gs2="p=tls-exporter,,", binding=BINDINGS["tls-server-end-point"])
    assert log_in(bound(), client, "SCRAM-SHA-256-PLUS") == WRONG


@pytest.mark.parametrize("kind", ["tls-unique", "TLS-EXPORTER", "tls-exporter2", "n", "y", "x"])
@pytest.mark.parametrize("name", ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"])
def test_a_type_of_binding_that_is_not_there(kind: str, name: str) -> None:
    """P-209, P-210: a clean failure without looking anybody up."""
    world = bound()
    reply = world.send(b"AUTH %b " % name.encode() + b64(f"p={kind},,n=bob,r=x") + b"\r\n")
    assert reply == b"-ERR this channel binding is not possible here\r\n"  # though "n" and "y" are flags elsewhere
    assert world.events == []


@pytest.mark.parametrize("kind", list(BINDINGS))
def test_a_binding_under_a_plain_name(kind: str) -> None:
    """P-209."""
    world = bound()
    reply = world.send(b"AUTH SCRAM-SHA-256 " + b64(f"p={kind},,n=bob,r=x") + b"\r\n")
    assert reply == b"-ERR this channel binding is not possible here\r\n"
    assert world.events == []


def test_a_binding_without_tls() -> None:
    """P-209, P-210: the exporter is answered with a clean failure where there is none."""
    world = world_of()
    assert world.send(b"AUTH SCRAM-SHA-256 " + b64("p=tls-exporter,,n=bob,r=x") + b"\r\n").startswith(
        b"-ERR this channel"
    )
    assert world.send(b"AUTH SCRAM-SHA-256-PLUS\r\n").startswith(b"-ERR unknown mechanism")


@pytest.mark.parametrize("flag", ["n", "y"])
def test_a_plus_name_without_a_binding(flag: str) -> None:
    """P-209."""
    world = bound()
    reply = world.send(b"AUTH SCRAM-SHA-256-PLUS " + b64(f"{flag},,n=bob,r=x") + b"\r\n")
    assert reply == b"-ERR a -PLUS mechanism needs a channel binding\r\n"
    assert world.events == []


def test_a_downgrade_is_noticed() -> None:
    """P-209: a client that could bind believes that we cannot; somebody has told it so.  Without -PLUS all is well."""
    world = bound()
    reply = world.send(b"AUTH SCRAM-SHA-256 " + b64("y,,n=bob,r=x") + b"\r\n")
    assert reply == b"-ERR channel binding is possible here: somebody may have changed the list of mechanisms\r\n"
    assert world.events == []
    assert log_in(world_of(), ScramClient("bob", "secret", gs2="y,,")) == LOGGED_IN
    assert log_in(bound(), ScramClient("bob", "secret", gs2="n,,")) == LOGGED_IN


def test_a_record_shows_in_no_text() -> None:
    """P-287."""
    assert repr(RECORD) == "ScramRecord(principal=Principal(user='bob', read_only=False), <hidden>)"


def test_a_refusal_after_the_proof() -> None:
    """P-182, P-197: an account that may not log in."""
    world = world_of()
    world.conditions[Login] = AuthenticationFailed("disabled")
    assert log_in(world, ScramClient("bob", "secret")) == WRONG
    world.conditions.clear()
    assert log_in(world, ScramClient("bob", "secret")) == LOGGED_IN
