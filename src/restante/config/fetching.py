"""The tables [[fetch]]: accounts at other servers, and where their mail goes."""

import os
import re
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import msgspec

from restante.client import Security, ServerUrl
from restante.config.making import Maker
from restante.config.reading import ConfigurationError, Place, Source
from restante.config.settings import Settings, octets, seconds
from restante.errors import Condition
from restante.fetch import secrets
from restante.fetch.account import Account, Secrets
from restante.fetch.targets import CommandTarget, MailTarget, StoreTarget, Target
from restante.stores.maildir.single import SingleMaildir
from restante.stores.mbox import MboxStore

T = TypeVar("T")

_FINGERPRINT = re.compile(r"(sha256:)?([0-9A-Fa-f]{2}:?){31}[0-9A-Fa-f]{2}", re.IGNORECASE)
_HOST_PORT = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^:\[\]/]+):([0-9]{1,5})")
_RIGHT = (
    '"maildir:PATH", "mbox:PATH", "lmtp:HOST:PORT", "lmtp:unix:PATH", "smtp:HOST:PORT", "command:PROGRAM ..." '
    'and "maildrop:USER"'
)


class FetchSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A `[[fetch]]`."""

    url: str
    deliver: str
    name: str = ""
    recipient: str = ""
    password_command: str = ""
    token_command: str = ""
    keyring: bool = False
    keep: str = "forever"
    largest: str = ""
    filter: str = ""
    every: str = "15m"
    state: str = ""
    ca: str = ""
    fingerprint: str = ""
    certificate: str = ""
    key: str = ""
    cleartext: bool = False
    insecure: bool = False
    lenient: bool = False


def accounts(path: Path) -> list[Account]:
    """Read the accounts of a configuration file.

    Args:
        path: of the file; what else it says is not looked at, but for `[store]` where mail goes there.

    Raises:
        ConfigurationError: something is wrong with it.
    """
    source = Source(path)
    settings = source.convert((), source.data, Settings)
    if not settings.fetch:
        raise source.error((), "no [[fetch]] says what to fetch; one has at least url and deliver")
    made: list[Account] = []
    for index, data in enumerate(settings.fetch):
        place: Place = ("fetch", index)
        one = _Reader(source, place, source.convert(place, data, FetchSettings), settings).account()
        if any(one.name == other.name for other in made):
            raise source.error((*place, "name"), f'name: "{one.name}" is the name of another [[fetch]], too')
        if any(one.journal == other.journal for other in made):
            raise source.error((*place, "state"), f"state: {one.journal} is the journal of another [[fetch]], too")
        made.append(one)
    return made


def state_folder() -> Path:
    """Return where journals are if nobody says otherwise."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "restante" / "fetch"


class _Reader:
    """Makes one account.

    Args:
        source: the file.
        place: of the table.
        settings: what it says.
        whole: what the whole file says.
    """

    def __init__(self, source: Source, place: Place, settings: FetchSettings, whole: Settings) -> None:
        self._source = source
        self._place = place
        self._settings = settings
        self._whole = whole

    def account(self) -> Account:
        settings = self._settings
        url = self._value("url", ServerUrl.parse)
        if not url.user:
            raise self._error("url", f'url: says not who is to log in; "{_with_user(url)}" would')
        name = settings.name or f"{url.user}@{url.host}"
        journal = self._path("state") if settings.state else state_folder() / f"{quote(name, safe='@+')}.journal"
        return Account(
            name=name,
            url=url,
            secrets=self._secrets(url),
            target=self._target(),
            journal=journal,
            security=self._security(),
            keep=None if settings.keep == "forever" else self._value("keep", _keep),
            largest=self._value("largest", octets),
            filter=settings.filter,
            every=self._value("every", _every),
            lenient=settings.lenient,
        )

    def _error(self, key: str, text: str) -> ConfigurationError:
        return self._source.error((*self._place, key), text)

    def _value(self, key: str, read: Callable[[str], T]) -> T:
        try:
            return read(getattr(self._settings, key))
        except ValueError as error:
            raise self._error(key, f"{key}: {error}") from None

    def _path(self, key: str, text: str = "") -> Path:
        text = text or getattr(self._settings, key)
        if not text or "\0" in text:
            raise self._error(key, f"{key}: a path is not empty and holds no NUL")
        try:
            return self._source.path.parent.absolute() / Path(text).expanduser()
        except RuntimeError:
            raise self._error(key, f"{key}: there is no such user: {text}") from None

    def _secrets(self, url: ServerUrl) -> Callable[[], Awaitable[Secrets]]:
        settings = self._settings
        said = [key for key in ("password_command", "token_command", "keyring") if getattr(settings, key)]
        if len(said) > 1:
            raise self._error(said[1], f"{said[1]}: {said[0]} is said, too; one of them would be right")
        if settings.password_command:
            return secrets.password_command(settings.password_command)
        if settings.token_command:
            return secrets.token_command(settings.token_command)
        if settings.keyring:
            return secrets.from_keyring(str(url), url.user)
        return secrets.Asked()

    def _security(self) -> Security:
        settings = self._settings
        if settings.fingerprint and not _FINGERPRINT.fullmatch(settings.fingerprint):
            raise self._error("fingerprint", "fingerprint: is no SHA-256 in hexadecimal, which has 64 digits")
        if bool(settings.certificate) != bool(settings.key):
            raise self._error("certificate", "certificate: certificate and key belong together")
        pair = (str(self._path("certificate")), str(self._path("key"))) if settings.certificate else None
        return Security(
            str(self._path("ca")) if settings.ca else None,
            settings.fingerprint,
            pair,
            settings.cleartext,
            settings.insecure,
        )

    def _target(self) -> Target:
        kind, colon, rest = self._settings.deliver.partition(":")
        makers: dict[str, Callable[[str], Target]] = {
            "maildir": lambda path: StoreTarget(SingleMaildir(str(self._path("deliver", path)), _hostname()), ""),
            "mbox": lambda path: StoreTarget(MboxStore(_literal(self, path)), ""),
            "lmtp": lambda where: self._mail("lmtp", where),
            "smtp": lambda where: self._mail("smtp", where),
            "command": CommandTarget,
            "maildrop": self._maildrop,
        }
        if kind not in makers or not colon or not rest.strip():
            raise self._error("deliver", f'deliver: "{self._settings.deliver}" is no destination; right are {_RIGHT}')
        if self._settings.recipient and kind not in ("lmtp", "smtp"):
            raise self._error("recipient", f"recipient: is for lmtp and smtp; {kind}: has none")
        return makers[kind](rest)

    def _mail(self, protocol: str, where: str) -> Target:
        if not self._settings.recipient:
            raise self._error("deliver", f"deliver: {protocol}: needs a recipient, whom the mail is for")
        hostname = self._whole.hostname or _hostname()
        if protocol == "lmtp" and where.startswith("unix:"):
            path = str(self._path("deliver", where.removeprefix("unix:")))
            return MailTarget(protocol, path, 0, self._settings.recipient, hostname)
        match = _HOST_PORT.fullmatch(where)
        if match is None or not 0 < int(match[2]) < 65536:
            raise self._error("deliver", f'deliver: "{where}" is no address; "{protocol}:localhost:24" would be right')
        return MailTarget(protocol, match[1].strip("[]"), int(match[2]), self._settings.recipient, hostname)

    def _maildrop(self, user: str) -> Target:
        store, _, _ = Maker(self._source, self._whole.hostname or _hostname()).store(self._whole.store)
        try:
            folder = getattr(store, "folder", None) or getattr(store, "mailbox", None)
            if folder is not None:
                folder(user)
        except Condition as error:
            raise self._error("deliver", f"deliver: {error}") from None
        return StoreTarget(store, user)


def _literal(reader: _Reader, path: str) -> str:
    """A store has one path for each user; here it is one path."""
    found = str(reader._path("deliver", path))  # noqa: SLF001  (of this module)
    if "{" in found:
        raise reader._error("deliver", "deliver: the path of an mbox has no braces here")  # noqa: SLF001
    return found


def _keep(text: str) -> float:
    try:
        return seconds(text)
    except ValueError:
        raise ValueError(f'"{text}" is no duration; right are "forever", "14d" and "0"') from None


def _every(text: str) -> float:
    found = seconds(text)
    if found < 10:
        raise ValueError(f'"{text}" is too often; "10s" is the least, "15m" would be kind')
    return found


def _with_user(url: ServerUrl) -> str:
    return url._replace(user="name").account()


def _hostname() -> str:
    return socket.gethostname() or "localhost"
