"""What certificates say (RFC 5280)."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID, NameOID

from restante import channel_binding

SOON = dt.timedelta(days=14)
"""A certificate that ends within this time ought to have been renewed."""


def _certificate(path: str) -> x509.Certificate:
    with open(path, "rb") as file:  # noqa: PTH123
        octets = file.read()
    try:
        return x509.load_pem_x509_certificate(octets)
    except ValueError:
        raise ValueError(f"{path}: no PEM certificate") from None


def host_names(path: str) -> list[str]:
    """Return the host names that a certificate is for, in lower case.

    Raises:
        OSError, ValueError: it cannot be read.
    """
    try:
        return [name.lower() for name in _alternative_names(_certificate(path), x509.DNSName)]
    except _UNREADABLE as error:
        text = str(error)
        raise ValueError(text if path in text else f"{path}: its names cannot be read: {text}") from None


def kind_of_key(path: str) -> str:
    """Return which kind of key a certificate is for: OpenSSL shows one certificate of each kind."""
    return type(_certificate(path).public_key()).__name__


def end_point(path: str) -> bytes:
    """Return the channel binding of type tls-server-end-point (P-210)."""
    return channel_binding.end_point(_certificate(path).public_bytes(Encoding.DER))


def names_in(certificate: bytes) -> tuple[str, ...]:
    """Return the names that a client certificate vouches for: its e-mail addresses, then its common name (P-201)."""
    try:
        parsed = x509.load_der_x509_certificate(certificate)
        names = _alternative_names(parsed, x509.RFC822Name)
        names += [str(attribute.value) for attribute in parsed.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    except _UNREADABLE:  # OpenSSL takes it, but nobody can say whose it is
        return ()
    return tuple(dict.fromkeys(names))


_UNREADABLE = (ValueError, x509.UnsupportedGeneralNameType, x509.DuplicateExtension, x509.InvalidVersion)


def _alternative_names(certificate: x509.Certificate, kind: type[x509.DNSName] | type[x509.RFC822Name]) -> list[str]:
    try:
        extension = certificate.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME)
    except x509.ExtensionNotFound:
        return []
    assert isinstance(extension.value, x509.SubjectAlternativeName)
    return list(extension.value.get_values_for_type(kind))


def problems(path: str, key: str) -> Iterator[str]:
    """Say what is wrong with a certificate that can be loaded, a line each, path first."""
    certificate = _certificate(path)
    now = dt.datetime.now(dt.UTC)
    end = certificate.not_valid_after_utc
    if end < now:
        yield f"{path}: the certificate has expired on {end:%Y-%m-%d}"
    elif end < now + SOON:
        yield f"{path}: the certificate expires on {end:%Y-%m-%d}; it is time to renew it"
    if certificate.not_valid_before_utc > now:
        yield f"{path}: the certificate is not valid before {certificate.not_valid_before_utc:%Y-%m-%d}"
    if not host_names(path):
        yield f"{path}: the certificate names no host, so no client will accept it (RFC 9525)"
    if Path(key).stat().st_mode & 0o004:
        yield f"{key}: everybody on this machine can read the key; chmod 600 would be right"
