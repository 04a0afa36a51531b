"""What a session asks of the world, and the limits it keeps by itself."""

from dataclasses import dataclass
from typing import NamedTuple

from restante.auth import Credentials


class Login(NamedTuple):
    """Who is this?  Answer with `Session.login_succeeded` or `Session.refused`."""

    credentials: Credentials


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


Event = Login | Retrieve | Update | Pause


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """What a session puts up with."""

    line: int = 4096
    """Longest command line, in octets (P-011: 255 are promised, more is tolerated)."""
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


@dataclass(slots=True)
class Statistics:
    """What a session has done, for its log line (P-288)."""

    retr: int = 0
    retr_octets: int = 0
    top: int = 0
    top_octets: int = 0
    deleted: int = 0
    left: int = 0
