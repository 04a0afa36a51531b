"""SASL mechanisms as small state machines (RFC 4422, RFC 5034).

A mechanism is a generator.  It yields what it needs and is sent the answer:

=====================  ====================================================
it yields              it is sent
=====================  ====================================================
``bytes``              a challenge: the client's response, decoded
`FindRecord`           the `ScramRecord` of that user
credentials            nothing: the exchange is over, unless they are refused,
                       which is thrown into the generator as the condition
=====================  ====================================================

Whatever condition leaves the generator is the reply.  Malformed input is a `CommandError`, which has no response
code; only what is wrong with the credentials has one (P-179).
"""

import base64
import functools
from collections.abc import Callable
from typing import NamedTuple

from restante.auth import Kind, Kinds
from restante.errors import CommandError
from restante.protocol.sasl import others, scram
from restante.protocol.sasl.exchange import Cancelled, Context, Exchange, FindRecord, name

__all__ = [
    "MECHANISMS",
    "Cancelled",
    "Conditions",
    "Context",
    "Exchange",
    "FindRecord",
    "Mechanism",
    "decode",
    "encode",
    "name",
    "usable",
]


class Mechanism(NamedTuple):
    """A row of the table of mechanisms."""

    begin: Callable[[bytes | None, Context], Exchange]
    """Takes the initial response, None if there was none."""
    needs: Kind
    """What the accounts must be able to do."""
    shows_password: bool = False
    """Whoever listens has the password or the token: only where passwords are taken (P-055)."""
    tls_only: bool = False
    binding: bool = False
    """Needs a channel binding."""
    certificate: bool = False
    """Needs a client certificate (P-201)."""
    named_only: bool = False
    """Off unless the configuration names it."""


MECHANISMS = {
    "SCRAM-SHA-256-PLUS": Mechanism(scram.sha_256_plus, Kind.SCRAM_SHA_256, binding=True),
    "SCRAM-SHA-1-PLUS": Mechanism(scram.sha_1_plus, Kind.SCRAM_SHA_1, binding=True),
    "SCRAM-SHA-256": Mechanism(scram.sha_256, Kind.SCRAM_SHA_256),
    "SCRAM-SHA-1": Mechanism(scram.sha_1, Kind.SCRAM_SHA_1),
    "OAUTHBEARER": Mechanism(others.oauthbearer, Kind.BEARER, shows_password=True, tls_only=True),
    "XOAUTH2": Mechanism(others.xoauth2, Kind.BEARER, shows_password=True, tls_only=True),
    "EXTERNAL": Mechanism(others.external, Kind.EXTERNAL, tls_only=True, certificate=True),
    "PLAIN": Mechanism(others.plain, Kind.PASSWORD, shows_password=True),
    "LOGIN": Mechanism(others.login, Kind.PASSWORD, shows_password=True, tls_only=True),
    "CRAM-MD5": Mechanism(others.cram_md5, Kind.SECRET, named_only=True),
    "ANONYMOUS": Mechanism(others.anonymous, Kind.ANONYMOUS),
}
"""All mechanisms, the best first."""


class Conditions(NamedTuple):
    """What decides which mechanisms work on a connection (P-161)."""

    kinds: Kinds
    passwords: bool
    """Passwords may be shown: there is TLS, or the policy allows it without (P-055)."""
    tls: bool
    bindings: bool
    certificate: bool


@functools.lru_cache(64)
def usable(conditions: Conditions, named: frozenset[str] | None) -> tuple[str, ...]:
    """Return the names of the mechanisms that work, the best first.

    Args:
        conditions: of this connection.
        named: the only ones that the configuration wants, for accounts that can use them; None: those that work for
            every account, so that no client chooses one in vain.
    """

    able = conditions.kinds.every if named is None else conditions.kinds.some

    def works(name: str, mechanism: Mechanism) -> bool:
        return (
            mechanism.needs in able
            and (not mechanism.named_only if named is None else name in named)
            and (conditions.passwords or not mechanism.shows_password)
            and (conditions.tls or not mechanism.tls_only)
            and (conditions.bindings or not mechanism.binding)
            and (conditions.certificate or not mechanism.certificate)
        )

    return tuple(name for name, mechanism in MECHANISMS.items() if works(name, mechanism))


def decode(line: bytes) -> bytes:
    """Decode strict base64 (RFC 5034 section 4, P-188).

    Raises:
        CommandError: an octet outside the alphabet, padding in the wrong place, bits left over.
    """
    try:
        octets = base64.b64decode(line)
        strict = base64.b64encode(octets) == line  # each sequence of octets has one encoding, and no other counts
    except ValueError:
        strict = False
    if not strict:
        raise CommandError("that is not base64")
    return octets


def encode(challenge: bytes) -> bytes:
    """Return the line that carries a challenge; an empty one is ``+``, SP, CR, LF exactly (P-186, P-199)."""
    return b"+ %b\r\n" % base64.b64encode(challenge)
