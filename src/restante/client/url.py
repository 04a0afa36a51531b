"""Addresses of POP3 servers as URLs (RFC 2384): ``pop://user@host:port``, and ``pops://`` for TLS from the start."""

import re
from typing import NamedTuple
from urllib.parse import quote, unquote

from restante.protocol.sasl.client import MECHANISMS

APOP = "+APOP"
"""What a URL says for APOP (RFC 2384 section 4)."""
_PORTS = {"pop": 110, "pop3": 110, "pops": 995, "pop3s": 995}
_URL = re.compile(
    r"(?P<scheme>[A-Za-z0-9+.-]+)://(?:(?P<user>[^@/]*)@)?(?P<host>\[[0-9A-Fa-f:.%]+\]|[^:/@\[\]]+)(?::(?P<port>\d+))?/?"
)
_RIGHT = "pop://host, pop://user@host:110 or pops://host"


class ServerUrl(NamedTuple):
    """Where a server is."""

    host: str
    port: int
    tls: bool
    """From the first octet."""
    user: str = ""
    """Who is to log in; ``""``: the URL does not say."""
    mechanism: str = ""
    """The only way to log in that is wanted: a mechanism of SASL in capitals, or `APOP`; ``""``: any."""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'pops' if self.tls else 'pop'}://{host}:{self.port}"

    def account(self) -> str:
        """Return the URL with the user, as it is shown."""
        scheme, _, rest = str(self).partition("://")
        return f"{scheme}://{quote(self.user, safe='')}@{rest}" if self.user else str(self)

    @classmethod
    def parse(cls, text: str) -> "ServerUrl":
        """Read a URL (K-016).

        Raises:
            ValueError: it is none, or holds a password; says what would be right.
        """
        match = _URL.fullmatch(text)
        if match is None:
            raise ValueError(f"{_shown(text)} is no address of a POP3 server; right is {_RIGHT}")
        scheme, user = match["scheme"].lower(), match["user"] or ""
        if scheme not in _PORTS:
            raise ValueError(f"{scheme}:// is not POP3; right is {_RIGHT}")
        if ":" in user:
            raise ValueError(f"a URL holds no password, others would see it; right is {_RIGHT}")
        user, _, parameter = user.partition(";")
        port = int(match["port"] or _PORTS[scheme])
        if not 0 < port < 65536:
            raise ValueError(f"{_shown(text)}: a port is 1 to 65535")
        tls = scheme in {"pops", "pop3s"}
        return cls(match["host"].strip("[]"), port, tls, unquote(user), _mechanism(unquote(parameter)))


def _mechanism(parameter: str) -> str:
    key, _, name = parameter.upper().partition("=")
    if not parameter or (key, name) == ("AUTH", "*"):
        return ""
    if key != "AUTH" or name not in (*MECHANISMS, APOP):
        right = ", ".join((*MECHANISMS, APOP))
        raise ValueError(f";{parameter} is not known here; right are ;AUTH=* and ;AUTH= with one of {right}")
    return name


def is_url(text: str) -> bool:
    """Say whether this is meant to be one."""
    return "://" in text


def _shown(text: str) -> str:
    """Leave out what may be a password."""
    return repr(re.sub(r"//[^@/]*:[^@/]*@", "//...@", text))
