"""What may stand in the configuration file."""

import re
from typing import Annotated, Any, Literal

import msgspec

MIN_IDLE_TIMEOUT = 600
"""Seconds (RFC 1939 section 3, P-138)."""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The whole file; the tables with a `kind` are read by that kind."""

    hostname: str = ""
    workers: Annotated[int, msgspec.Meta(ge=1, le=256)] | Literal["auto"] = "auto"
    listener: list[dict[str, Any]] = []
    tls: dict[str, Any] | None = None
    auth: list[dict[str, Any]] = []
    store: dict[str, Any] | None = None
    addresses: dict[str, Any] = {}
    pop3: dict[str, Any] = {}
    limits: dict[str, Any] = {}
    intake: dict[str, Any] = {}
    fetch: list[dict[str, Any]] = []


class ListenerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A `[[listener]]`."""

    protocol: Literal["pop3", "lmtp", "smtp"]
    address: str
    tls: Literal["none", "starttls", "implicit"] | None = None
    cleartext_login: Literal["never", "loopback", "always"] = "loopback"
    proxy_networks: list[str] = []
    networks: list[str] = []
    mode: str = "0660"
    group: str = ""


class IntakeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The `[intake]` table."""

    message_size: str = "256M"
    recipients: Annotated[int, msgspec.Meta(ge=100, le=100_000)] = 1000
    full: Literal["later", "refuse"] = "later"


class TlsSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The `[tls]` table."""

    certificate: str
    key: str
    sni: list[dict[str, Any]] = []
    client_ca: str = ""
    client_certificate: Literal["optional", "required"] = "optional"


class KeyPairSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A `[[tls.sni]]`."""

    certificate: str
    key: str


class Pop3Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The `[pop3]` table."""

    mechanisms: list[str] | None = None
    apop: bool = False
    headers: Literal["surrogate", "raw", "refuse"] = "surrogate"
    language: str = "en"


class LimitsSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The `[limits]` table; times in seconds."""

    idle_timeout: Annotated[float, msgspec.Meta(ge=MIN_IDLE_TIMEOUT, le=86400)] = 600
    handshake_timeout: Annotated[float, msgspec.Meta(gt=0, le=600)] = 30
    connections: Annotated[int, msgspec.Meta(ge=1)] = 10_000
    connections_per_address: Annotated[int, msgspec.Meta(ge=1)] = 1000
    connections_before_login: Annotated[int, msgspec.Meta(ge=1)] = 3000
    failure_delay: Annotated[float, msgspec.Meta(ge=0, le=60)] = 1
    longest_failure_delay: Annotated[float, msgspec.Meta(ge=0, le=300)] = 16
    login_attempts: Annotated[int, msgspec.Meta(ge=1, le=100)] = 5
    stop_grace: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 10


class AddressesSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The `[addresses]` table."""

    domains: list[str] | None = None
    domain_aliases: dict[str, str] = {}
    detail: str = "+"
    case: Literal["ignore", "exact"] = "ignore"
    aliases: dict[str, Any] = {}


class MaildirSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`[store]` with `kind = "maildir"`."""

    kind: str
    path: str
    undo: str = "7d"
    expire: str = "never"
    login_delay: str = "0"
    quota: str = ""
    quota_messages: Annotated[int, msgspec.Meta(ge=0)] = 0
    durability: Literal["always", "group"] = "always"
    must_exist: str = ""


class MboxSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`[store]` with `kind = "mbox"`."""

    kind: str
    path: str
    format: Literal["mboxrd", "mboxo"] = "mboxrd"
    dotlock: bool = True
    index: str = ""
    must_exist: str = ""


class MemorySettings(msgspec.Struct, frozen=True, kw_only=True):
    """`[store]` with `kind = "memory"`."""

    kind: str


class PasswdFileSettings(msgspec.Struct, frozen=True, kw_only=True):
    """An `[[auth]]` with `kind = "passwd-file"`."""

    kind: str
    path: str
    threads: Annotated[int, msgspec.Meta(ge=0, le=256)] = 0
    remember: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 600


class OAuthSettings(msgspec.Struct, frozen=True, kw_only=True):
    """An `[[auth]]` with `kind = "oauth"`."""

    kind: str
    introspection: str = ""
    client_id: str = ""
    client_secret: str = ""
    client_secret_file: str = ""
    jwks: str = ""
    issuer: str = ""
    audience: list[str] | str = ""
    scope: str = ""
    claim: list[str] | str = "email"
    algorithms: list[str] | None = None
    openid_configuration: str = ""
    timeout: float = 5
    cache: float = 0
    ca: str = ""


class AnonymousSettings(msgspec.Struct, frozen=True, kw_only=True):
    """An `[[auth]]` with `kind = "anonymous"`."""

    kind: str
    user: str


def days(text: str) -> int | None:
    """Read a time for which messages are kept: ``"30d"``; ``"0"`` until they are retrieved; ``"never"``: None.

    Raises:
        ValueError: it is none.
    """
    if text == "never":
        return None
    match = re.fullmatch(r"(\d{1,5})d|0", text)
    if match is None:
        raise ValueError(f'"{text}" is no number of days; right are "30d", "0" and "never"')
    return int(match[1] or 0)


def seconds(text: str) -> float:
    """Read a duration: ``"7d"``, ``"12h"``, ``"90s"``; ``"0"`` needs no unit.

    Raises:
        ValueError: it is none.
    """
    match = re.fullmatch(r"(\d{1,9})([smhdw])", text)
    if match:
        return int(match[1]) * _UNITS[match[2]]
    if text == "0":
        return 0
    raise ValueError(f'"{text}" is no duration; right are "7d", "12h", "30m", "90s" and "0"')


def octets(text: str) -> int:
    """Read a number of octets: ``"500M"``, ``"2G"``, ``"100000"``; ``""``: 0.

    Raises:
        ValueError: it is none.
    """
    match = re.fullmatch(r"(\d{1,15})([KMGT]?)", text or "0")
    if match is None:
        raise ValueError(f'"{text}" is no number of octets; right are "500M", "2G" and "100000"')
    return int(match[1]) << (10 * " KMGT".index(match[2] or " "))
