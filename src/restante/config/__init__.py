"""The configuration file, and the server that is built from it.

Relative paths in the file are relative to the file.  Whatever is wrong is said in one line that names the
file, the line and what would be right.
"""

import os
import re
import socket
from collections.abc import Sequence
from pathlib import Path

from restante.auth import Authenticator
from restante.authenticators.chain import Chain
from restante.authenticators.passwd_editor import PasswdFileEditor
from restante.authenticators.passwd_file import PasswdFile
from restante.authenticators.schemes import NEW_SCHEMES
from restante.config import addresses, listeners
from restante.config.making import Maker
from restante.config.reading import ConfigurationError, Place, Source
from restante.config.settings import IntakeSettings, LimitsSettings, Pop3Settings, Settings, octets, seconds
from restante.intake.desk import Desk
from restante.maildrop import MaildropStore
from restante.protocol.languages import LANGUAGES
from restante.protocol.policy import Features, SessionLimits
from restante.protocol.sasl import MECHANISMS
from restante.protocol.scan_listing import Headers
from restante.server.guessing import Patience
from restante.server.service import Limits, Service
from restante.server.tls import Certificates
from restante.stores.memory import MemoryStore

__all__ = [
    "DEFAULT_FILES",
    "NEW_SCHEMES",
    "Configuration",
    "ConfigurationError",
    "PasswdFile",
    "PasswdFileEditor",
    "find",
    "seconds",
]

DEFAULT_FILES = (Path("restante.toml"), Path("/etc/restante/restante.toml"))

_HOSTNAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")


def find(path: Path | None, own: Path | None = None) -> Path:
    """Return the configuration file to use: the one asked for, or the first default that exists.

    Args:
        path: that was asked for.
        own: a default of somebody's own, which comes before that of the machine.

    Raises:
        ConfigurationError: there is none.
    """
    if path is not None:
        return path
    defaults = [*DEFAULT_FILES[:1], *([own.expanduser()] if own else []), *DEFAULT_FILES[1:]]
    for candidate in defaults:
        if candidate.exists():
            return candidate
    names = " nor ".join(str(candidate) for candidate in defaults)
    raise ConfigurationError(
        f"no configuration: there is neither {names}; name one with --config, or make one with `restante init DIR`"
    )


class Configuration:
    """A configuration file that has been read and found right.

    Args:
        path: of the file.
        previous: an earlier reading of it, of which the unchanged user tables and stores are kept.
        secrets: read the files that only the server itself may read, too: keys of certificates and of token services.

    Raises:
        ConfigurationError: something is wrong with it.
    """

    def __init__(self, path: Path, previous: "Configuration | None" = None, *, secrets: bool = True) -> None:
        self._source = Source(path)
        self._secrets = secrets
        settings = self._source.convert((), self._source.data, Settings)
        self.settings = settings
        """What the file says."""
        self.hostname = self._hostname(settings.hostname)
        self._maker = Maker(self._source, self.hostname)
        self.certificates: Certificates | None = None
        secure = settings.tls is not None
        if settings.tls is not None and secrets:
            self.certificates = self._maker.certificates(settings.tls)
        self.listeners = [
            listeners.make(self._source, index, data, tls=secure) for index, data in enumerate(settings.listener)
        ]
        if not self.listeners:
            raise self._source.error((), 'no [[listener]]; one with protocol = "pop3" is needed')
        self.passwd_files: list[Path]
        """Files of the passwd-file tables, in order: the first is the one that `restante user` edits."""
        self.authenticators: list[Authenticator]
        self.oauth_challenge: dict[str, str]
        """What a refused token is told (RFC 7628 section 3.2.2)."""
        self._make_authenticators(previous)
        self.store: MaildropStore
        self.expire: int | None
        """Days for which the store keeps messages; None: for ever."""
        self.login_delay: int
        """Seconds between two logins to one maildrop."""
        self._make_store(previous)
        rules = addresses.rules(self._source, self.hostname, settings.addresses)
        every = len(self.authenticators) == len(settings.auth)
        self.addressing = addresses.make(rules, self.authenticators, self.store, every=every)
        """Who is meant by a login name or an address."""
        self.desk = self._desk()
        """Where mail is handed in."""
        self.workers = self._workers(settings.workers)
        self._limits = self._source.convert(("limits",), settings.limits, LimitsSettings)
        self._pop3 = self._source.convert(("pop3",), settings.pop3, Pop3Settings)
        self._mechanisms = self._named_mechanisms(self._pop3.mechanisms)
        if self._pop3.language not in LANGUAGES:
            right = ", ".join(f'"{tag}"' for tag in LANGUAGES)
            text = f'language: "{self._pop3.language}" is not known; right are {right}'
            raise self._source.error(("pop3", "language"), text)

    def service(self) -> Service:
        """Return what the listeners offer."""
        limits, pop3 = self._limits, self._pop3
        one = len(self.authenticators) == 1
        features = Features(
            self.hostname,
            expire=self.expire,
            login_delay=self.login_delay,
            headers=Headers(pop3.headers),
            language=pop3.language,
            oauth_challenge=self.oauth_challenge,
            limits=SessionLimits(login_attempts=limits.login_attempts),
        )
        return Service(
            features,
            self.authenticators[0] if one else Chain(self.authenticators),
            self.store,
            Limits(
                idle_timeout=limits.idle_timeout,
                handshake=limits.handshake_timeout,
                connections=limits.connections,
                connections_per_address=limits.connections_per_address,
                connections_before_login=limits.connections_before_login,
                stop_grace=limits.stop_grace,
                patience=Patience(
                    delay=limits.failure_delay, longest=max(limits.failure_delay, limits.longest_failure_delay)
                ),
            ),
            certificates=self.certificates,
            mechanisms=self._mechanisms,
            apop=pop3.apop,
            addressing=self.addressing,
            desk=self.desk,
        )

    def _desk(self) -> Desk:
        place: Place = ("intake",)
        settings = self._source.convert(place, self.settings.intake, IntakeSettings)
        try:
            size = octets(settings.message_size)
        except ValueError as error:
            raise self._source.error((*place, "message_size"), f"message_size: {error}") from None
        return Desk(
            self.hostname,
            self.store,
            self.addressing,
            size=size,
            recipients=settings.recipients,
            full_is_final=settings.full == "refuse",
        )

    async def address_problems(self) -> list[str]:
        """Say which aliases lead nowhere, a line each, file and line first.

        Raises:
            TemporaryFailure: the accounts cannot be read now.
        """
        found = await self.addressing.problems()
        return [str(self._source.error(("addresses", "aliases", key), f"{key}: {text}")) for key, text in found]

    def _make_authenticators(self, previous: "Configuration | None") -> None:
        if previous is not None and previous.settings.auth == self.settings.auth:
            self.authenticators = previous.authenticators
            self.passwd_files = previous.passwd_files
            self.oauth_challenge = previous.oauth_challenge
            return
        self.authenticators = [
            self._maker.authenticator(index, data)
            for index, data in enumerate(self.settings.auth)
            if self._secrets or data.get("kind") != "oauth"
        ]
        if not self.settings.auth:
            raise self._source.error((), "no [[auth]] says who may log in")
        self.passwd_files = self._maker.passwd_files
        self.oauth_challenge = self._maker.oauth_challenge

    def _make_store(self, previous: "Configuration | None") -> None:
        now = (self.settings.store, self.hostname)
        if previous is not None and (previous.settings.store, previous.hostname) == now:
            self.store = previous.store
            self.expire, self.login_delay = previous.expire, previous.login_delay
        else:
            self.store, self.expire, self.login_delay = self._maker.store(self.settings.store)

    def _hostname(self, name: str) -> str:
        if not name:
            machine = socket.gethostname()
            return machine if _HOSTNAME.fullmatch(machine) else "localhost"
        if not _HOSTNAME.fullmatch(name):
            raise self._source.error(("hostname",), f'hostname: "{name}" is no host name')
        return name

    def _workers(self, wanted: int | str) -> int:
        if isinstance(self.store, MemoryStore):
            if isinstance(wanted, int) and wanted > 1:
                raise self._source.error(("workers",), 'workers: kind = "memory" can have only one')
            return 1
        return wanted if isinstance(wanted, int) else os.cpu_count() or 1

    def _named_mechanisms(self, names: Sequence[str] | None) -> frozenset[str] | None:
        if names is None:
            return None
        for name in names:
            if name.upper() not in MECHANISMS:
                text = f'mechanisms: "{name}" is not known; right are {", ".join(MECHANISMS)}'
                raise self._source.error(("pop3", "mechanisms"), text)
        return frozenset(name.upper() for name in names)
