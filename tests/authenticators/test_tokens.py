"""Access tokens: an issuer is asked about them, or has signed them."""

import asyncio
import contextlib
import gzip
import hashlib
import hmac
import json
import os
import secrets
import socket
import subprocess
import sys
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey, OctKey
from joserfc.jws import JWSRegistry

from restante.auth import Anonymous, Apop, Bearer, Credentials, External, Kind, Kinds, Password, Principal, Versatile
from restante.authenticators.oauth_issuer import TRIED
from restante.authenticators.tokens import CACHED, Tokens
from restante.errors import AuthenticationFailed, TemporaryFailure
from tests.authenticators.issuer import (
    CLIENT_ID,
    CLIENT_SECRET,
    EC,
    ED,
    NAME,
    OTHER_RSA,
    RSA,
    Answer,
    Issuer,
    certificate,
    key_set,
    sign,
    unpadded,
)

NOW = 1_800_000_000
ALICE = {"iss": NAME, "aud": "pop3", "exp": NOW + 600, "scope": "mail openid", "email": "alice@example.com"}
ES256 = JWSRegistry.algorithms["ES256"]
"""Signs what no library would make a token of."""
CLIENT: dict[str, Any] = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}


class Clock:
    """Seconds since 1970, which pass when a test says so."""

    def __init__(self) -> None:
        self.now = float(NOW)

    def __call__(self) -> float:
        return self.now


Make = Callable[..., Tokens]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with Issuer() as running:
        yield running


@pytest.fixture
async def make(clock: Clock, issuer: Issuer) -> AsyncIterator[Make]:
    """Makes authenticators and closes them, before the issuer ends."""
    made = []

    def new(**settings: Any) -> Tokens:
        made.append(Tokens(**{"clock": clock, "issuer": NAME, "audience": "pop3", **settings}))
        return made[-1]

    yield new
    for tokens in made:
        await tokens.aclose()


class Way:
    """One of the ways to check tokens: how to make one, and how to be told."""

    def __init__(self, settings: dict[str, Any], issue: Callable[[dict[str, Any]], str]) -> None:
        self.settings = settings
        self.issue = issue


@pytest.fixture(params=["introspection", "file", "url"])
def way(request: pytest.FixtureRequest, issuer: Issuer, tmp_path: Path) -> Way:
    if request.param == "introspection":
        return Way({"introspection": issuer.introspection, **CLIENT}, issuer.issue)
    if request.param == "url":
        return Way({"jwks": issuer.jwks}, sign)
    return Way({"jwks": key_file(tmp_path)}, sign)


def key_file(folder: Path, *keys: Any) -> str:
    path = folder / "jwks.json"
    aside = folder / "aside"
    aside.write_text(json.dumps(key_set(*(keys or (RSA, EC, ED)))), encoding="ascii")
    aside.replace(path)
    return str(path)


async def login(tokens: Tokens, token: str, user: str = "") -> str:
    principal = await tokens.authenticate(Bearer(user, token))
    assert principal == Principal(principal.user)
    return principal.user


async def refusal(tokens: Tokens, token: str, user: str = "") -> str:
    """Return why a token is refused, as the log says."""
    with pytest.raises(AuthenticationFailed) as caught:
        await login(tokens, token, user)
    return str(caught.value)


async def failure(tokens: Tokens, token: str = "some-token") -> str:
    """Return why it cannot be said whether a token is good."""
    with pytest.raises(TemporaryFailure) as caught:
        await login(tokens, token)
    assert caught.value.__context__ is None
    return str(caught.value)


# Whichever way


async def test_a_good_token_says_who_it_is(way: Way, make: Make) -> None:
    """P-215, P-217: the user is the token's; RFC 7662 section 2.2, RFC 9068 section 4."""
    tokens = make(**way.settings, scope="mail")
    token = way.issue(ALICE)
    assert await login(tokens, token) == "alice@example.com"
    assert await login(tokens, token, "alice@EXAMPLE.com") == "alice@example.com"


async def test_it_says_what_it_takes(way: Way, make: Make) -> None:
    """Only bearer tokens (RFC 6750): the mechanisms for them can be announced, and no others."""
    tokens = make(**way.settings)
    assert isinstance(tokens, Versatile)
    assert tokens.kinds() == Kinds(frozenset({Kind.BEARER}), frozenset({Kind.BEARER}))


@pytest.mark.parametrize(
    "credentials",
    [Password("alice@example.com", b"x"), Apop("alice", b"<1>", "0"), External("alice"), Anonymous("alice")],
    ids=repr,
)
async def test_other_credentials_are_refused(credentials: Credentials, make: Make, issuer: Issuer) -> None:
    """auth.py: an authenticator refuses kinds that it does not know; P-039: like all else."""
    with pytest.raises(AuthenticationFailed):
        await make(introspection=issuer.introspection, **CLIENT).authenticate(credentials)
    assert issuer.requests == []


@pytest.mark.parametrize("user", ["bob@example.com", "Alice@example.com", "alice", "alice@example.com "])
async def test_a_token_is_for_its_own_user_only(way: Way, make: Make, user: str) -> None:
    """P-215, RFC 7628 section 3.1: the authzid is checked against the token's identity."""
    assert "another user" in await refusal(make(**way.settings), way.issue(ALICE), user)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"exp": NOW - 60}, "expired"),
        ({"exp": -1}, "expired"),
        ({"exp": "never"}, "exp"),
        ({"exp": True}, "exp"),
        ({"nbf": NOW + 61}, "nbf"),
        ({"iss": "https://other.example"}, "iss"),
        ({"iss": NAME + "/"}, "iss"),
        ({"iss": [NAME]}, "iss"),
        ({"iss": None}, "iss"),
        ({"aud": "imap"}, "aud"),
        ({"aud": ["imap", "web"]}, "aud"),
        ({"aud": "pop3,imap"}, "aud"),
        ({"aud": []}, "aud"),
        ({"aud": None}, "aud"),
        ({"scope": "openid"}, "scope"),
        ({"scope": "mailbox openid"}, "scope"),
        ({"scope": None}, "scope"),
        ({"scope": 1}, "scope"),
    ],
    ids=str,
)
async def test_what_a_token_must_say(way: Way, make: Make, changed: dict[str, Any], reason: str) -> None:
    """RFC 7519 sections 4.1.1 to 4.1.5, RFC 9068 section 4, RFC 7662 section 2.2: else `AuthenticationFailed`."""
    claims = {name: value for name, value in {**ALICE, **changed}.items() if value is not None}
    assert reason in await refusal(make(**way.settings, scope="mail"), way.issue(claims))


@pytest.mark.parametrize(
    "changed",
    [
        {"exp": NOW - 59},
        {"nbf": NOW + 60},
        {"aud": ["imap", "pop3"]},
        {"scope": None, "scp": ["openid", "mail"]},
        {"scope": None, "scp": "openid mail"},
        {"scope": ["mail"]},
        {"email_verified": True},
    ],
    ids=str,
)
async def test_what_a_token_may_say(way: Way, make: Make, changed: dict[str, Any]) -> None:
    """RFC 7519 sections 4.1.3 to 4.1.5: clocks may differ a little, and a token may be for many."""
    claims = {name: value for name, value in {**ALICE, **changed}.items() if value is not None}
    assert await login(make(**way.settings, scope="mail"), way.issue(claims)) == "alice@example.com"


async def test_scopes_are_needed_all(way: Way, make: Make) -> None:
    """RFC 6749 section 3.3: a scope is a set of words."""
    tokens = make(**way.settings, scope="mail openid", openid_configuration="https://issuer.example/.well-known")
    assert await login(tokens, way.issue(ALICE)) == "alice@example.com"
    assert "scope" in await refusal(tokens, way.issue({**ALICE, "scope": "mail"}))
    assert (tokens.scope, tokens.openid_configuration) == ("mail openid", "https://issuer.example/.well-known")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a/b",
        "../alice",
        ".alice",
        "..",
        "a\0b",
        "a b",
        "a@.",
        "a@../b",
        "a@..",
        "a\uff0fb",
        "\uff0ealice",
        "a\nb",
        "a:b",
        "x" * 201,
        7,
    ],
    ids=ascii,
)
async def test_names_that_are_none(way: Way, make: Make, name: object) -> None:
    """P-291: slash, NUL and a leading dot never reach the file system, whatever the issuer says."""
    reason = "the token's email cannot be a user name"
    assert await refusal(make(**way.settings), way.issue({**ALICE, "email": name})) == reason


async def test_half_a_character_is_no_name(make: Make, issuer: Issuer) -> None:
    """P-291: JSON can escape what no text has (RFC 8259 section 8.2), nor any file name."""
    tokens = make(introspection=issuer.introspection, **CLIENT)
    assert "user name" in await refusal(tokens, issuer.issue({**ALICE, "email": "a\udc2fb"}))


async def test_the_claim_with_the_name_is_configured(way: Way, make: Make) -> None:
    """Of several claims the first that is there counts; one that is not configured never does."""
    claims = {**ALICE, "username": "alice", "preferred_username": "bob"}
    nameless = {name: value for name, value in claims.items() if name != "email"}
    several = make(**way.settings, claim=["email", "username", "preferred_username"])
    assert await login(several, way.issue(claims)) == "alice@example.com"
    assert await login(several, way.issue(nameless)) == "alice"
    assert await login(several, way.issue({**nameless, "username": None})) == "bob"
    assert await login(make(**way.settings, claim="preferred_username"), way.issue(claims)) == "bob"
    assert "whose" in await refusal(make(**way.settings), way.issue(nameless))


@pytest.mark.parametrize("verified", [False, "false", 0, None])
async def test_an_unverified_address_is_nobody(way: Way, make: Make, verified: object) -> None:
    """OpenID Connect Core section 5.1: such an address is what somebody has typed, and may be another's."""
    expected = way.issue({**ALICE, "email_verified": verified})
    if verified is None and "introspection" in way.settings:  # null is the same as nothing there
        assert await login(make(**way.settings), expected) == "alice@example.com"
    else:
        assert "verified" in await refusal(make(**way.settings), expected)


@pytest.mark.parametrize("token", ["", "a b", "a\nb", "a\0b", "tökén", "\udcff", "x" * 65537], ids=ascii)
async def test_what_cannot_be_a_token_is_not_asked_about(way: Way, make: Make, issuer: Issuer, token: str) -> None:
    """RFC 6749 appendix A.12, RFC 6750 section 2.1: printable ASCII; and no more than 64 KiB of it."""
    assert "not an access token" in await refusal(make(**way.settings), token)
    assert issuer.requests == []


# Introspection


async def test_a_token_that_is_not_active(make: Make, issuer: Issuer) -> None:
    """P-217, RFC 7662 section 2.2: `active` is false for whatever is unknown, expired or revoked."""
    assert "not active" in await refusal(make(introspection=issuer.introspection, **CLIENT), "never-issued")


async def test_the_question(make: Make, issuer: Issuer, tmp_path: Path) -> None:
    """RFC 7662 section 2.1: a form; RFC 6749 section 2.3.1: id and secret, encoded, as user and password."""
    secret = tmp_path / "secret"
    secret.write_text(f"{CLIENT_SECRET}\n", encoding="ascii")
    tokens = make(introspection=issuer.introspection, client_id=CLIENT_ID, client_secret_file=str(secret))
    token = "a+b/c%&=~d=="
    issuer.tokens[token] = ALICE
    assert await login(tokens, token) == "alice@example.com"
    (asked,) = issuer.requests
    assert (asked.method, asked.path) == ("POST", "/introspect")
    assert asked.headers["content-type"] == "application/x-www-form-urlencoded"
    assert asked.headers["accept"] == "application/json"


async def test_connections_are_used_again(make: Make, issuer: Issuer) -> None:
    """One connection for questions that follow each other (RFC 9112 section 9.3)."""
    tokens = make(introspection=issuer.introspection, **CLIENT)
    for _ in range(3):
        await login(tokens, issuer.issue(ALICE))
    assert len({request.connection for request in issuer.requests}) == 1


async def test_introspection_need_not_tell_the_end(make: Make, issuer: Issuer) -> None:
    """RFC 7662 section 2.2: all but `active` is optional, and what is null is not there."""
    tokens = make(introspection=issuer.introspection, issuer="", audience=(), **CLIENT)
    assert await login(tokens, issuer.issue({"email": "alice@example.com", "exp": None})) == "alice@example.com"


@pytest.mark.parametrize("kind", ["refresh_token", "DPoP", "N_A"])
async def test_other_tokens_can_be_active_too(make: Make, issuer: Issuer, kind: str) -> None:
    """RFC 7662 section 2.2, RFC 6750: only a bearer token lets its bearer in."""
    tokens = make(introspection=issuer.introspection, **CLIENT)
    assert "bearer" in await refusal(tokens, issuer.issue({**ALICE, "token_type": kind}))
    assert await login(tokens, issuer.issue({**ALICE, "token_type": "Bearer"})) == "alice@example.com"


BROKEN = {
    "500": Answer(500, {}, b"{}"),
    "503": Answer(503, {}, b'{"active": true, "email": "alice@example.com"}'),
    "404": Answer(404, {}, b"{}"),
    "400": Answer(400, {}, b'{"error": "invalid_request"}'),
    "429": Answer(429, {}, b"{}"),
    "redirect": Answer(302, {"Location": "/elsewhere"}, b"{}"),
    "garbage": Answer(200, {}, b"<html>"),
    "not text": Answer(200, {}, b"\xff\xfe"),
    "nothing": Answer(200, {}, b""),
    "no object": Answer(200, {}, b"[true]"),
    "nested": Answer(200, {}, b"[" * 60000),
    "incomplete": Answer(200, {"Connection": "close", "Content-Length": "70"}, b'{"active": true}'),
    "huge": Answer(200, {}, json.dumps({**ALICE, "active": True, **key_set(EC)}).encode("ascii") + b" " * (1 << 20)),
    "blown up": Answer(200, {"Content-Encoding": "gzip"}, gzip.compress(b'{"x": "' + b"x" * (2 << 20) + b'"}')),
    "badly packed": Answer(200, {"Content-Encoding": "gzip"}, b"no gzip"),
}


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("setting", ["introspection", "jwks"])
async def test_an_issuer_that_is_not_well(make: Make, issuer: Issuer, broken: str, setting: str) -> None:
    """P-217: `[SYS/TEMP]`, not a refusal, when the issuer does not say no; nor is a redirection followed."""
    issuer.broken = BROKEN[broken]
    url: str = getattr(issuer, setting)
    tokens = make(**{setting: url}, **(CLIENT if setting == "introspection" else {}))
    assert url in await failure(tokens, sign(ALICE))
    assert len(issuer.requests) == 1
    issuer.broken = None


@pytest.mark.parametrize("active", ["true", 1, None, "", []])
async def test_active_is_true_or_false(make: Make, issuer: Issuer, active: object) -> None:
    """RFC 7662 section 2.2: a Boolean; what else comes is no answer."""
    issuer.broken = Answer(200, {}, json.dumps({**ALICE, "active": active}).encode("ascii"))
    assert "active" in await failure(make(introspection=issuer.introspection, **CLIENT))


async def test_the_server_is_not_known_to_the_issuer(make: Make, issuer: Issuer) -> None:
    """RFC 7662 section 2.3: 401 is about the server, not about the token, and the log says which keys to look at."""
    tokens = make(introspection=issuer.introspection, client_id=CLIENT_ID, client_secret="wrong")
    assert "client_id" in await failure(tokens, issuer.issue(ALICE))


@pytest.mark.parametrize("setting", ["introspection", "jwks"])
async def test_an_issuer_that_is_down(make: Make, setting: str) -> None:
    """P-217: nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    tokens = make(**{setting: f"http://127.0.0.1:{port}/"}, **(CLIENT if setting == "introspection" else {}))
    assert "no connection" in await failure(tokens, sign(ALICE))


@pytest.mark.parametrize("setting", ["introspection", "jwks"])
async def test_an_issuer_that_hangs(make: Make, setting: str) -> None:
    """P-217: the timeout is for the whole answer."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        tokens = make(**{setting: url}, timeout=0.05, **(CLIENT if setting == "introspection" else {}))
        assert "no answer within 0.05 seconds" in await failure(tokens, sign(ALICE))


async def test_an_issuer_that_hangs_in_its_answer(make: Make) -> None:
    """P-217: an answer that begins must end, too."""
    ended = asyncio.Event()

    async def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{")
        await reader.read()
        writer.close()
        ended.set()

    async with await asyncio.start_server(begin, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        tokens = make(introspection=f"http://127.0.0.1:{port}/", timeout=0.05, **CLIENT)
        assert "no answer within 0.05 seconds" in await failure(tokens)
        await ended.wait()  # the connection is given up, not kept


async def test_an_issuer_that_never_stops(make: Make) -> None:
    """P-217: memory and patience end at 64 KiB."""
    ended = asyncio.Event()

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"400\r\n" + b" " * 1024 + b"\r\n")
                await writer.drain()
        writer.close()
        ended.set()

    async with await asyncio.start_server(flood, "127.0.0.1", 0) as server:
        tokens = make(introspection=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", **CLIENT)
        assert "more than 65536 octets" in await failure(tokens)
        await ended.wait()


async def test_the_issuer_comes_back(make: Make, issuer: Issuer, clock: Clock) -> None:
    """P-178: a temporary failure passes; keys are asked for again after a short while."""
    asked, keys = make(introspection=issuer.introspection, **CLIENT), make(jwks=issuer.jwks)
    issuer.broken = BROKEN["500"]
    await failure(asked, issuer.issue(ALICE))
    await failure(keys, sign(ALICE))
    issuer.broken = None
    assert await login(asked, issuer.issue(ALICE)) == "alice@example.com"
    await failure(keys, sign(ALICE))
    clock.now += 5
    assert await login(keys, sign(ALICE)) == "alice@example.com"


async def test_tls_is_verified(make: Make, tmp_path: Path) -> None:
    """RFC 7662 section 4: certificates are checked, with those of the system or with what is configured."""
    ca = tmp_path / "ca.pem"
    with Issuer(certificate(ca)) as issuer:
        token = issuer.issue(ALICE)
        assert "CERTIFICATE_VERIFY_FAILED" in await failure(make(introspection=issuer.introspection, **CLIENT), token)
        assert issuer.requests == []
        tokens = make(introspection=issuer.introspection, ca=str(ca), **CLIENT)
        assert await login(tokens, token) == "alice@example.com"
        await tokens.aclose()


# What is remembered


async def test_nothing_is_remembered_by_default(make: Make, issuer: Issuer) -> None:
    """A token that is revoked is of no use from then on (RFC 7009)."""
    tokens = make(introspection=issuer.introspection, **CLIENT)
    token = issuer.issue(ALICE)
    await login(tokens, token)
    del issuer.tokens[token]
    await refusal(tokens, token)


async def test_a_good_answer_may_be_remembered(make: Make, issuer: Issuer, clock: Clock) -> None:
    """RFC 7662 section 4: for a short time, and who the token is for counts as before."""
    tokens = make(introspection=issuer.introspection, cache=30, **CLIENT)
    token = issuer.issue(ALICE)
    for _ in range(3):
        assert await login(tokens, token) == "alice@example.com"
        assert "another user" in await refusal(tokens, token, "bob@example.com")
    assert len(issuer.requests) == 1
    clock.now += 30
    await login(tokens, token)
    assert len(issuer.requests) == 2
    clock.now -= 31  # a clock that is set back must not let an answer live on
    await login(tokens, token)
    assert len(issuer.requests) == 3


async def test_nothing_is_remembered_beyond_the_end_of_the_token(make: Make, issuer: Issuer, clock: Clock) -> None:
    """RFC 7662 section 4: the cache must not outlive `exp`, not even by the leeway."""
    tokens = make(introspection=issuer.introspection, cache=30, **CLIENT)
    token = issuer.issue({**ALICE, "exp": NOW + 10})
    await login(tokens, token)
    clock.now += 10
    for count in (2, 3):
        await login(tokens, token)
        assert len(issuer.requests) == count
    clock.now += 61
    assert "expired" in await refusal(tokens, token)


async def test_refusals_are_not_remembered(make: Make, issuer: Issuer) -> None:
    """A token may become good, as its scope is granted."""
    tokens = make(introspection=issuer.introspection, cache=30, scope="mail", **CLIENT)
    token = issuer.issue({**ALICE, "scope": ""})
    await refusal(tokens, token)
    issuer.tokens[token] = ALICE
    await login(tokens, token)


async def test_memory_is_bounded(make: Make, issuer: Issuer) -> None:
    """The oldest goes, and the tokens themselves are nowhere."""
    tokens = make(introspection=issuer.introspection, cache=30, **CLIENT)
    first = issuer.issue(ALICE)
    await login(tokens, first)
    cache = tokens._cache
    assert first not in repr(vars(cache))
    for number in range(CACHED):
        cache.put(f"token-{number}", "bob", None)
    assert len(cache._users) == CACHED
    assert (cache.get(first), cache.get("token-0")) == ("", "bob")


# Keys


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [(RSA, "RS256"), (RSA, "PS512"), (EC, "ES256"), (ED, "EdDSA"), (ED, "Ed25519")],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("kid", [True, False])
async def test_signatures(make: Make, tmp_path: Path, key: Any, algorithm: str, kid: bool) -> None:
    """RFC 7518 section 3.1, RFC 8037, RFC 9864; a token need not name its key (RFC 7515 section 4.1.4)."""
    token = sign(ALICE, key, algorithm) if kid else sign(ALICE, key, algorithm, kid=None)
    assert await login(make(jwks=key_file(tmp_path)), token) == "alice@example.com"


async def test_keys_of_other_kinds_are_no_candidates(make: Make, tmp_path: Path) -> None:
    """RFC 7515 section 4.1.4: without a key id the right one is looked for, though not among any number."""
    assert await login(make(jwks=key_file(tmp_path, *[RSA] * TRIED, EC)), sign(ALICE, kid=None)) == "alice@example.com"
    others = [ECKey.generate_key("P-256", {"kid": f"{number}"}) for number in range(TRIED)]
    assert "signature" in await refusal(make(jwks=key_file(tmp_path, *others, EC)), sign(ALICE, kid=None))


async def test_a_token_must_end(make: Make, tmp_path: Path) -> None:
    """RFC 9068 section 2.2: `exp` is required."""
    claims = {name: value for name, value in ALICE.items() if name != "exp"}
    assert "exp" in await refusal(make(jwks=key_file(tmp_path)), sign(claims))


@pytest.mark.parametrize("end", ["NaN", "Infinity", "1e999", "9" * 5000, "null", "[]"])
async def test_an_end_that_is_none(make: Make, tmp_path: Path, end: str) -> None:
    """RFC 7519 section 2: a NumericDate is a JSON number, and those are finite (RFC 8259 section 6)."""
    payload = json.dumps({**ALICE, "exp": 0}).replace('"exp": 0', f'"exp": {end}').encode("ascii")
    header = unpadded(json.dumps({"alg": "ES256", "kid": "ec"}).encode("ascii"))
    signed = f"{header}.{unpadded(payload)}"
    signature = unpadded(ES256.sign(signed.encode("ascii"), EC))
    assert await refusal(make(jwks=key_file(tmp_path)), f"{signed}.{signature}")


async def test_a_wrong_signature(make: Make, tmp_path: Path) -> None:
    """RFC 7515 section 5.2: somebody else's key under the same name, or a payload that was changed."""
    tokens = make(jwks=key_file(tmp_path))
    stranger = ECKey.generate_key("P-256", {"kid": "ec"})
    assert "signature" in await refusal(tokens, sign(ALICE, stranger))
    assert "signature" in await refusal(tokens, sign(ALICE, stranger, jwk=stranger.as_dict(private=False)))
    header, _, signature = sign(ALICE).split(".")
    forged = unpadded(json.dumps({**ALICE, "email": "bob@example.com"}).encode("ascii"))
    assert "signature" in await refusal(tokens, f"{header}.{forged}.{signature}")
    assert "signature" in await refusal(tokens, f"{header}.{forged}.")


@pytest.mark.parametrize("name", ["none", "None", "nOnE", "", "HS256", "RSA1_5", "dir"])
async def test_unsigned_tokens(make: Make, tmp_path: Path, name: str) -> None:
    """RFC 8725 section 3.1: "none" is never allowed, nor is what has no name or another purpose."""
    header = unpadded(json.dumps({"alg": name, "kid": "rsa"}).encode("ascii"))
    unsigned = f"{header}.{unpadded(json.dumps(ALICE).encode('ascii'))}."
    assert "algorithm" in await refusal(make(jwks=key_file(tmp_path)), unsigned)


async def test_a_public_key_is_no_secret(make: Make, tmp_path: Path) -> None:
    """RFC 8725 section 2.1: HMAC with the public key, in PEM or DER, must not pass for its signature."""
    tokens = make(jwks=key_file(tmp_path))
    header = unpadded(json.dumps({"alg": "HS256", "kid": "rsa"}).encode("ascii"))
    signed = f"{header}.{unpadded(json.dumps(ALICE).encode('ascii'))}"
    for secret in (RSA.as_bytes("PEM", private=False), RSA.as_bytes("DER", private=False)):
        mac = unpadded(hmac.digest(secret, signed.encode("ascii"), hashlib.sha256))
        assert "algorithm" in await refusal(tokens, f"{signed}.{mac}")


async def test_a_shared_secret_in_the_key_set(make: Make, tmp_path: Path) -> None:
    """RFC 8725 section 3.1: a symmetric key is no key for this, even if the issuer shows one."""
    path = tmp_path / "keys"
    secret = OctKey.import_key(secrets.token_bytes(32), {"kid": "oct"})
    path.write_text(json.dumps({"keys": [secret.as_dict(private=True)]}), encoding="ascii")
    assert "no JWK Set" in await failure(make(jwks=str(path)), sign(ALICE))
    path.write_text(json.dumps({"keys": [secret.as_dict(private=True), EC.as_dict(private=False)]}), encoding="ascii")
    assert "algorithm" in await refusal(make(jwks=str(path)), sign(ALICE, secret, "HS256"))


async def test_algorithms_can_be_fewer(make: Make, tmp_path: Path) -> None:
    """RFC 8725 section 3.1: the server says which algorithms it takes, not the token."""
    tokens = make(jwks=key_file(tmp_path), algorithms=["ES256"])
    assert await login(tokens, sign(ALICE)) == "alice@example.com"
    assert "algorithm" in await refusal(tokens, sign(ALICE, RSA, "RS256"))


async def test_a_key_is_for_what_it_says(make: Make, tmp_path: Path) -> None:
    """RFC 7517 sections 4.2 to 4.4: not for encryption, not for another algorithm, not for signing alone."""
    raw = RSA.as_dict(private=False)
    for limits in ({"use": "enc"}, {"alg": "PS256"}, {"key_ops": ["wrapKey"], "use": None}):
        path = tmp_path / "keys"
        limited = {name: value for name, value in {**raw, **limits}.items() if value is not None}
        path.write_text(json.dumps({"keys": [limited, EC.as_dict(private=False)]}), encoding="ascii")
        assert await refusal(make(jwks=str(path)), sign(ALICE, RSA, "RS256"))


async def test_keys_that_cannot_be_used(make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """RFC 7517 section 5: others in the set still count; RFC 7518 section 3.3: RSA needs 2048 bits."""
    numbers = rsa.generate_private_key(65537, 1024).public_key().public_numbers()
    weak = {"kty": "RSA", "kid": "weak", "e": "AQAB", "n": unpadded(numbers.n.to_bytes(128, "big"))}
    odd: list[Any] = [
        weak,
        1,
        None,
        {},
        {"kty": ["RSA"]},
        {"kty": "AKP"},
        {"kty": "EC"},
        {"kty": "RSA", "n": 1, "e": ""},
    ]
    odd += [{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}, {"kty": "EC", "crv": "P-1", "x": "AA", "y": "AA"}]
    odd += [{"kty": "OKP", "crv": "Ed25519", "x": "AA"}, {**EC.as_dict(private=False), "key_ops": [[]]}]
    path = tmp_path / "keys"
    path.write_text(json.dumps({"keys": [*odd, EC.as_dict(private=False)]}), encoding="ascii")
    assert await login(make(jwks=str(path)), sign(ALICE)) == "alice@example.com"
    assert "key 1 cannot be used: SecurityWarning" in caplog.text


@pytest.mark.parametrize("kind", ["logout+jwt", "dpop+jwt", "secevent+jwt", "JWE", ""])
async def test_tokens_for_other_things(make: Make, tmp_path: Path, kind: str) -> None:
    """RFC 8725 section 3.11, RFC 9068 section 4: the type tells tokens apart."""
    assert "type" in await refusal(make(jwks=key_file(tmp_path)), sign(ALICE, typ=kind))


@pytest.mark.parametrize("kind", ["JWT", "jwt", "at+jwt", "application/at+JWT", None])
async def test_types_of_access_tokens(make: Make, tmp_path: Path, kind: str | None) -> None:
    """RFC 9068 section 2.1; many issuers say JWT, or nothing."""
    assert await login(make(jwks=key_file(tmp_path)), sign(ALICE, typ=kind)) == "alice@example.com"


async def test_extensions_are_refused_unless_they_may_be_ignored(make: Make, tmp_path: Path) -> None:
    """RFC 7515 section 4.1.11: `crit` names what must be understood; section 4: all else is ignored."""
    header = {"alg": "ES256", "kid": "ec", "x-new": 1}
    payload = unpadded(json.dumps(ALICE).encode("ascii"))
    tokens = make(jwks=key_file(tmp_path))
    for more, good in (({}, True), ({"crit": ["x-new"]}, False), ({"b64": True}, False)):
        signed = f"{unpadded(json.dumps({**header, **more}).encode('ascii'))}.{payload}"
        token = f"{signed}.{unpadded(ES256.sign(signed.encode('ascii'), EC))}"
        if good:
            assert await login(tokens, token) == "alice@example.com"
        else:
            assert "extension" in await refusal(tokens, token)


async def test_a_signed_text_that_is_no_token(make: Make, tmp_path: Path) -> None:
    """RFC 7519 section 7.2: the payload is a JSON object."""
    for payload in (b"", b"[]", b"\xff", b"[" * 20000):
        signed = f"{unpadded(json.dumps({'alg': 'ES256', 'kid': 'ec'}).encode('ascii'))}.{unpadded(payload)}"
        token = f"{signed}.{unpadded(ES256.sign(signed.encode('ascii'), EC))}"
        assert "no JSON object" in await refusal(make(jwks=key_file(tmp_path)), token)


async def test_the_file_is_read_again_when_it_changes(make: Make, tmp_path: Path) -> None:
    """P-217: local keys; a new file counts from the next login on."""
    tokens = make(jwks=key_file(tmp_path, EC))
    assert "no key" in await refusal(tokens, sign(ALICE, OTHER_RSA, "RS256"))
    key_file(tmp_path, OTHER_RSA)
    assert await login(tokens, sign(ALICE, OTHER_RSA, "RS256")) == "alice@example.com"
    assert "no key" in await refusal(tokens, sign(ALICE))
    path = tmp_path / "jwks.json"
    for content in ("", "{}", '{"keys": 1}', '{"keys": []}', "[]"):
        path.write_text(content, encoding="ascii")
        assert str(path) in await failure(tokens, sign(ALICE))
    path.unlink()
    with pytest.raises(TemporaryFailure, match="No such file"):
        await login(tokens, sign(ALICE))
    key_file(tmp_path, EC)
    assert await login(tokens, sign(ALICE)) == "alice@example.com"


async def test_keys_change(make: Make, issuer: Issuer, clock: Clock) -> None:
    """RFC 7517 section 4.5: an unknown key id says that there are new keys."""
    tokens = make(jwks=issuer.jwks)
    for _ in range(3):
        assert await login(tokens, sign(ALICE)) == "alice@example.com"
    assert len(issuer.requests) == 1
    issuer.keys = [OTHER_RSA, EC]
    assert "no key" in await refusal(tokens, sign(ALICE, OTHER_RSA, "RS256"))
    clock.now += 30
    assert await login(tokens, sign(ALICE, OTHER_RSA, "RS256")) == "alice@example.com"
    assert await login(tokens, sign(ALICE)) == "alice@example.com"
    assert len(issuer.requests) == 2
    assert "no key" in await refusal(tokens, sign(ALICE, RSA, "RS256"))


async def test_invented_key_ids_cost_the_issuer_nothing(make: Make, issuer: Issuer, clock: Clock) -> None:
    """P-217: whoever is not logged in must not be able to make this server ask again and again."""
    tokens = make(jwks=issuer.jwks)
    for number in range(5):
        assert "no key" in await refusal(tokens, sign(ALICE, kid=f"invented-{number}"))
    assert len(issuer.requests) == 1
    clock.now += 30
    for number in range(5):
        assert "no key" in await refusal(tokens, sign(ALICE, kid=f"invented-{number}"))
    assert len(issuer.requests) == 2


async def test_logins_at_the_same_time_share_one_question(make: Make, issuer: Issuer) -> None:
    """P-217: and its outcome, so that nobody waits for the timeouts of others."""
    tokens = make(jwks=issuer.jwks)
    assert await asyncio.gather(*(login(tokens, sign(ALICE)) for _ in range(20))) == ["alice@example.com"] * 20
    assert len(issuer.requests) == 1
    with socket.create_server(("127.0.0.1", 0)) as listening:
        hanging = make(jwks=f"http://127.0.0.1:{listening.getsockname()[1]}/", timeout=0.05)
        async with asyncio.timeout(20 * 0.05):
            await asyncio.gather(*(failure(hanging, sign(ALICE)) for _ in range(40)))


async def test_a_key_that_is_withdrawn_ends(make: Make, issuer: Issuer, clock: Clock) -> None:
    """RFC 7517: the set is asked for again once in an hour, even if each key id is known."""
    tokens = make(jwks=issuer.jwks)
    token = sign({**ALICE, "exp": NOW + 90000})
    await login(tokens, token)
    issuer.keys = [RSA]
    clock.now += 3599
    await login(tokens, token)
    clock.now += 1
    assert "no key" in await refusal(tokens, token)


async def test_keys_outlive_the_issuer_for_a_day(
    make: Make, issuer: Issuer, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """P-217: an issuer that is away does not lock out those whose tokens can be verified without it."""
    tokens = make(jwks=issuer.jwks)
    token = sign({**ALICE, "exp": NOW + 900000})
    await login(tokens, token)
    issuer.broken = BROKEN["503"]
    clock.now += 86399
    await login(tokens, token)
    assert "3 keys from before go on being used" in caplog.text
    assert "503" in await failure(tokens, sign(ALICE, OTHER_RSA, "RS256"))  # it may be a new key
    clock.now += 6
    assert "503" in await failure(tokens, token)


# Secrets, texts, life and death


def shown(error: BaseException) -> str:
    """Return all that a log could show of an exception."""
    return "".join(traceback.format_exception(error)) + repr(error) + str(error) + repr(error.__cause__)


@pytest.mark.parametrize(
    "echo",
    [
        b"HTTP/9.9 %s\r\n\r\n",
        b"%s\r\n\r\n",
        b"HTTP/1.1 200 %s\r\nContent-Length: 2\r\n\r\n[]",
        b"HTTP/1.1 302 Found\r\nLocation: /?%s\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: %s\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%s\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n%s",
        b"HTTP/1.1 500 Broken\r\nContent-Length: 5\r\n\r\n%s",
    ],
)
async def test_an_issuer_that_repeats_the_token(make: Make, caplog: pytest.LogCaptureFixture, echo: bytes) -> None:
    """P-217: never logged, even if it comes back where a library, or its exception, would quote it."""
    caplog.set_level("DEBUG")
    token = secrets.token_hex(20)

    async def repeat(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"token=")
        writer.write(echo % await reader.readexactly(len(token)))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(repeat, "127.0.0.1", 0) as server:
        tokens = make(introspection=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", **CLIENT)
        with pytest.raises(TemporaryFailure) as caught:
            await login(tokens, token)
    for text in (shown(caught.value), caplog.text):
        assert token not in text
        assert "s3cret" not in text


async def test_nothing_secret_is_told(
    way: Way, make: Make, issuer: Issuer, caplog: pytest.LogCaptureFixture, clock: Clock
) -> None:
    """P-217, P-287: neither token nor secret, nor a part of them, in logs of whatever level or in exceptions."""
    caplog.set_level("DEBUG")
    tokens = make(**way.settings, scope="mail", cache=30)
    good = way.issue({**ALICE, "sub": "confidential"})
    bad = [
        way.issue({**ALICE, **change}) for change in ({"exp": 1}, {"aud": "confidential"}, {"scope": "confidential"})
    ]
    bad += [
        way.issue({**ALICE, "email": "/confidential"}),
        sign(ALICE, kid="confidential"),
        sign(ALICE, RSA, "RS256")[:-9],
    ]
    bad += [
        "confidential.confidential.confidential",
        "confidential",
        "confidential token",
        sign(ALICE, typ="confidential"),
    ]
    await login(tokens, good)
    texts = []
    for token in bad:
        with pytest.raises(AuthenticationFailed) as caught:
            await login(tokens, token)
        texts.append(shown(caught.value))
    clock.now += 86400
    issuer.broken = Answer(500, {}, good.encode("ascii"))
    with pytest.raises((AuthenticationFailed, TemporaryFailure)) as broken:
        await login(tokens, good)
    texts += [shown(broken.value), caplog.text, repr(tokens), str(tokens)]
    secret = [
        "confidential",
        CLIENT_SECRET,
        "s3cret",
        "czNjcmV0",
        *good.split("."),
        *(part for t in bad[:4] for part in t.split(".")),
    ]
    for text in texts:
        assert [part for part in secret if part in text] == []


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_it_is_made_before_the_loop(way: Way, clock: Clock, loop_factory: Callable[[], Any]) -> None:
    """P-217: workers are forked from what made the authenticator, and each has its own loop and connections."""
    tokens = Tokens(**way.settings, issuer=NAME, audience="pop3", clock=clock)

    async def once() -> str:
        try:
            return await login(tokens, way.issue(ALICE))
        finally:
            await tokens.aclose()

    for _ in range(2):
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            assert runner.run(once()) == "alice@example.com"


def test_workers_are_forked(issuer: Issuer) -> None:
    """P-217: an authenticator that two processes share by fork works in both."""
    token = issuer.issue(ALICE)
    program = f"""
import asyncio, os, sys
from restante.auth import Bearer
from restante.authenticators.tokens import Tokens
tokens = Tokens(introspection={issuer.introspection!r}, client_id={CLIENT_ID!r}, client_secret={CLIENT_SECRET!r},
                clock=lambda: {NOW})
async def once():
    os.write(1, (await tokens.authenticate(Bearer("", {token!r}))).user.encode() + b"\\n")
    await tokens.aclose()
child = os.fork()
asyncio.run(once())
if child:
    os.waitpid(child, 0)
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True)
    assert (done.stdout.split(), done.stderr) == (["alice@example.com"] * 2, "")


SETTINGS: list[tuple[dict[str, Any], str]] = [
    ({}, "introspection or jwks"),
    ({"introspection": "https://a/", "jwks": "https://a/", **CLIENT}, "introspection or jwks"),
    ({"introspection": "https://a/"}, "client_id"),
    ({"introspection": "https://a/", "client_id": "x"}, "client_secret"),
    ({"introspection": "https://a/", **CLIENT, "client_secret_file": "x"}, "client_secret"),
    (
        {"introspection": "https://a/", "client_id": "x", "client_secret_file": "/missing"},
        "client_secret_file: /missing",
    ),
    ({"introspection": "https://a/", "client_id": "x", "client_secret_file": os.devnull}, "client_secret_file"),
    ({"introspection": "https://a/", "client_id": "x", "client_secret_file": sys.executable}, "client_secret_file"),
    ({"introspection": "ftp://a/", **CLIENT}, "introspection is an address"),
    ({"introspection": "/path", **CLIENT}, "introspection is an address"),
    ({"introspection": "https:///x", **CLIENT}, "introspection is an address"),
    ({"introspection": "https://a:99999/", **CLIENT}, "introspection is an address"),
    ({"introspection": "https://[a/", **CLIENT}, "introspection is an address"),
    ({"introspection": "https://u:p@a/", **CLIENT}, "introspection is an address"),
    ({"introspection": "http://issuer.example/", **CLIENT}, "introspection: http"),
    ({"introspection": "http://127.0.0.1.example/", **CLIENT}, "introspection: http"),
    ({"jwks": "http://192.0.2.1/", "issuer": "i", "audience": "a"}, "jwks: http"),
    ({"jwks": "file:///etc/keys", "issuer": "i", "audience": "a"}, "jwks is an address"),
    ({"jwks": "/keys", "issuer": "i"}, "jwks needs issuer and audience"),
    ({"jwks": "/keys", "audience": "a"}, "jwks needs issuer and audience"),
    ({"jwks": "/keys", "issuer": "i", "audience": [""]}, "audience"),
    ({"jwks": "/keys", "issuer": "i", "audience": "a", "claim": []}, "claim"),
    ({"jwks": "/keys", "issuer": "i", "audience": "a", "claim": ""}, "claim"),
    ({"jwks": "/keys", "issuer": "i", "audience": "a", "algorithms": []}, "algorithms"),
    ({"jwks": "/keys", "issuer": "i", "audience": "a", "algorithms": ["none"]}, "algorithms"),
    ({"jwks": "/keys", "issuer": "i", "audience": "a", "algorithms": ["ES256", "HS256"]}, "algorithms"),
    ({"jwks": "/keys", "issuer": "i", "audience": "a", "timeout": 0}, "timeout"),
    ({"jwks": "/keys", "issuer": "i", "audience": "a", "timeout": float("nan")}, "timeout"),
    ({"jwks": "/keys", "issuer": "i", "audience": "a", "cache": -1}, "cache"),
    ({"jwks": "/keys", "issuer": "i", "audience": "a", "ca": "/missing"}, "ca: /missing"),
    ({"jwks": "/keys", "issuer": "i", "audience": "a", "ca": os.devnull}, "ca: "),
]


@pytest.mark.parametrize(("settings", "problem"), SETTINGS, ids=str)
def test_settings_that_are_wrong(settings: dict[str, Any], problem: str) -> None:
    """CONTRIBUTING.md: one line that names what is wrong, and never shows the secret (P-287)."""
    with pytest.raises(ValueError, match=problem) as caught:
        Tokens(**settings)
    assert "\n" not in str(caught.value)
    assert CLIENT_SECRET not in shown(caught.value)


@pytest.mark.parametrize(
    "url", ["http://localhost:1/", "http://127.0.0.2/", "http://[::1]:80/", "https://issuer.example"]
)
def test_addresses_that_are_right(url: str) -> None:
    """RFC 7662 section 4: TLS, except where nothing leaves this host."""
    Tokens(introspection=url, **CLIENT)


@pytest.mark.parametrize("missing", ["httpx2", "joserfc"])
def test_without_the_extra(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    """A core install has not these libraries, and says what to do."""
    monkeypatch.setitem(sys.modules, missing, None)
    for name in [name for name in sys.modules if name.startswith(("joserfc.", "restante.authenticators.oauth"))]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ValueError, match=r"kind = \"oauth\" needs the extra: pip install 'restante\[oauth\]'"):
        Tokens(jwks="/keys", issuer=NAME, audience="pop3")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
headers = st.fixed_dictionaries(
    {},
    optional={
        name: json_values | st.sampled_from(["ES256", "ec", "JWT"]) for name in ("alg", "kid", "typ", "crit", "b64")
    },
)


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    """Hypothesis wants the same for each example."""
    return Tokens(jwks=key_file(tmp_path_factory.mktemp("keys")), issuer=NAME, audience="pop3", clock=Clock())


@given(header=json_values | headers, payload=st.binary(max_size=60), signature=st.binary(max_size=70))
def test_whatever_is_sent_is_refused(lasting: Tokens, header: object, payload: bytes, signature: bytes) -> None:
    """P-039: nothing that a stranger can write ends in another exception."""
    parts = (json.dumps(header).encode("ascii"), payload, signature)
    asyncio.run(refusal(lasting, ".".join(unpadded(part) for part in parts)))


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1))
def test_whatever_is_no_token_is_refused(lasting: Tokens, token: str) -> None:
    """P-039: the same for octets that are no token at all."""
    asyncio.run(refusal(lasting, token))


def test_headers_that_are_nested_too_deeply(lasting: Tokens) -> None:
    """P-039: the same for what exhausts the parser."""
    for opening in (b"[", b'{"a":'):
        asyncio.run(refusal(lasting, f"{unpadded(opening * 5000)}.."))
