"""The lines that a final delivery puts before a message (RFC 5321 section 4.4, D-005)."""

import functools
import re
from dataclasses import dataclass
from email.utils import formatdate

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._:\[\]-]")


@dataclass(frozen=True, slots=True)
class Origin:
    """Who has brought a message."""

    helo: str
    """What the client calls itself."""
    address: str
    """IP address, ``""`` for a UNIX socket."""
    protocol: str
    """LMTP, ESMTPS …; ``""``: no Received line is written."""
    cipher: str = ""
    """Of TLS, ``""`` for none (RFC 8314 section 4.3)."""


def return_path(reverse_path: str) -> bytes:
    """Return the field that comes first of all.

    Args:
        reverse_path: ``""`` for the null path, which is kept.
    """
    return _field("Return-Path", f"<{reverse_path}>")


def delivered_to(final: str, original: str = "") -> bytes:
    """Return the fields about the recipient.

    Args:
        final: the address of the maildrop.
        original: the address that the sender wrote, where it is known to be another one; ``""``: it is not.
    """
    fields = _field("Delivered-To", final)
    if original and original != final:
        fields += _field("X-Original-To", original)
    return fields


def received(origin: Origin, hostname: str, identity: str, recipient: str, when: float) -> bytes:
    """Return the Received field.

    Args:
        origin: who has brought it.
        hostname: ours.
        identity: by which the log knows the message.
        recipient: as the client wrote it; each copy names its own only.
        when: seconds since 1970.
    """
    address = origin.address if ":" not in origin.address else f"IPv6:{origin.address}"
    helo = _NOT_IN_NAMES.sub("?", origin.helo)
    where = f"[{address}]" if address else "unix socket"
    tls = f"\r\n\ttls {_NOT_IN_NAMES.sub('?', origin.cipher)}" if origin.cipher else ""
    return _field(
        "Received",
        f"from {helo} ({where})\r\n"
        f"\tby {hostname} (Restante) with {origin.protocol} id {identity}\r\n"
        f"\tfor <{recipient}>{tls};\r\n"
        f"\t{_date(when)}",
    )


@functools.lru_cache(maxsize=4)
def _date(when: float) -> str:
    """Return the date of a message; it is the same for each of a thousand recipients."""
    return formatdate(when, localtime=True)


def _field(name: str, value: str) -> bytes:
    return f"{name}: {value}\r\n".encode()
