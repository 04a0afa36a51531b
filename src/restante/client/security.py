"""Whom a client trusts (RFC 8314 section 5, RFC 7817): certificates are looked at, unless one says otherwise."""

import datetime as dt
import hashlib
import hmac
import ipaddress
import ssl
from collections.abc import Iterator
from contextlib import suppress
from os import PathLike
from typing import NamedTuple

from cryptography import x509

from restante.channel_binding import end_point, exporter
from restante.client.replies import NotPop3


class Security(NamedTuple):
    """What a server must show before a password is sent to it.

    The default is TLS with a certificate that the system's authorities vouch for and that bears the server's name;
    connections within this machine may do without (K-013, K-014).
    """

    ca: str | PathLike[str] | None = None
    """File with the certificates of those who may vouch for the server; None: those of the system."""
    fingerprint: str = ""
    """SHA-256 of the server's certificate, in hexadecimal: this one and no other is good, whoever vouches for it."""
    certificate: tuple[str, str] | None = None
    """Files with a certificate of our own and its key, to show to the server."""
    cleartext: bool = False
    """Send passwords without TLS where the server offers none: everybody on the way can read them."""
    insecure: bool = False
    """Take any certificate, too: then even TLS does not tell who is at the other end."""

    @property
    def shows_passwords(self) -> bool:
        """Passwords may go over a line that is not encrypted."""
        return self.cleartext or self.insecure

    def context(self) -> ssl.SSLContext:
        """Make the context of a connection.

        Raises:
            OSError: a file cannot be read, or is not what it should be.
        """
        context = ssl.create_default_context(cafile=self.ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2  # K-014
        if self.insecure or self.fingerprint:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.certificate is not None:
            context.load_cert_chain(*self.certificate)
        return context

    def check(self, connection: ssl.SSLObject, server: object) -> None:
        """See to it that a certificate is the one whose fingerprint is known.

        Raises:
            NotPop3: it is another one.
        """
        if not self.fingerprint:
            return
        wanted = self.fingerprint.lower().removeprefix("sha256:").replace(":", "")
        found = hashlib.sha256(connection.getpeercert(binary_form=True) or b"").hexdigest()
        if not hmac.compare_digest(wanted.encode(), found.encode()):
            raise NotPop3(f"{server}: its certificate has the fingerprint {found}, and not the one that was given")


def is_loopback(address: str) -> bool:
    """Say whether an address is of this machine, where nobody listens on the way."""
    with suppress(ValueError):
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    return False


def bindings(connection: ssl.SSLObject | None) -> dict[str, bytes]:
    """Return the channel bindings of a connection, the best first (RFC 9266, RFC 5929)."""
    if connection is None:
        return {}
    certificate = connection.getpeercert(binary_form=True)
    found = {"tls-exporter": exporter(connection)}
    with suppress(ValueError):
        found["tls-server-end-point"] = end_point(certificate) if certificate else b""
    return {kind: data for kind, data in found.items() if data}


def in_words(connection: ssl.SSLObject) -> Iterator[str]:
    """Say what a person wants to know of an encrypted connection, a line each."""
    cipher = connection.cipher()
    yield f"{connection.version()} with {cipher[0] if cipher else 'no cipher'}"
    octets = connection.getpeercert(binary_form=True)
    if octets is None:
        return
    with suppress(ValueError):
        certificate = x509.load_der_x509_certificate(octets)
        yield f"certificate of {certificate.subject.rfc4514_string() or 'nobody'}"
        with suppress(x509.ExtensionNotFound):
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            yield f"  for {', '.join(str(name.value) for name in names)}"
        yield f"  issued by {certificate.issuer.rfc4514_string() or 'nobody'}"
        left = (certificate.not_valid_after_utc - dt.datetime.now(dt.UTC)).days
        yield f"  from {certificate.not_valid_before_utc:%Y-%m-%d} to {certificate.not_valid_after_utc:%Y-%m-%d}"
        yield f"  which is {left} days from now" if left >= 0 else f"  EXPIRED {-left} days ago"
    yield f"  SHA-256 {hashlib.sha256(octets).hexdigest()}"
