"""Finding the server of an e-mail address (RFC 6186).

Only for setting up an account: whoever asks an unsigned DNS at every connection goes wherever it points (K-015).
"""

from typing import NamedTuple

from restante.client.url import ServerUrl
from restante.errors import PermanentFailure, TemporaryFailure

_SERVICES = (("_pop3s._tcp", True), ("_pop3._tcp", False))


class Found(NamedTuple):
    """A server that the DNS names."""

    url: ServerUrl
    elsewhere: bool
    """It is not in the domain of the address: a person must say that it is right."""


async def discover(address: str, nameserver: tuple[str, int] | None = None) -> list[Found]:
    """Return the servers for an e-mail address, the best first: TLS from the start, then priority and weight.

    Args:
        address: ``name@domain``; the whole of it is the user's name, to begin with.
        nameserver: IP address and port of the name server to ask; None: those of the system.

    Raises:
        ValueError: it is no e-mail address.
        PermanentFailure: the domain says that it has no POP3, or does not say; or the package dnspython is missing.
        TemporaryFailure: the DNS does not answer.
    """
    local, _, domain = address.rpartition("@")
    if not local or not domain or any(c.isspace() for c in address):
        raise ValueError(f"{address!r} is no e-mail address")
    try:
        import dns.asyncresolver  # noqa: PLC0415  (an extra)
        import dns.exception  # noqa: PLC0415
        import dns.resolver  # noqa: PLC0415
    except ImportError:
        raise PermanentFailure("finding a server needs the package dnspython: pip install 'restante[client]'") from None
    asked = dns.asyncresolver.Resolver(configure=nameserver is None)
    if nameserver is not None:
        asked.nameservers, asked.port = [nameserver[0]], nameserver[1]
    found: list[Found] = []
    for service, tls in _SERVICES:
        try:
            answer = await asked.resolve(f"{service}.{domain}", "SRV")
        except (dns.resolver.NoAnswer, dns.resolver.NXDOMAIN):
            continue
        except (dns.exception.DNSException, OSError, UnicodeError) as error:
            raise TemporaryFailure(f"the DNS does not tell the server of {domain}: {error}") from None
        for record in sorted(answer, key=lambda one: (one.priority, -one.weight)):
            host = record.target.to_text(omit_final_dot=True)
            if host not in (".", "", "@"):  # the service is decidedly not available
                elsewhere = not f".{host.lower()}".endswith(f".{domain.lower()}")
                found.append(Found(ServerUrl(host, record.port, tls, address), elsewhere))
    if not found:
        raise PermanentFailure(f"{domain} does not say in the DNS where its POP3 server is; name it: pops://host")
    return found
