"""What a session asks of the world."""

from dataclasses import dataclass
from typing import NamedTuple

from restante.auth import Credentials, Proven
from restante.protocol.sasl.exchange import FindRecord

__all__ = ["Event", "FindRecord", "Login", "Pause", "Retrieve", "StartTLS", "Statistics", "Update"]


class Login(NamedTuple):
    """Who is this?  Answer with `Session.login_succeeded` or `Session.refused`."""

    credentials: Credentials | Proven
    mechanism: str
    """``USER``, ``APOP`` or the name of a SASL mechanism, for the log."""


class StartTLS(NamedTuple):
    """Begin a TLS handshake; what was to be sent is to be sent first.  Answer with `Session.tls_started`."""

    leftover: bytes
    """Octets that came with STLS.  They never count inside TLS: they are the handshake's, or the end (P-232)."""


class Retrieve(NamedTuple):
    """Give me that message.

    Answer with `Session.message_follows`, `Session.message_data` for each piece and
    `Session.message_complete`; or with `Session.refused`.
    """

    number: int
    lines: int | None
    """Lines of the body that TOP asked for; None for RETR."""


class Update(NamedTuple):
    """Apply the deletions.  Answer with `Session.updated` or `Session.refused`."""

    deleted: frozenset[int]


class Pause(NamedTuple):
    """Look at nothing more for that many seconds.  Answer with `Session.resumed`."""

    seconds: float


Event = Login | FindRecord | StartTLS | Retrieve | Update | Pause


@dataclass(slots=True)
class Statistics:
    """What a session has done, for its log line (P-288)."""

    retr: int = 0
    retr_octets: int = 0
    top: int = 0
    top_octets: int = 0
    deleted: int = 0
    left: int = 0
