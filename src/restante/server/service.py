"""What every connection of a server shares."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from restante.addressing import Addressing
from restante.auth import PASSWORDS_ONLY, Authenticator, Kind, Kinds, Prompt, ScramSource, Versatile
from restante.channel_binding import exporter
from restante.intake.desk import Desk
from restante.maildrop import MaildropStore, PromptStore
from restante.protocol.policy import Features, Terms
from restante.protocol.sasl import Conditions, usable
from restante.server.addresses import Networks, Peer
from restante.server.certificates import names_in
from restante.server.guessing import Patience
from restante.server.tls import Certificates, TlsFilter

CleartextLogin = Literal["never", "loopback", "always"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a server puts up with; times in seconds."""

    idle_timeout: float = 600
    """Silence of the peer that ends its session (RFC 1939 section 3: at least 600 for anyone's real mail)."""
    idle_when_full: float = 60
    """Silence before login that is enough when there is no room for others (P-138)."""
    handshake: float = 30
    """How long a PROXY header and a TLS handshake may take (P-240)."""
    connections: int = 10_000
    """Connections at a time, of all workers (P-286)."""
    connections_per_address: int = 1000
    """The same of one address, or of one /64 of IPv6."""
    connections_before_login: int = 3000
    """Those of `connections` that have not logged in."""
    stop_grace: float = 10
    """How long sessions may go on after the server was told to stop (P-294)."""
    linger: float = 2
    """How long to read on, and throw away, after an early close, so that the peer gets our last reply."""
    patience: Patience = field(default_factory=Patience)
    """How failed logins are slowed down."""


@dataclass(frozen=True)
class Service:
    """What a listener offers: who may log in, and where the mail is."""

    features: Features
    authenticator: Authenticator
    store: MaildropStore
    limits: Limits = field(default_factory=Limits)
    certificates: Certificates | None = None
    """None: there is no TLS."""
    mechanisms: frozenset[str] | None = None
    """SASL mechanisms that the configuration names; None: those that work for every account."""
    apop: bool = False
    """APOP is wanted, for the accounts that can do it (P-060)."""
    addressing: Addressing | None = None
    """Which account a login name means (P-052); None: the one of just that name."""
    desk: Desk | None = None
    """Where mail is handed in; None: there is no listener for that."""

    @cached_property
    def scram_source(self) -> ScramSource | None:
        """Who keeps SCRAM records, None for nobody."""
        return self.authenticator if isinstance(self.authenticator, ScramSource) else None

    @cached_property
    def prompt(self) -> Prompt | None:
        """Who has some answers at once, None for nobody."""
        return self.authenticator if isinstance(self.authenticator, Prompt) else None

    @cached_property
    def prompt_store(self) -> PromptStore | None:
        """The store, if it can open some maildrops at once."""
        return self.store if isinstance(self.store, PromptStore) else None

    @cached_property
    def kinds(self) -> Callable[[], Kinds]:
        """Returns what accounts can do at the moment."""
        return self.authenticator.kinds if isinstance(self.authenticator, Versatile) else lambda: PASSWORDS_ONLY

    def terms(self, cleartext_login: CleartextLogin, peer: Peer, *, stls: bool, tls: TlsFilter | None = None) -> Terms:
        """Return what a connection may do.

        Args:
            cleartext_login: whose passwords are taken without TLS (P-055).
            peer: who is connected.
            stls: the listener offers STLS.
            tls: with its handshake done; None: a connection in the clear.
        """
        kinds = self.kinds()
        secure = tls is not None or peer.tls
        passwords = secure or cleartext_login == "always" or (cleartext_login == "loopback" and peer.loopback)
        if tls is None:
            return self._in_the_clear(kinds, passwords=passwords, stls=stls, proxy=peer.tls)
        conditions = Conditions(kinds, passwords=passwords, tls=secure, bindings=False, certificate=False)
        identity = tls.identity()
        bindings = {"tls-exporter": exporter(tls.object), "tls-server-end-point": identity.end_point}
        bindings = {kind: data for kind, data in bindings.items() if data}
        identities = names_in(identity.certificate) if identity.certificate else ()
        conditions = conditions._replace(bindings=bool(bindings), certificate=bool(identities))
        return Terms(
            passwords=Kind.PASSWORD in kinds.some,
            mechanisms=usable(conditions, self.mechanisms),
            apop=self.apop and Kind.SECRET in kinds.some,
            tls=identity.tls,
            host=identity.host,
            bindings=bindings,
            identities=identities,
        )

    def _in_the_clear(self, kinds: Kinds, *, passwords: bool, stls: bool, proxy: bool) -> Terms:
        """Return the terms of connections without TLS of ours; most have the same."""
        known = kinds, passwords, stls, proxy
        if known not in self._terms:
            conditions = Conditions(kinds, passwords=passwords, tls=proxy, bindings=False, certificate=False)
            self._terms[known] = Terms(
                passwords=passwords and Kind.PASSWORD in kinds.some,
                mechanisms=usable(conditions, self.mechanisms),
                stls=stls and self.certificates is not None,
                apop=self.apop and Kind.SECRET in kinds.some,
                tls="by the proxy" if proxy else "",
            )
        return self._terms[known]

    @cached_property
    def _terms(self) -> dict[tuple[Kinds, bool, bool, bool], Terms]:
        return {}


@dataclass(frozen=True, slots=True)
class Door:
    """On what terms a listener lets people in."""

    tls: Literal["none", "starttls", "implicit"] = "none"
    cleartext_login: CleartextLogin = "loopback"
    """Whose passwords are taken without TLS (P-055)."""
    protocol: Literal["pop3", "lmtp", "smtp"] = "pop3"
    networks: Networks = ()
    """Who may bring mail by LMTP, beside loopback and UNIX sockets (D-021)."""
    proxy_networks: Networks = ()
    """From where connections begin with a PROXY header; from nowhere else may they (P-292)."""
