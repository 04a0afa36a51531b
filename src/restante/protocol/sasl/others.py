"""The mechanisms that take a step or two."""

import json
import re
from contextlib import suppress

from restante.auth import Anonymous, Bearer, CramMd5, Credentials, External, Password, Proven
from restante.errors import AuthenticationFailed, CommandError
from restante.protocol.sasl.exchange import Context, Exchange, malformed, name, response, same, text
from restante.saslprep import prepared

FIELD = 255
"""Octets of each field of PLAIN (P-194)."""
TRACE = 255
"""Characters of the trace text of ANONYMOUS (P-200)."""

_DIGEST = re.compile(r"[0-9a-f]{32}")
_GS2 = re.compile(r"[ny],(?:a=([^,]*))?,")


def plain(initial: bytes | None, _: Context) -> Exchange:
    """PLAIN: [authzid] NUL authcid NUL password, in UTF-8 (RFC 4616, P-194)."""
    message = initial if initial is not None else response((yield b""))
    fields = message.split(b"\0", 3)  # one more than there may be
    if len(fields) != 3 or any(len(field) > FIELD for field in fields):
        raise malformed("PLAIN")
    authorization, user, password = (text(field, "PLAIN") for field in fields)
    if not user or not password:  # P-037: an empty password is never passed on
        raise malformed("PLAIN")
    yield _password(user, password, authorization)


def login(initial: bytes | None, _: Context) -> Exchange:
    """LOGIN: two prompts, from a draft that has long expired (P-221, P-195)."""
    if initial is not None:
        raise CommandError("{mechanism} takes no initial response", mechanism="LOGIN")
    user = text(response((yield b"Username:")), "LOGIN")
    password = text(response((yield b"Password:")), "LOGIN")
    if not user or not password:
        raise malformed("LOGIN")
    yield _password(user, password)


def _password(user: str, password: str, authorization: str = "") -> Credentials | Proven:
    """Return prepared credentials; what cannot be prepared fails like any wrong password (P-202)."""
    try:
        user = prepared(user)
        octets = prepared(password).encode()
    except ValueError:
        return Proven(user, None)
    return Password(user, octets) if same(authorization, user) else Proven(user, None)


def cram_md5(initial: bytes | None, context: Context) -> Exchange:
    """CRAM-MD5 (RFC 2195, P-220): a fresh challenge in the form of a message id."""
    if initial is not None:
        raise CommandError("{mechanism} takes no initial response", mechanism="CRAM-MD5")
    challenge = f"<{context.token()}@{context.hostname}>".encode()
    answer = text(response((yield challenge)), "CRAM-MD5")
    user, _, digest = answer.rpartition(" ")
    if not user or not _DIGEST.fullmatch(digest):
        raise malformed("CRAM-MD5")
    yield CramMd5(name(user), challenge, digest)


def external(initial: bytes | None, context: Context) -> Exchange:
    """EXTERNAL: the TLS client certificate says who this is (RFC 4422 appendix A, P-201)."""
    wanted = text(initial if initial is not None else response((yield b"")), "EXTERNAL")
    if not wanted:
        wanted = context.identities[0]
    user = name(wanted)
    yield External(user) if user in context.identities else Proven(user, None)


def anonymous(initial: bytes | None, _: Context) -> Exchange:
    """ANONYMOUS: an optional trace text, which proves nothing (RFC 4505, P-200)."""
    trace = text(initial if initial is not None else response((yield b"")), "ANONYMOUS")
    if len(trace) > TRACE or not all(c.isprintable() for c in trace):
        raise malformed("ANONYMOUS")
    yield Anonymous(trace)


def oauthbearer(initial: bytes | None, context: Context) -> Exchange:
    """OAUTHBEARER: a GS2 header, then key=value pairs between 0x01 (RFC 7628 section 3.1, P-215)."""
    message = text(initial if initial is not None else response((yield b"")), "OAUTHBEARER")
    if message == "\x01":  # what a client sends to end an exchange that has failed: a plain failure
        yield Proven("", None)
    else:
        header = _GS2.match(message)
        if header is None or message[header.end() : header.end() + 1] != "\x01" or not message.endswith("\x01\x01"):
            raise malformed("OAUTHBEARER")
        user = (header[1] or "").replace("=2C", ",").replace("=3D", "=")
        refusal = {"status": "invalid_token"} | {key: value for key, value in context.oauth_challenge.items() if value}
        yield from _bearer(user, _pairs(message[header.end() :]), context, refusal)


def xoauth2(initial: bytes | None, context: Context) -> Exchange:
    """XOAUTH2, the older form of the same, as Google and Microsoft have it (P-216)."""
    message = text(initial if initial is not None else response((yield b"")), "XOAUTH2")
    pairs = _pairs(message)
    if "user" not in pairs or not message.endswith("\x01\x01"):
        raise malformed("XOAUTH2")
    refusal = {"status": "401", "schemes": "bearer", "scope": context.oauth_challenge.get("scope", "")}
    yield from _bearer(pairs["user"], pairs, context, refusal)


def _pairs(message: str) -> dict[str, str]:
    """Read key=value pairs; those that nobody knows do no harm."""
    pairs = (pair.partition("=") for pair in message.split("\x01"))
    return {key.lower(): value for key, equals, value in pairs if equals}


def _bearer(user: str, pairs: dict[str, str], context: Context, refusal: dict[str, str]) -> Exchange:
    """Have a token checked; a refused one gets a challenge that says why, and only then the negative reply."""
    scheme, _, token = pairs.get("auth", "").partition(" ")
    claimed = name(user)
    right = scheme.lower() == "bearer" and bool(token.strip()) and bool(claimed or not user)
    if context.host and pairs.get("host", context.host).lower() != context.host.lower():
        right = False  # meant for another server, which may have passed it on
    try:
        yield Bearer(claimed, token.strip()) if right else Proven(user, None)
    except AuthenticationFailed:
        # Whatever the client says to the challenge, even nothing that is base64, is the end of it.
        with suppress(CommandError):
            yield json.dumps(refusal).encode()
        raise
