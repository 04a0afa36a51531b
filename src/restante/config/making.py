"""User tables, stores and certificates by the names that the configuration file has for them."""

import importlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from restante.auth import Authenticator
from restante.authenticators.anonymous import AnonymousAccess
from restante.authenticators.passwd_file import PasswdFile
from restante.config.reading import Place, Source
from restante.config.settings import (
    AnonymousSettings,
    KeyPairSettings,
    MaildirSettings,
    MboxSettings,
    MemorySettings,
    OAuthSettings,
    PasswdFileSettings,
    TlsSettings,
    days,
    octets,
    seconds,
)
from restante.maildrop import MaildropStore
from restante.server.tls import Certificates, KeyPair, TlsFiles
from restante.stores.flushing import Always, Group
from restante.stores.maildir import MaildirStore
from restante.stores.maildir.quota import Limits
from restante.stores.mbox import MboxStore
from restante.stores.memory import MemoryStore

T = TypeVar("T")

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}|[{}]")


class Maker:
    """Makes what the tables of a file ask for.

    Args:
        source: the file.
        hostname: of the server.
    """

    def __init__(self, source: Source, hostname: str) -> None:
        self._source = source
        self._folder = source.path.parent
        self._hostname = hostname
        self.passwd_files: list[Path] = []
        """Files of the passwd-file tables, in order."""
        self.oauth_challenge: dict[str, str] = {}
        """What a refused token is told (RFC 7628 section 3.2.2)."""

    # -- [[auth]] -----------------------------------------------------------------------------------

    def authenticator(self, index: int, data: dict[str, Any]) -> Authenticator:
        """Make the user table of the `[[auth]]` with that number, from 0."""
        place: Place = ("auth", index)
        kind = self._kind(place, data, ["passwd-file", "oauth", "anonymous"])
        if kind == "passwd-file":
            return self._passwd_file(place, self._source.convert(place, data, PasswdFileSettings))
        if kind == "oauth":
            return self._tokens(place, self._source.convert(place, data, OAuthSettings))
        if kind == "anonymous":
            return AnonymousAccess(self._source.convert(place, data, AnonymousSettings).user)
        made: Authenticator = self._plugin(place, kind, data)
        return made

    def _passwd_file(self, place: Place, settings: PasswdFileSettings) -> Authenticator:
        path = self.path((*place, "path"), settings.path)
        self.passwd_files.append(path)
        return PasswdFile(path, settings.threads, settings.remember)

    def _tokens(self, place: Place, settings: OAuthSettings) -> Authenticator:
        from restante.authenticators.tokens import Tokens  # noqa: PLC0415  (few want it, and it is slow to import)

        values = {name: value for name, value in msgspec.structs.asdict(settings).items() if name != "kind"}
        for key in ("client_secret_file", "ca"):
            if values[key]:
                values[key] = str(self.path((*place, key), values[key]))
        if values["jwks"] and "://" not in values["jwks"]:
            values["jwks"] = str(self.path((*place, "jwks"), values["jwks"]))
        try:
            made = Tokens(**values)
        except (ValueError, OSError) as error:
            key = str(error).partition(" ")[0].rstrip(":")
            raise self._source.error((*place, key) if key in values else place, str(error)) from None
        self.oauth_challenge = {"scope": made.scope, "openid-configuration": made.openid_configuration}
        return made

    # -- [store] ------------------------------------------------------------------------------------

    def store(self, data: dict[str, Any] | None) -> tuple[MaildropStore, int | None, int]:
        """Make the store; returns it, the days for which it keeps messages, and the seconds between two logins."""
        place: Place = ("store",)
        if data is None:
            raise self._source.error((), "no [store] says where the mail is")
        kind = self._kind(place, data, ["maildir", "mbox", "memory"])
        if kind == "maildir":
            return self._maildir_store(self._source.convert(place, data, MaildirSettings))
        if kind == "mbox":
            return self._mbox_store(self._source.convert(place, data, MboxSettings)), None, 0
        if kind == "memory":
            self._source.convert(place, data, MemorySettings)
            return MemoryStore(), None, 0
        made: MaildropStore = self._plugin(place, kind, data)
        return made, None, 0

    def _maildir_store(self, settings: MaildirSettings) -> tuple[MaildropStore, int | None, int]:
        path = self._template(settings.path)
        undo = self._value("undo", seconds, settings.undo)
        expire = self._value("expire", days, settings.expire)
        login_delay = int(self._value("login_delay", seconds, settings.login_delay))
        limits = Limits(self._value("quota", octets, settings.quota), settings.quota_messages)
        store = MaildirStore(
            path,
            undo,
            self._hostname,
            login_delay=login_delay,
            expire=expire,
            quota=limits if any(limits) else None,
            must_exist=str(self.path(("store", "must_exist"), settings.must_exist)) if settings.must_exist else "",
            durability=Group() if settings.durability == "group" else Always(),
        )
        return store, expire, login_delay

    def _mbox_store(self, settings: MboxSettings) -> MaildropStore:
        if _PLACEHOLDER.search(settings.index):
            raise self._source.error(("store", "index"), "index: is one folder for all users, without placeholders")
        return MboxStore(
            self._template(settings.path),
            settings.format,
            dotlock=settings.dotlock,
            index=str(self.path(("store", "index"), settings.index)) if settings.index else "",
            must_exist=str(self.path(("store", "must_exist"), settings.must_exist)) if settings.must_exist else "",
        )

    def _template(self, path: str) -> str:
        """Check the path of each user's maildrop."""
        for match in _PLACEHOLDER.finditer(path):
            if match[1] not in ("user", "local", "domain"):
                raise self._source.error(
                    ("store", "path"), f"path: {match[0]} stands for nothing; right are {{user}}, {{local}}, {{domain}}"
                )
        if "{user}" not in path and "{local}" not in path:
            raise self._source.error(("store", "path"), "path: without {user} or {local} all users share one maildrop")
        return str(self.path(("store", "path"), path))

    def _value(self, key: str, read: Callable[[str], T], text: str) -> T:
        try:
            return read(text)
        except ValueError as error:
            raise self._source.error(("store", key), f"{key}: {error}") from None

    # -- [tls] --------------------------------------------------------------------------------------

    def certificates(self, data: dict[str, Any]) -> Certificates:
        """Load the certificates."""
        settings = self._source.convert(("tls",), data, TlsSettings)
        pairs = [self._pair(("tls",), settings.certificate, settings.key)]
        for index, more in enumerate(settings.sni):
            place: Place = ("tls", "sni", index)
            pair = self._source.convert(place, more, KeyPairSettings)
            pairs.append(self._pair(place, pair.certificate, pair.key))
        if settings.client_certificate == "required" and not settings.client_ca:
            text = 'client_certificate: "required" needs client_ca, to tell whose certificates are good'
            raise self._source.error(("tls", "client_certificate"), text)
        client_ca = str(self.path(("tls", "client_ca"), settings.client_ca)) if settings.client_ca else ""
        try:
            return Certificates(TlsFiles(tuple(pairs), client_ca, settings.client_certificate))
        except OSError as error:
            text = f"{error.filename}: {error.strerror}"
        except ValueError as error:
            text = str(error)
        raise self._source.error(("tls", "client_ca" if client_ca and client_ca in text else "certificate"), text)

    def _pair(self, place: Place, certificate: str, key: str) -> KeyPair:
        return KeyPair(
            str(self.path((*place, "certificate"), certificate)),
            str(self.path((*place, "key"), key)),
        )

    # -- what they share ----------------------------------------------------------------------------

    def path(self, place: Place, path: str) -> Path:
        """Return a path of the file, which may be relative to it."""
        if not path or "\0" in path:
            raise self._source.error(place, f"{place[-1]}: a path is not empty and holds no NUL")
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
