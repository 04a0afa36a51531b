"""Addresses of POP3 servers as URLs (RFC 2384): ``pop://user@host:port``, and ``pops://`` for TLS from the start."""

import re
from typing import NamedTuple
from urllib.parse import unquote

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

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'pops' if self.tls else 'pop'}://{host}:{self.port}"

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
        if parameter and parameter.upper() not in {"AUTH=*", "AUTH=PLAIN", "AUTH=LOGIN"}:
            raise ValueError(f";{parameter} is not known here; right are ;AUTH=*, ;AUTH=PLAIN and ;AUTH=LOGIN")
        port = int(match["port"] or _PORTS[scheme])
        if not 0 < port < 65536:
            raise ValueError(f"{_shown(text)}: a port is 1 to 65535")
        return cls(match["host"].strip("[]"), port, scheme in {"pops", "pop3s"}, unquote(user))


def is_url(text: str) -> bool:
    """Say whether this is meant to be one."""
    return "://" in text


def _shown(text: str) -> str:
    """Leave out what may be a password."""
    return repr(re.sub(r"//[^@/]*:[^@/]*@", "//...@", text))
