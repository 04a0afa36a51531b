"""Other protocols on a port of ours: recognised by their first octets, and named for the log."""

PROXY_V1 = b"PROXY "
PROXY_V2 = b"\r\n\r\n\x00\r\nQUIT\n"
"""Signature of the binary PROXY protocol header; a POP3 parser would read QUIT in it."""

HTTP = frozenset(
    {b"GET", b"POST", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"CONNECT", b"PATCH", b"TRACE", b"PRI", b"HOST:"}
)
"""First words of HTTP lines.  A browser can be made to send POP3 commands in the body of a request, so such a line
ends the session, even the second or under TLS."""


HTTP_HERE = "HTTP where there is none"


def is_tls(octets: bytes) -> bool:
    """Say whether these octets begin a TLS handshake record, or a hello of SSL 2."""
    return octets[:2] == b"\x16\x03" or (octets[:1] >= b"\x80" and octets[2:4] == b"\x01\x03")


def stranger(octets: bytes) -> str:
    """Name the protocol that a connection begins with; ``""`` if it may be POP3 for all one can see."""
    if is_tls(octets):
        return "TLS on a port without it"
    if octets.startswith(PROXY_V2) or octets[:6].upper() == PROXY_V1:
        return "PROXY header from an address that is not in proxy_networks"
    word, space, _ = octets.partition(b" ")
    return HTTP_HERE if space and word.upper() in HTTP else ""


def on_tls_port(octets: bytes) -> str:
    """Name what comes instead of a TLS handshake on a port that begins with one; ``""`` for TLS."""
    if octets[:1] == b"\x16":
        return ""
    if is_tls(octets):
        return "SSL 2 hello; TLS 1.2 or 1.3 would be right"
    named = stranger(octets)
    return named or "no TLS on a port that begins with it"
