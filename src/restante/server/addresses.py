"""Where to listen, and who has connected."""

import ipaddress
import re
from typing import NamedTuple

_PORT = re.compile(r"[0-9]{1,5}")


class Address(NamedTuple):
    """A TCP address, or the path of a UNIX socket."""

    host: str
    port: int
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Read ``host:port``, ``[v6]:port`` or ``unix:/path``; the host is an IP address, ``localhost`` or ``*``.

        Raises:
            ValueError: it is none of these.
        """
        if "\0" in text:
            raise ValueError("an address holds no NUL")
        if text.startswith("unix:"):
            if len(text) <= len("unix:"):
                raise ValueError("a UNIX socket needs a path: unix:/path")
            return cls("", 0, text.removeprefix("unix:"))
        host, colon, port = text.rpartition(":")
        if not colon or not _PORT.fullmatch(port) or int(port) > 65535:
            raise ValueError(f'{text!r} is no address; right are "host:port", "[v6]:port" and "unix:/path"')
        bracketed = host.startswith("[") and host.endswith("]")
        host = host[1:-1] if bracketed else host
        host = {"localhost": "127.0.0.1", "*": "0.0.0.0"}.get(host, host)  # noqa: S104  (asked for)
        try:
            version = ipaddress.ip_address(host).version
        except ValueError:
            raise ValueError(f'{host!r} is no IP address; right are "127.0.0.1:1110" or "[::1]:1110"') from None
        if (version == 6) != bracketed:
            raise ValueError(f"{text!r}: an IPv6 address stands in brackets, no other does")
        return cls(host, int(port))


Networks = tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]


class Peer(NamedTuple):
    """Who has connected."""

    name: str
    """``host:port``, ``[v6]:port`` or ``unix``, for the log."""
    host: str
    """The address alone; ``""`` for a UNIX socket."""
    loopback: bool
    """On this machine, so that nobody can listen in between."""
    tls: bool = False
    """It speaks TLS to a proxy of ours."""

    def __str__(self) -> str:
        return self.name

    @classmethod
    def of(cls, peername: object) -> "Peer":
        """Make one from what a transport calls its peer."""
        if peername is None:  # it has gone already
            return cls("unknown", "", loopback=False)
        if not isinstance(peername, tuple):
            return cls("unix", "", loopback=True)
        return cls.at(str(peername[0]), int(peername[1]))

    @classmethod
    def at(cls, host: str, port: int, *, tls: bool = False) -> "Peer":
        """Make one for an address."""
        # On the path of every connection, so no parsing: the kernel writes addresses in one way only.
        loopback = host.startswith(("127.", "::ffff:127.")) or host == "::1"
        return cls(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", host, loopback, tls)

    def is_in(self, networks: Networks) -> bool:
        """Say whether the address belongs to one of these networks."""
        if not networks or not self.host:
            return False
        address = ipaddress.ip_address(self.host.partition("%")[0])
        mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        return any((mapped or address) in network for network in networks)
