"""Names of message files in a Maildir (maildir(5), M-003 to M-005, M-012).

The base name, which is what stands before ``:``, identifies a message; what follows are flags that other
programs may change at any time.
"""

import hashlib
import os
import re
import secrets
import threading
import time
from typing import NamedTuple

MAX_UNIQUE_ID = 70
"""Octets of a unique-id (RFC 1939 section 7)."""

_LATEST = 1 << 62
"""So that a number of any length in a name can be kept."""
_TIME = re.compile(r"(\d+)\.(?:[^.]*?M(\d+))?")
_OURS = re.compile(r"\d+\.M\d{6}P\d+Q\d+R[0-9a-f]{8}\.[^,/:]+,S=(\d{1,15}),W=(\d{1,15})(?:,U=(\d{1,15}))?")


class NameGenerator:
    """Makes base names that no other delivery makes, in an order that sorting keeps."""

    def __init__(self, hostname: str) -> None:
        # M-003: "/" and ":" of the host name; a comma would read as the start of the sizes.
        escaped = hostname.replace("/", r"\057").replace(":", r"\072").replace(",", r"\054")
        self._hostname = escaped or "localhost"
        self._lock = threading.Lock()
        self._latest = 0
        self._count = 0

    def next(self) -> str:
        """Return a new base name, without sizes."""
        with self._lock:
            # A clock that stands still or goes back does not change the order of arrival.
            self._latest = max(self._latest + 1, time.time_ns() // 1000)
            self._count += 1
            seconds, microseconds = divmod(self._latest, 1_000_000)
            delivery = f"M{microseconds:06d}P{os.getpid()}Q{self._count}R{secrets.token_hex(4)}"
        return f"{seconds}.{delivery}.{self._hostname}"


class Sizes(NamedTuple):
    """Octets of a message."""

    stored: int
    """On disk."""
    wire: int
    """As RETR sends it."""
    surrogate: int
    """As RETR sends it to a client that has not said UTF8; 0: all headers are ASCII (P-256)."""


def with_sizes(base: str, sizes: Sizes) -> str:
    """Add sizes to a base name that is about to be given (M-012)."""
    surrogate = f",U={sizes.surrogate}" if sizes.surrogate else ""
    return f"{base},S={sizes.stored},W={sizes.wire}{surrogate}"


def base_name(name: str) -> str:
    """Return what identifies the message in a file name."""
    return name.partition(":")[0]


def is_unique_id(text: str) -> bool:
    """Say whether RFC 1939 section 7 allows this unique-id (P-123)."""
    return 0 < len(text) <= MAX_UNIQUE_ID and text.isascii() and text.isprintable() and " " not in text


def unique_id(base: str) -> str:
    """Return the unique-id of a message: its base name where RFC 1939 section 7 allows it (P-123), else its hash.

    Nothing is stored for it, so it survives the loss of everything but the message itself (M-010).
    """
    return base if is_unique_id(base) else hashlib.sha256(os.fsencode(base)).hexdigest()


def known_sizes(base: str) -> Sizes | None:
    """Return the sizes from a name that our own delivery wrote.

    Other programs write ``W=`` too; theirs is not trusted (M-012).
    """
    match = _OURS.fullmatch(base)
    return Sizes(*(int(size or 0) for size in match.groups())) if match else None


def arrival(base: str) -> tuple[int, int] | None:
    """Return the time of delivery in seconds and microseconds (P-048); None when the name does not tell it."""
    match = _TIME.match(base)
    return (min(int(match[1]), _LATEST), min(int(match[2] or 0), _LATEST)) if match else None
