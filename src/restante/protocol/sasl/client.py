"""The client's side of SASL mechanisms.

A mechanism is a generator: it yields a response and is sent the next challenge, both without base64.  It begins with
its initial response, or with None if the server speaks first.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Generator, Mapping
from typing import NamedTuple

from restante.saslprep import prepared

Steps = Generator[bytes | None, bytes, None]
MAX_ITERATIONS = 10_000_000
"""Of SCRAM: a server may not keep us busy for ever (K-020)."""
_NAMES = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-1": "sha1"}
_SERVER_FIRST = re.compile(r"r=([!-+\--~]+),s=([A-Za-z0-9+/=]+),i=([1-9][0-9]{0,9})(?:,[A-Za-ln-z]=[^,]*)*")
_SERVER_FINAL = re.compile(r"v=([A-Za-z0-9+/=]+)(?:,.*)?")


class Untrusted(Exception):
    """The server does not do what one that knows the password would do; the text says what."""


class Secret(NamedTuple):
    """Who logs in, and by what."""

    user: str
    password: bytes = b""
    token: str = ""
    """Of OAuth2."""
    host: str = ""
    port: int = 0


class Channel(NamedTuple):
    """What a mechanism may know of the connection."""

    bindings: Mapping[str, bytes]
    """Channel binding data by type, the best first; empty without TLS."""
    announced: frozenset[str]
    """Mechanisms that the server has announced."""
    nonce: Callable[[], str]
    """Makes a fresh random word of printable ASCII without comma, 128 bits at least."""


def plain(secret: Secret, _channel: Channel) -> Steps:
    """PLAIN (RFC 4616)."""
    yield b"\0" + secret.user.encode() + b"\0" + secret.password


def login(secret: Secret, _channel: Channel) -> Steps:
    """LOGIN, which no RFC has."""
    yield None
    yield secret.user.encode()
    yield secret.password


def external(_secret: Secret, _channel: Channel) -> Steps:
    """EXTERNAL: who we are is what our certificate says (RFC 4422 appendix A)."""
    yield b""


def xoauth2(secret: Secret, _channel: Channel) -> Steps:
    """XOAUTH2, as Google and Microsoft have it; a challenge tells why a token is not taken."""
    yield b"user=%s\1auth=Bearer %s\1\1" % (secret.user.encode(), secret.token.encode())
    yield b""


def oauthbearer(secret: Secret, _channel: Channel) -> Steps:
    """OAUTHBEARER (RFC 7628)."""
    user = secret.user.replace("=", "=3D").replace(",", "=2C")
    first = f"n,a={user},\1host={secret.host}\1port={secret.port}\1auth=Bearer {secret.token}\1\1"
    yield first.encode()
    yield b"\1"


def scram(name: str, secret: Secret, channel: Channel) -> Steps:
    """SCRAM-SHA-256, SCRAM-SHA-1, and with ``-PLUS`` (RFC 5802, RFC 7677).

    Raises:
        Untrusted: the server does not prove that it knows the password, or does not keep to the protocol (K-020).
    """
    plus = name.endswith("-PLUS")
    algorithm = _NAMES[name.removesuffix("-PLUS")]
    header, data = _gs2(channel, plus=plus)
    nonce = channel.nonce()
    user = prepared(secret.user).replace("=", "=3D").replace(",", "=2C")
    bare = f"n={user},r={nonce}"
    server_first = _text((yield (header + bare).encode()))
    match = _SERVER_FIRST.fullmatch(server_first)
    if match is None:
        raise Untrusted("its first message is not one of SCRAM")
    if not match[1].startswith(nonce) or match[1] == nonce:
        raise Untrusted("it does not repeat our nonce")
    iterations = int(match[3])
    if iterations > MAX_ITERATIONS:
        raise Untrusted(f"it wants {iterations} iterations, more than {MAX_ITERATIONS}")
    without_proof = f"c={_b64(header.encode() + data)},r={match[1]}"
    message = f"{bare},{server_first},{without_proof}".encode()
    salted = hashlib.pbkdf2_hmac(algorithm, _prepared(secret.password), _unb64(match[2]), iterations)
    client_key = hmac.digest(salted, b"Client Key", algorithm)
    signature = hmac.digest(hashlib.new(algorithm, client_key).digest(), message, algorithm)
    proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
    server_final = _text((yield f"{without_proof},p={_b64(proof)}".encode()))
    expected = hmac.digest(hmac.digest(salted, b"Server Key", algorithm), message, algorithm)
    final = _SERVER_FINAL.fullmatch(server_final)
    if final is None or not hmac.compare_digest(_unb64(final[1]), expected):
        raise Untrusted("it does not know the password either")
    yield b""


def _gs2(channel: Channel, *, plus: bool) -> tuple[str, bytes]:
    """Return the GS2 header and what binds to the channel (RFC 5802 section 6)."""
    if plus:
        kind, data = next(iter(channel.bindings.items()))
        return f"p={kind},,", data
    # "y": we could have bound to the channel, but the server says it cannot; it will notice if it never said so.
    could = channel.bindings and not any(one.endswith("-PLUS") for one in channel.announced)
    return ("y,," if could else "n,,"), b""


def _prepared(password: bytes) -> bytes:
    """Apply SASLprep where that is possible (RFC 5802 section 2.2)."""
    try:
        return prepared(password.decode()).encode()
    except ValueError:
        return password


def _text(challenge: bytes) -> str:
    try:
        text = challenge.decode()
    except UnicodeDecodeError:
        raise Untrusted("its message is not UTF-8") from None
    if text.startswith("e="):
        raise Untrusted(f"it says: {text[2:]}")
    return text


def _b64(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


def _unb64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise Untrusted("its message is not base64") from None


def _scram(name: str) -> Callable[[Secret, Channel], Steps]:
    return lambda secret, channel: scram(name, secret, channel)


MECHANISMS: Mapping[str, Callable[[Secret, Channel], Steps]] = {
    "EXTERNAL": external,
    **{name: _scram(name) for plus in ("-PLUS", "") for name in (f"SCRAM-SHA-256{plus}", f"SCRAM-SHA-1{plus}")},
    "OAUTHBEARER": oauthbearer,
    "XOAUTH2": xoauth2,
    "PLAIN": plain,
    "LOGIN": login,
}
"""By name, the best first (K-017)."""


def usable(secret: Secret, channel: Channel, *, certificate: bool, private: bool) -> list[str]:
    """Return the mechanisms to try, the best first (K-017).

    Args:
        secret: a token leaves only the mechanisms for tokens, no password and no token only EXTERNAL.
        channel: the connection.
        certificate: the client has shown one.
        private: nobody can read what is sent.
    """
    if secret.token:
        wanted = ["OAUTHBEARER", "XOAUTH2"] if private else []
    elif secret.password:
        wanted = [one for one in MECHANISMS if one.startswith("SCRAM")] + (["PLAIN", "LOGIN"] if private else [])
        if not channel.bindings:
            wanted = [one for one in wanted if not one.endswith("-PLUS")]
    else:
        wanted = ["EXTERNAL"] if certificate else []
    return [one for one in wanted if one in channel.announced]
