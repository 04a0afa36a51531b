"""Channel bindings: what ties a login to the TLS connection that it is made on (P-210, K-017).

The one of type tls-exporter (RFC 9266) Python's ssl does not offer, but OpenSSL has it.  Its function is called on the
connection that a Python object holds, whose place in the object is known
for the Pythons named here and no others; elsewhere the binding is not announced.
"""

import ctypes
import functools
import ssl
import sys
from collections.abc import Callable
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.hashes import MD5, SHA1, SHA256, Hash, HashAlgorithm

LABEL = b"EXPORTER-Channel-Binding"
OCTETS = 32

_KNOWN = ((3, 11), (3, 12), (3, 13))
"""Pythons whose _ssl has been looked at and is tested: after the head of the object, a pointer, then the SSL."""


@functools.cache
def _export() -> Callable[..., int] | None:
    """Find OpenSSL's function, the one in the library that this Python itself uses."""
    if sys.implementation.name != "cpython" or sys.version_info[:2] not in _KNOWN:
        return None
    try:
        import _ssl  # noqa: PLC0415

        function: Any = ctypes.CDLL(_ssl.__file__).SSL_export_keying_material
    except (ImportError, OSError, AttributeError):  # ssl is built into this Python
        return None
    function.argtypes = [
        ctypes.c_void_p,
        ctypes.c_char_p,
        ctypes.c_size_t,
        ctypes.c_char_p,
        ctypes.c_size_t,
        ctypes.c_char_p,
        ctypes.c_size_t,
        ctypes.c_int,
    ]
    function.restype = ctypes.c_int
    found: Callable[..., int] = function
    return found


def exporter(connection: ssl.SSLObject) -> bytes:
    """Return the binding of a finished handshake; ``b""`` where it cannot be had, or must not be used.

    Under TLS 1.2 it is safe only with the extended master secret (RFC 9266 section 4.2), which Python's ssl does not
    tell either; so it is there with TLS 1.3 only.
    """
    export = _export()
    if export is None or connection.version() != "TLSv1.3":
        return b""
    holder = connection._sslobj  # type: ignore[attr-defined]  # noqa: SLF001
    place = id(holder) + object.__basicsize__ + ctypes.sizeof(ctypes.c_void_p)
    pointer = ctypes.c_void_p.from_address(place).value
    material = ctypes.create_string_buffer(OCTETS)
    if export(pointer, material, OCTETS, LABEL, len(LABEL), b"", 0, 1) != 1:
        return b""
    return material.raw


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
