"""Channel bindings: what ties a login to the TLS connection that it is made on (P-210, K-017).

The one of type tls-exporter (RFC 9266) Python's ssl does not offer, nor which of several certificates was shown, but
OpenSSL has both.  Its functions are called on the connection that a Python object holds, whose place in the object is
known for the Pythons named here and no others; elsewhere the binding is not announced.
"""

import ctypes
import functools
import ssl
import sys
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.hashes import MD5, SHA1, SHA256, Hash, HashAlgorithm

LABEL = b"EXPORTER-Channel-Binding"
OCTETS = 32

_KNOWN = ((3, 11), (3, 12), (3, 13))
"""Pythons whose _ssl has been looked at and is tested: after the head of the object, a pointer, then the SSL."""


@functools.cache
def _library() -> Any:
    """Return OpenSSL, the one that this Python itself uses; None where it cannot be had."""
    if sys.implementation.name != "cpython" or sys.version_info[:2] not in _KNOWN:
        return None
    pointer, octets, size = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t
    try:
        import _ssl  # noqa: PLC0415

        library = ctypes.CDLL(_ssl.__file__)
        library.SSL_export_keying_material.argtypes = [pointer, octets, size, octets, size, octets, size, ctypes.c_int]
        library.SSL_get_certificate.argtypes = [pointer]
        library.SSL_get_certificate.restype = pointer
        library.i2d_X509.argtypes = [pointer, pointer]
    except (ImportError, OSError, AttributeError):  # ssl is built into this Python
        return None
    return library


def _pointer(connection: ssl.SSLObject) -> int | None:
    """Return where OpenSSL has the connection."""
    holder = connection._sslobj  # type: ignore[attr-defined]  # noqa: SLF001
    place = id(holder) + object.__basicsize__ + ctypes.sizeof(ctypes.c_void_p)
    return ctypes.c_void_p.from_address(place).value


def exporter(connection: ssl.SSLObject) -> bytes:
    """Return the binding of a finished handshake; ``b""`` where it cannot be had, or must not be used.

    Under TLS 1.2 it is safe only with the extended master secret (RFC 9266 section 4.2), which Python's ssl does not
    tell either; so it is there with TLS 1.3 only.
    """
    library = _library()
    if library is None or connection.version() != "TLSv1.3":
        return b""
    material = ctypes.create_string_buffer(OCTETS)
    done = library.SSL_export_keying_material(_pointer(connection), material, OCTETS, LABEL, len(LABEL), b"", 0, 1)
    return material.raw if done == 1 else b""


def shown_certificate(connection: ssl.SSLObject) -> bytes:
    """Return the certificate that our end has shown, in DER; ``b""`` where nobody can tell."""
    library = _library()
    certificate = None if library is None else library.SSL_get_certificate(_pointer(connection))
    if not certificate:
        return b""
    encoded = ctypes.create_string_buffer(library.i2d_X509(certificate, None))
    end = ctypes.c_void_p(ctypes.addressof(encoded))  # i2d_X509(3) moves it
    library.i2d_X509(certificate, ctypes.addressof(end))
    return encoded.raw


@functools.lru_cache(100)  # a server has few certificates
def end_point(certificate: bytes) -> bytes:
    """Return the binding of type tls-server-end-point (RFC 5929 section 4.1); ``b""``: this certificate has none.

    The hash is that of the certificate's signature, SHA-256 in place of MD5 and SHA-1.

    Args:
        certificate: of the server, in DER.

    Raises:
        ValueError: it is none.
    """
    try:
        algorithm: HashAlgorithm | None = x509.load_der_x509_certificate(certificate).signature_hash_algorithm
    except UnsupportedAlgorithm:
        algorithm = None
    if algorithm is None:  # Ed25519 and the like: not defined
        return b""
    digest = Hash(SHA256() if isinstance(algorithm, (MD5, SHA1)) else algorithm)
    digest.update(certificate)
    return digest.finalize()
