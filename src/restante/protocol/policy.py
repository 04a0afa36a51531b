"""What a session may do: fixed by the configuration, or by the connection."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from restante.protocol.scan_listing import Headers


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """What a session puts up with."""

    line: int = 4096
    """Longest command line, in octets (P-011: 255 are promised, more is tolerated)."""
    sasl_line: int = 65536
    """The same for AUTH and the lines of a SASL exchange, which may carry long tokens (P-192)."""
    dropped: int = 65536
    """Octets of longer lines that are read and dropped before the session ends (P-011)."""
    output: int = 65536
    """Octets waiting to be sent at which nothing more is parsed (P-277)."""
    turn: int = 100
    """Commands, or slices of a listing, before others have their turn (P-295)."""
    login_attempts: int = 5
    """Failed logins before the session ends (P-045)."""
    bad_before_login: int = 20
    """Bad commands in a row that end the session in AUTHORIZATION (P-025)."""
    bad_after_login: int = 50
    """The same in TRANSACTION."""
    pause_from: int = 10
    """From this bad command in a row on, the next command waits (P-025)."""
    pause: float = 0.5
    """How long it waits, in seconds."""


@dataclass(frozen=True, slots=True)
class Features:
    """What the site offers, the same on each connection."""

    hostname: str
    """Shown in the greeting; printable ASCII without ``<`` and ``>`` (P-023)."""
    expire: int | None = None
    """Days that messages are kept at least (RFC 2449 section 6.7); None: for ever."""
    login_delay: int = 0
    """Seconds between two logins to one maildrop, as announced (RFC 2449 section 6.5); 0: none."""
    headers: Headers = Headers.SURROGATE
    """What a client that has not said UTF8 gets of headers that are not ASCII (P-256)."""
    language: str = "en"
    """The language that ``LANG *`` chooses; a session that has said nothing is answered in English."""
    oauth_challenge: Mapping[str, str] = field(default_factory=dict)
    """What a refused token is told: ``scope`` and ``openid-configuration`` (RFC 7628 section 3.2.2)."""
    token: Callable[[], str] = secrets.token_hex
    """Makes a fresh random word of at least 128 bits: letters and digits."""
    limits: SessionLimits = field(default_factory=SessionLimits)


class Terms(NamedTuple):
    """What the connection allows before login; TLS brings new ones."""

    passwords: bool = True
    """USER and PASS are taken (P-055)."""
    mechanisms: tuple[str, ...] = ()
    """SASL mechanisms that work now (P-161)."""
    stls: bool = False
    """STLS may be used (P-154)."""
    apop: bool = False
    """The greeting has a timestamp (P-060)."""
    tls: str = ""
    """Version and cipher of TLS, for the log; empty without."""
    host: str = ""
    """The name the client asked TLS for (SNI)."""
    bindings: Mapping[str, bytes] = {}
    """Channel binding data by type (P-210)."""
    identities: tuple[str, ...] = ()
    """Names that an accepted client certificate vouches for (P-201)."""
