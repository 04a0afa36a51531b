"""The client's side of SASL, against our own server's, against scramp, and against servers that cheat."""

import base64

import pytest
import scramp  # type: ignore[import-untyped]

from restante.protocol.sasl.client import MAX_ITERATIONS, MECHANISMS, Channel, Secret, Steps, Untrusted, usable

NONCE = "rOprNGfwEbeRWgbNEkqO"
BOB = Secret("bob", b"pencil", host="mail.example.org", port=995)


def channel(*announced: str, **bindings: bytes) -> Channel:
    return Channel(
        {name.replace("_", "-"): data for name, data in bindings.items()}, frozenset(announced), lambda: NONCE
    )


def start(name: str, secret: Secret = BOB, terms: Channel | None = None) -> tuple[Steps, bytes | None]:
    steps = MECHANISMS[name](secret, terms or channel())
    return steps, next(steps)


# -- simple ones ------------------------------------------------------------------------------------


def test_plain_and_external() -> None:
    """RFC 4616, RFC 4422: one response, and nothing more to say."""
    for name, response in (("PLAIN", b"\0bob\0pencil"), ("EXTERNAL", b"")):
        steps, first = start(name)
        assert first == response
        with pytest.raises(StopIteration):
            steps.send(b"more?")


def test_login() -> None:
    steps, first = start("LOGIN")
    assert first is None
    assert steps.send(b"Username:") == b"bob"
    assert steps.send(b"Password:") == b"pencil"


def test_tokens() -> None:
    """RFC 7628 section 3.1, and its answer to a refusal; XOAUTH2 answers with nothing."""
    secret = Secret("b,o=b", token="tok", host="mail.example.org", port=995)
    steps, first = start("OAUTHBEARER", secret)
    assert first == b"n,a=b=2Co=3Db,\1host=mail.example.org\1port=995\1auth=Bearer tok\1\1"
    assert steps.send(b'{"status":"invalid_token"}') == b"\1"
    steps, first = start("XOAUTH2", secret)
    assert first == b"user=b,o=b\1auth=Bearer tok\1\1"
    assert steps.send(b'{"status":"401"}') == b""


# -- SCRAM ------------------------------------------------------------------------------------------


def test_the_example_of_the_rfc() -> None:
    """RFC 7677 section 3."""
    steps, first = start("SCRAM-SHA-256", Secret("user", b"pencil"))
    assert first == b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    final = steps.send(b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096")
    assert final == (
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    )
    assert steps.send(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=") == b""
    with pytest.raises(StopIteration):
        steps.send(b"")


@pytest.mark.parametrize("name", ["SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256-PLUS"])
@pytest.mark.parametrize("password", ["pencil", "b\u00e4r \u2168", "\ud55c"])
def test_against_an_independent_server(name: str, password: str) -> None:
    """RFC 5802: scramp prepares and proves for itself."""
    salt, stored, server_key, iterations = scramp.ScramMechanism(name.removesuffix("-PLUS")).make_auth_info(password)
    binding = ("tls-server-end-point", b"binding") if name.endswith("-PLUS") else None
    terms = channel(name, tls_server_end_point=b"binding") if binding else channel(name)
    server = scramp.ScramMechanism(name).make_server(
        lambda _: (salt, stored, server_key, iterations), channel_binding=binding
    )
    steps, first = start(name, Secret("bob", password.encode()), terms)
    assert first is not None
    server.set_client_first(first.decode())
    final = steps.send(server.get_server_first().encode())
    assert final is not None
    server.set_client_final(final.decode())
    assert steps.send(server.get_server_final().encode()) == b""


def test_passwords_that_cannot_be_prepared_are_sent_as_they_are() -> None:
    """RFC 5802 section 2.2 prepares strings; octets that are none are used so."""
    for password in (b"\xff\xfe", b"a\x07b"):
        steps, _ = start("SCRAM-SHA-256", Secret("bob", password))
        assert steps.send(b"r=" + NONCE.encode() + b"x,s=AAAA,i=4096") is not None


def test_the_flag_of_the_channel() -> None:
    """RFC 5802 section 6: y where we could bind and the server says it cannot; p with the best binding there is."""
    assert start("SCRAM-SHA-256")[1] == b"n,,n=bob,r=" + NONCE.encode()
    both = {"tls_exporter": b"e", "tls_server_end_point": b"s"}
    assert start("SCRAM-SHA-256", terms=channel("SCRAM-SHA-256", **both))[1] == b"y,,n=bob,r=" + NONCE.encode()
    plus = channel("SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", **both)
    assert start("SCRAM-SHA-256", terms=plus)[1] == b"n,,n=bob,r=" + NONCE.encode()
    steps, first = start("SCRAM-SHA-256-PLUS", terms=plus)
    assert first == b"p=tls-exporter,,n=bob,r=" + NONCE.encode()
    final = steps.send(b"r=" + NONCE.encode() + b"x,s=AAAA,i=4096")
    assert final is not None
    assert final.startswith(b"c=" + base64.b64encode(b"p=tls-exporter,,e") + b",")


@pytest.mark.parametrize(
    ("first", "words"),
    [
        (b"r=other,s=AAAA,i=4096", "nonce"),
        (b"r=%b,s=AAAA,i=4096" % NONCE.encode(), "nonce"),
        (b"r=%bx,s=AAAA,i=99999999" % NONCE.encode(), str(MAX_ITERATIONS)),
        (b"m=x,r=%bx,s=AAAA,i=4096" % NONCE.encode(), "not one of SCRAM"),
        (b"r=%bx,s=AAAA,i=4096,m=x" % NONCE.encode(), "not one of SCRAM"),
        (b"r=%bx,s=A,i=4096" % NONCE.encode(), "base64"),
        (b"e=unknown-user", "unknown-user"),
        (b"\xff", "UTF-8"),
        (b"", "not one of SCRAM"),
    ],
)
def test_servers_that_cheat_at_first(first: bytes, words: str) -> None:
    """K-020: the nonce, no ``m=``, a limit to iterations."""
    steps, _ = start("SCRAM-SHA-256")
    with pytest.raises(Untrusted, match=words):
        steps.send(first)


@pytest.mark.parametrize("final", [b"v=AAAA", b"", b"e=other-error", b"v=" + b"A" * 43 + b"=", b"+OK"])
def test_servers_that_do_not_know_the_password(final: bytes) -> None:
    """K-020."""
    steps, _ = start("SCRAM-SHA-1")
    steps.send(b"r=%bx,s=AAAA,i=4096" % NONCE.encode())
    with pytest.raises(Untrusted):
        steps.send(final)


# -- the choice -------------------------------------------------------------------------------------

ALL = tuple(MECHANISMS)


@pytest.mark.parametrize(
    ("secret", "terms", "certificate", "private", "expected"),
    [
        (BOB, channel(*ALL), False, True, ["SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "LOGIN"]),
        (
            BOB,
            channel(*ALL, tls_exporter=b"e"),
            True,
            True,
            ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "LOGIN"],
        ),
        (BOB, channel(*ALL), False, False, ["SCRAM-SHA-256", "SCRAM-SHA-1"]),
        (BOB, channel("PLAIN", "GSSAPI"), False, True, ["PLAIN"]),
        (BOB, channel(), False, True, []),
        (Secret("bob", token="t"), channel(*ALL), False, True, ["OAUTHBEARER", "XOAUTH2"]),
        (Secret("bob", token="t"), channel(*ALL), False, False, []),
        (Secret("bob"), channel(*ALL), True, True, ["EXTERNAL"]),
        (Secret("bob"), channel(*ALL), False, True, []),
    ],
)
def test_the_best_first(secret: Secret, terms: Channel, certificate: bool, private: bool, expected: list[str]) -> None:
    """K-017: bound to the channel, then SCRAM, tokens for who has one, and passwords where nobody reads them."""
    assert usable(secret, terms, certificate=certificate, private=private) == expected
