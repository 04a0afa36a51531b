"""The configuration file, and the server that is built from it.

Relative paths in the file are relative to the file.  Whatever is wrong is said in one line that names the
file, the line and what would be right.
"""

import importlib
import os
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from restante.auth import Authenticator
from restante.authenticators.chain import Chain
from restante.authenticators.passwd_file import PasswdFile, PasswdFileEditor
from restante.config.reading import ConfigurationError, Place, Source
from restante.config.settings import (
    LimitsSettings,
    ListenerSettings,
    MaildirSettings,
    MemorySettings,
    PasswdFileSettings,
    Settings,
    TlsSettings,
    seconds,
)
from restante.maildrop import MaildropStore
from restante.protocol.events import SessionLimits
from restante.server.addresses import Address
from restante.server.listener import Listener
from restante.server.service import Limits, Service
from restante.stores.maildir import MaildirStore
from restante.stores.memory import MemoryStore

__all__ = ["DEFAULT_FILES", "Configuration", "ConfigurationError", "PasswdFile", "PasswdFileEditor", "find"]

DEFAULT_FILES = (Path("restante.toml"), Path("/etc/restante/restante.toml"))

_HOSTNAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}|[{}]")


def find(path: Path | None) -> Path:
    """Return the configuration file to use: the one asked for, or the first default that exists.

    Raises:
        ConfigurationError: there is none.
    """
    if path is not None:
        return path
    for candidate in DEFAULT_FILES:
        if candidate.exists():
            return candidate
    names = " nor ".join(str(candidate) for candidate in DEFAULT_FILES)
    raise ConfigurationError(
        f"no configuration: there is neither {names}; name one with --config, or make one with `restante init DIR`"
    )


class Configuration:
    """A configuration file that has been read and found right.

    Args:
        path: of the file.
        previous: an earlier reading of it, of which the unchanged user tables and stores are kept.

    Raises:
        ConfigurationError: something is wrong with it.
    """

    def __init__(self, path: Path, previous: "Configuration | None" = None) -> None:
        self._source = Source(path)
        self._folder = path.parent
        settings = self._source.convert((), self._source.data, Settings)
        self.hostname = self._hostname(settings.hostname)
        if settings.tls is not None:
            self._source.convert(("tls",), settings.tls, TlsSettings)
        self.listeners = [self._listener(index, data) for index, data in enumerate(settings.listener)]
        if not self.listeners:
            raise self._source.error((), 'no [[listener]]; one with protocol = "pop3" is needed')
        self.settings = settings
        """What the file says."""
        self.passwd_files: list[Path] = []
        """Files of the passwd-file tables, in order: the first is the one that `restante user` edits."""
        self.authenticators: list[Authenticator]
        if previous is not None and previous.settings.auth == settings.auth:
            self.authenticators = previous.authenticators
            self.passwd_files = previous.passwd_files
        else:
            self.authenticators = [self._authenticator(index, data) for index, data in enumerate(settings.auth)]
        if not self.authenticators:
            raise self._source.error((), "no [[auth]] says who may log in")
        self.store: MaildropStore
        if previous is not None and (previous.settings.store, previous.hostname) == (settings.store, self.hostname):
            self.store = previous.store
        else:
            self.store = self._store(settings.store)
        self.workers = self._workers(settings.workers)
        self._limits = self._source.convert(("limits",), settings.limits, LimitsSettings)

    def service(self) -> Service:
        """Return what the listeners offer."""
        limits = self._limits
        one = len(self.authenticators) == 1
        return Service(
            self.hostname,
            self.authenticators[0] if one else Chain(self.authenticators),
            self.store,
            Limits(
                idle_timeout=limits.idle_timeout,
                failure_delay=limits.failure_delay,
                stop_grace=limits.stop_grace,
                session=SessionLimits(login_attempts=limits.login_attempts),
            ),
        )

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

    def _listener(self, index: int, data: dict[str, Any]) -> Listener:
        place: Place = ("listener", index)
        settings = self._source.convert(place, data, ListenerSettings)
        if settings.protocol != "pop3":
            text = f'protocol: "{settings.protocol}" is not built yet; this version serves "pop3" only'
            raise self._source.error((*place, "protocol"), text)
        if settings.tls != "none":
            raise self._source.error(
                (*place, "tls"), f'tls: "{settings.tls}" is not built yet; this version has tls = "none" only'
            )
        try:
            address = Address.parse(settings.address)
        except ValueError as error:
            raise self._source.error((*place, "address"), f"address: {error}") from None
        if address.path:
            address = address._replace(path=str(self._folder / address.path))
        return Listener(address, settings.cleartext_login)

    def _authenticator(self, index: int, data: dict[str, Any]) -> Authenticator:
        place: Place = ("auth", index)
        kind = self._kind(place, data, ["passwd-file"])
        if kind != "passwd-file":
            made: Authenticator = self._plugin(place, kind, data)
            return made
        settings = self._source.convert(place, data, PasswdFileSettings)
        path = self._path((*place, "path"), settings.path)
        self.passwd_files.append(path)
        return PasswdFile(path, settings.threads)

    def _store(self, data: dict[str, Any] | None) -> MaildropStore:
        place: Place = ("store",)
        if data is None:
            raise self._source.error((), "no [store] says where the mail is")
        kind = self._kind(place, data, ["maildir", "memory"])
        if kind == "maildir":
            return self._maildir_store(self._source.convert(place, data, MaildirSettings))
        if kind == "memory":
            self._source.convert(place, data, MemorySettings)
            return MemoryStore()
        made: MaildropStore = self._plugin(place, kind, data)
        return made

    def _maildir_store(self, settings: MaildirSettings) -> MaildropStore:
        for match in _PLACEHOLDER.finditer(settings.path):
            if match[1] not in ("user", "local", "domain"):
                raise self._source.error(
                    ("store", "path"), f"path: {match[0]} stands for nothing; right are {{user}}, {{local}}, {{domain}}"
                )
        if "{user}" not in settings.path and "{local}" not in settings.path:
            raise self._source.error(("store", "path"), "path: without {user} or {local} all users share one maildrop")
        try:
            undo = seconds(settings.undo)
        except ValueError as error:
            raise self._source.error(("store", "undo"), f"undo: {error}") from None
        return MaildirStore(str(self._path(("store", "path"), settings.path)), undo, self.hostname)

    def _path(self, place: Place, path: str) -> Path:
        """Return a path of the file, which may be relative to it."""
        if not path or "\0" in path:
            raise self._source.error(place, "path: a path is not empty and holds no NUL")
        return self._folder / path

    def _kind(self, place: Place, data: dict[str, Any], known: list[str]) -> str:
        kind = data.get("kind")
        if isinstance(kind, str) and (kind in known or ":" in kind):
            return kind
        what = f'"{kind}" is not known' if kind is not None else "is missing"
        names = ", ".join(f'"{name}"' for name in known)
        raise self._source.error((*place, "kind"), f'kind {what}; right are {names}, or "module:Class"')

    def _plugin(self, place: Place, kind: str, data: dict[str, Any]) -> Any:
        """Make an object of a class outside Restante, with the other keys of its table as arguments."""
        module, _, name = kind.partition(":")
        arguments = {key: value for key, value in data.items() if key != "kind"}
        try:
            factory: Callable[..., Any] = getattr(importlib.import_module(module), name)
            return factory(**arguments)
        except Exception as error:  # noqa: BLE001  (whatever it is, its table is the place to look)
            raise self._source.error((*place, "kind"), f'kind: "{kind}" cannot be made: {error}') from None
