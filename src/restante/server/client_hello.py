"""What a TLS client asks for, read before OpenSSL sees it: Python's ssl does not tell (RFC 8446 section 4.1.2)."""

import struct
from collections.abc import Iterator
from typing import NamedTuple

RECORD = 5
"""Octets of a record's header."""
LARGEST = 65536
"""Octets of a hello that are looked at; what is larger is OpenSSL's to refuse."""
_SERVER_NAME, _ALPN = 0, 16

NO_APPLICATION_PROTOCOL = b"\x15\x03\x03\x00\x02\x02\x78"
"""The fatal alert of RFC 7301 section 3.2, as a record."""


class Wishes(NamedTuple):
    """What is read of a hello; nothing of one that is malformed, which is left to OpenSSL."""

    host: str = ""
    """The name that is asked for, in lower case (SNI, RFC 6066 section 3); ``""`` for none, or none that is ASCII."""
    protocols: tuple[bytes, ...] = ()
    """What is offered by ALPN (RFC 7301)."""


def wishes(data: bytes) -> Wishes | None:
    """Read the hello that a connection begins with; None: it has not come to its end."""
    message = _message(data)
    if message is None:
        return None
    host = ""
    protocols: tuple[bytes, ...] = ()
    try:
        for kind, body in _extensions(message):
            if kind == _SERVER_NAME:
                host = _host(body)
            elif kind == _ALPN:
                protocols = tuple(_names(body[2:]))
    except (struct.error, IndexError):
        return Wishes()
    return Wishes(host, protocols)


def _message(data: bytes) -> bytes | None:
    """Collect the hello from its records; ``b""`` if it is none, None if octets are missing."""
    message = b""
    position = 0
    while position <= LARGEST:
        header = data[position : position + RECORD]
        if not b"\x16".startswith(header[:1]):
            return b""
        end = position + RECORD + int.from_bytes(header[3:5], "big")
        if len(header) < RECORD or len(data) < end:
            return None
        message += data[position + RECORD : end]
        octets = 4 + int.from_bytes(message[1:4], "big")
        if not message.startswith(b"\x01") or octets > LARGEST:
            return b""
        if len(message) >= max(octets, 4):
            return message[:octets]
        position = end
    return b""


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


def _host(names: bytes) -> str:
    """Return the host name of a list of which that is the only kind there is."""
    kind, length = struct.unpack_from("!BH", names, 2)
    host = names[5 : 5 + length]
    return host.decode("ascii").lower() if kind == 0 and host.isascii() else ""


def _names(names: bytes) -> Iterator[bytes]:
    position = 0
    while position < len(names):
        length = names[position]
        yield names[position + 1 : position + 1 + length]
        position += 1 + length
