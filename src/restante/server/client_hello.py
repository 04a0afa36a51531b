"""What a TLS client asks for, read before OpenSSL sees it: Python's ssl does not tell (RFC 8446 section 4.1.2)."""

import struct
from collections.abc import Iterator

RECORD = 5
"""Octets of a record's header."""
LARGEST = RECORD + 16384
"""Octets of the largest record."""
_ALPN = 16

NO_APPLICATION_PROTOCOL = b"\x15\x03\x03\x00\x02\x02\x78"
"""The fatal alert of RFC 7301 section 3.2, as a record."""


def is_complete(data: bytes) -> bool:
    """Say whether the first record is here; anything that is no handshake record counts as complete."""
    if not data.startswith(b"\x16"):
        return bool(data)
    return len(data) >= RECORD and len(data) >= RECORD + min(int.from_bytes(data[3:5], "big"), LARGEST)


def offered_protocols(data: bytes) -> list[bytes]:
    """Return what the client offers by ALPN (RFC 7301), nothing if it offers none.

    Args:
        data: a complete first record.  What cannot be read here, because it is malformed or goes on in another record,
            is left to OpenSSL.
    """
    try:
        for kind, body in _extensions(data[RECORD:]):
            if kind == _ALPN:
                return list(_names(body[2:]))
    except (struct.error, IndexError):
        pass
    return []


def _extensions(handshake: bytes) -> Iterator[tuple[int, bytes]]:
    position = 4 + 2 + 32  # type and length, version, random
    position += 1 + handshake[position]  # session id
    position += 2 + int(struct.unpack_from("!H", handshake, position)[0])  # cipher suites
    position += 1 + handshake[position]  # compression methods
    (length,) = struct.unpack_from("!H", handshake, position)
    position += 2
    end = position + length
    while position < end:
        kind, length = struct.unpack_from("!HH", handshake, position)
        position += 4
        yield kind, handshake[position : position + length]
        position += length


def _names(names: bytes) -> Iterator[bytes]:
    position = 0
    while position < len(names):
        length = names[position]
        yield names[position + 1 : position + 1 + length]
        position += 1 + length
