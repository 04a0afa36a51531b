"""The header in which a proxy tells who is connecting, version 1 and 2 of HAProxy's PROXY protocol."""

import ipaddress
import re
import struct
from typing import NamedTuple

from restante.protocol.strangers import PROXY_V1, PROXY_V2

V1_OCTETS = 107
"""Longest header of version 1, its CRLF included."""
V2_OCTETS = 4096
"""Longest header of version 2 that is read."""

_V1 = re.compile(rb"PROXY (TCP4|TCP6) ([0-9A-Fa-f.:]{2,39}) ([0-9A-Fa-f.:]{2,39}) (\d{1,5}) (\d{1,5})")
_LOCAL, _PROXY = 0x20, 0x21
_TCP4, _TCP6 = 0x11, 0x21
_TLV_SSL = 0x20
_CLIENT_SSL = 0x01


class Incomplete(Exception):
    """More octets are needed."""


class Header(NamedTuple):
    """What a proxy says."""

    host: str
    """Address of the client; ``""``: the proxy speaks for itself, or does not know."""
    port: int
    tls: bool
    """The client spoke TLS to the proxy."""
    octets: int
    """Length of the header."""
    local: bool = False
    """The proxy speaks for itself."""


def parse(data: bytes) -> Header:
    """Read the header that `data` begins with.

    Raises:
        Incomplete: it has not come to its end.
        ValueError: it is none.
    """
    if data.startswith(PROXY_V2[: len(data)]):
        return _version_2(data)
    if data.startswith(PROXY_V1[: len(data)]):
        return _version_1(data)
    raise ValueError("no PROXY header")


def _version_1(data: bytes) -> Header:
    line, crlf, _ = data[:V1_OCTETS].partition(b"\r\n")
    if not crlf:
        if len(data) >= V1_OCTETS:
            raise ValueError("a PROXY line is at most 107 octets")
        raise Incomplete
    octets = len(line) + 2
    if line.startswith(b"PROXY UNKNOWN"):
        return Header("", 0, tls=False, octets=octets)
    match = _V1.fullmatch(line)
    if match is None:
        raise ValueError("a malformed PROXY line")
    kind = ipaddress.IPv6Address if match[1] == b"TCP6" else ipaddress.IPv4Address
    try:
        host = kind(match[2].decode())
    except ValueError:
        raise ValueError("a malformed PROXY line") from None
    if int(match[4]) > 65535:
        raise ValueError("a malformed PROXY line")
    return Header(str(host), int(match[4]), tls=False, octets=octets)


def _version_2(data: bytes) -> Header:
    if len(data) < 16:
        raise Incomplete
    command, family, length = struct.unpack_from("!BBH", data, 12)
    if command not in (_LOCAL, _PROXY) or length + 16 > V2_OCTETS:
        raise ValueError("a malformed PROXY header")
    end = 16 + length
    if len(data) < end:
        raise Incomplete
    if command == _LOCAL or family not in (_TCP4, _TCP6):
        return Header("", 0, tls=False, octets=end, local=command == _LOCAL)
    size = 4 if family == _TCP4 else 16
    addresses = 16 + 2 * size + 4
    if addresses > end:
        raise ValueError("a malformed PROXY header")
    host = str(ipaddress.ip_address(data[16 : 16 + size]))
    (port,) = struct.unpack_from("!H", data, 16 + 2 * size)
    return Header(host, port, tls=_client_spoke_tls(data[addresses:end]), octets=end)


def _client_spoke_tls(extensions: bytes) -> bool:
    """Look for the extension that says so; one that is cut short is passed over."""
    while len(extensions) >= 3:
        kind, length = struct.unpack_from("!BH", extensions)
        if kind == _TLV_SSL and length >= 5:
            return bool(extensions[3:4] and extensions[3] & _CLIENT_SSL)
        extensions = extensions[3 + length :]
    return False
