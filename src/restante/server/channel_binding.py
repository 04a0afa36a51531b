"""The channel binding of type tls-exporter (RFC 9266), which Python's ssl does not offer (P-210).

OpenSSL has it.  Its function is called on the connection that a Python object holds, whose place in the object is known
for the Pythons named here and no others; elsewhere the binding is not announced.
"""

import ctypes
import functools
import ssl
import sys
from collections.abc import Callable
from typing import Any

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
