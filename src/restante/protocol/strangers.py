"""Other protocols on a port of ours: recognised by their first octets, and named for the log."""

import re

PROXY_V1 = b"PROXY "
PROXY_V2 = b"\r\n\r\n\x00\r\nQUIT\n"
"""Signature of the binary PROXY protocol header; a POP3 parser would read QUIT in it."""

HTTP = frozenset(
    {b"GET", b"POST", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"CONNECT", b"PATCH", b"TRACE", b"PRI", b"HOST:"}
)
"""First words of HTTP lines.  A browser can be made to send POP3 commands in the body of a request, so such a line
ends the session, even the second or under TLS."""


HTTP_HERE = "HTTP where there is none"


_NAMES = {
    "tls": "TLS on a port without it",
    "proxy": "PROXY header from an address that is not in proxy_networks",
    "http": HTTP_HERE,
}
# Every session is asked, so all are looked for at once.
_STRANGERS = re.compile(
    rb"(?P<tls>\x16\x03|[\x80-\xff].\x01\x03)|(?P<proxy>%b|%b)|(?P<http>(?:%b) )"
    % (re.escape(PROXY_V1), re.escape(PROXY_V2), b"|".join(map(re.escape, sorted(HTTP)))),
    re.DOTALL | re.IGNORECASE,
)


def stranger(octets: bytes) -> str:
    """Name the protocol that a connection begins with; ``""`` if it may be POP3 for all one can see."""
    found = _STRANGERS.match(octets)
    return "" if found is None else _NAMES[found.lastgroup or ""]


def on_tls_port(octets: bytes) -> str:
    """Name what comes instead of a TLS handshake on a port that begins with one; ``""`` for TLS."""
    if octets[:1] == b"\x16":
        return ""
    named = stranger(octets)
    if named == _NAMES["tls"]:
        return "SSL 2 hello; TLS 1.2 or 1.3 would be right"
    return named or "no TLS on a port that begins with it"
