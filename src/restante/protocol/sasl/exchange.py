"""What mechanisms and whoever drives them share."""

from collections.abc import Callable, Generator, Mapping
from typing import NamedTuple

from restante.auth import Credentials, Kind, Proven, ScramRecord
from restante.errors import CommandError
from restante.saslprep import prepared


class FindRecord(NamedTuple):
    """Give me the SCRAM record of that user.  Answer with `Session.record_found` or `Session.refused`."""

    user: str
    kind: Kind


Exchange = Generator[bytes | FindRecord | Credentials | Proven, "bytes | ScramRecord | None", None]
"""See `restante.protocol.sasl`."""


class Context(NamedTuple):
    """What mechanisms know of the connection."""

    hostname: str
    """Our own name, for challenges."""
    host: str
    """The name the client connected to, as far as TLS tells it (SNI); ``""``: unknown."""
    bindings: Mapping[str, bytes]
    """Channel binding data by type (RFC 5056); empty without TLS."""
    plus: bool
    """Mechanisms with channel binding are announced."""
    identities: tuple[str, ...]
    """Names that the client certificate vouches for, the first being the default (P-201)."""
    token: Callable[[], str]
    """Makes a fresh random word of printable ASCII without comma, 128 bits at least."""
    oauth_challenge: Mapping[str, str]
    """What a refused token is told besides its status (RFC 7628 section 3.2.2)."""


class Cancelled(CommandError):
    """The client sent ``*`` (P-187)."""

    def __init__(self) -> None:
        super().__init__("authentication cancelled")


def malformed(mechanism: str) -> CommandError:
    """Make the error for a message that is not what the mechanism prescribes; it has no code (P-179)."""
    return CommandError("that is not what a {mechanism} message looks like", mechanism=mechanism)


def text(octets: bytes, mechanism: str) -> str:
    """Decode a message that is UTF-8 without NUL.

    Raises:
        CommandError: it is not.
    """
    try:
        decoded = octets.decode("utf-8")
    except UnicodeDecodeError:
        raise malformed(mechanism) from None
    if "\0" in decoded:
        raise malformed(mechanism)
    return decoded


def name(raw: str) -> str:
    """Prepare a user name; one that cannot be a name becomes ``""``, which no account has (P-202)."""
    try:
        return prepared(raw)
    except ValueError:
        return ""


def same(authorization: str, user: str) -> bool:
    """Acting as somebody else is not offered: say whether an authorization identity is no other (P-193)."""
    return not authorization or name(authorization) == user


def response(answer: bytes | ScramRecord | None) -> bytes:
    """Say that the answer to a challenge is one."""
    assert isinstance(answer, bytes)
    return answer
