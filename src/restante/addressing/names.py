"""Names and addresses in the form in which they are compared."""

import ipaddress
import re
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

from restante.saslprep import prepared

LOCAL_OCTETS = 64
"""The longest local part (RFC 5321 section 4.5.3.1.1, D-018)."""
DOMAIN_OCTETS = 255
"""The longest domain (RFC 5321 section 4.5.3.1.2, D-018)."""

_DOMAIN = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")


class Name(NamedTuple):
    """A name or an address, in the form in which they are compared, but for upper and lower case of the local part."""

    local: str
    domain: str
    """In lower case and A-labels; ``""`` for none."""

    def __str__(self) -> str:
        return f"{self.local}@{self.domain}" if self.domain else self.local


def a_labels(domain: str) -> str:
    """Return a domain in lower case and as A-labels, as domains are compared (RFC 6531 section 3.7.1, D-017).

    Raises:
        ValueError: it is no domain, or its A-labels cannot be told for sure.
    """
    if len(domain) > DOMAIN_OCTETS:  # the codec takes time by the square of the length
        raise ValueError(f"a domain has at most {DOMAIN_OCTETS} octets")
    text = unicodedata.normalize("NFC", domain.lower())
    if not text.isascii():
        ascii_text = text.encode("idna").decode("ascii")
        # The codec knows IDNA 2003, in which some labels mean another domain than in IDNA 2008 (RFC 5891): "ß" is "ss".
        if ascii_text.encode("ascii").decode("idna") != text:
            raise ValueError("such a domain is written in A-labels, which begin with xn--")
        text = ascii_text
    if len(text) > DOMAIN_OCTETS or not _DOMAIN.fullmatch(text):
        raise ValueError("a domain is letters, digits and hyphens with dots between them")
    return text


def parse(text: str) -> Name:
    """Read a name or an address of the configuration.

    Raises:
        ValueError: it can be neither; one line that says what would be right.
    """
    local, at, domain = text.rpartition("@")
    return Name(local_part(local), a_labels(domain)) if at else Name(local_part(text), "")


def local_part(text: str) -> str:
    """Return a local part as names of accounts are written, which is after SASLprep (P-202).

    Raises:
        ValueError: no account can have it (P-291).
    """
    local = prepared(text)
    if not local.isprintable() or any(character in " :/@" for character in local):
        raise ValueError("a name is printable, without spaces, colons, slashes and @")
    if local.startswith((".", "#")):
        raise ValueError("a name does not begin with a dot or #")
    return local


def spellings(domain: str) -> Iterator[str]:
    """Give the forms in which a user table may have a domain: A-labels, and U-labels where they differ."""
    yield domain
    if "xn--" in domain:
        try:
            readable = domain.encode("ascii").decode("idna")
        except ValueError:  # of IDNA 2008 only, or no A-label at all
            return
        if readable != domain and readable.isprintable():
            yield readable


def is_loopback(literal: str) -> bool:
    """Say whether an address literal (RFC 5321 section 4.1.3) is one by which only this machine calls itself."""
    text = literal.removeprefix("[").removesuffix("]")
    try:
        if text[:5].lower() == "ipv6:":
            return ipaddress.IPv6Address(text[5:]).is_loopback
        return ipaddress.IPv4Address(text).is_loopback
    except ValueError:
        return False
