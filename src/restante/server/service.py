"""What every connection of a server shares."""

from dataclasses import dataclass, field

from restante.auth import Authenticator
from restante.maildrop import MaildropStore
from restante.protocol.events import SessionLimits


@dataclass(frozen=True, slots=True)
class Limits:
    """What a server puts up with; times in seconds."""

    idle_timeout: float = 600
    """Silence of the peer that ends its session (RFC 1939 section 3: at least 600 for anyone's real mail)."""
    failure_delay: float = 1
    """How long the first failed login of a connection waits for its answer; each further one twice as long."""
    stop_grace: float = 10
    """How long sessions may go on after the server was told to stop (P-294)."""
    linger: float = 2
    """How long to read on, and throw away, after an early close, so that the peer gets our last reply."""
    session: SessionLimits = field(default_factory=SessionLimits)


@dataclass(frozen=True, slots=True)
class Service:
    """What a listener offers: who may log in, and where the mail is."""

    hostname: str
    authenticator: Authenticator
    store: MaildropStore
    limits: Limits = field(default_factory=Limits)
