"""Unique-ids that other POP3 servers have given to the messages of a Maildir (M-011, P-128).

Everything here blocks, and touches no file but the lists of those servers.
"""

from collections.abc import Callable, Sequence

from restante.stores.maildir import names
from restante.stores.maildir.foreign import courier, dovecot, plain
from restante.stores.maildir.foreign.files import Identified

__all__ = ["FOLLOWED", "SOURCES", "Identified", "assign", "read"]

_READERS: dict[str, Callable[[str, str], list[Identified]]] = {
    "dovecot": dovecot.read,
    "courier": courier.read,
    "filename": plain.by_filename,
    "x-uidl": plain.by_header,
}
_ASSIGNERS: dict[str, Callable[[str, str, Sequence[str]], dict[str, str]]] = {
    "dovecot": dovecot.assign,
    "courier": courier.assign,
}

SOURCES = tuple(_READERS)
"""Where ids can be found: Dovecot's list, Courier's list, file names (qmail), header fields X-UIDL."""
FOLLOWED = tuple(_ASSIGNERS)
"""Servers that can work on the same Maildir at the same time, and give the same ids."""


def read(maildir: str, source: str, uidl_format: str = "") -> list[Identified]:
    """Return the messages that a server knows, in the order of its POP3 listing.

    Args:
        maildir: path.
        source: one of `SOURCES`.
        uidl_format: Dovecot's setting ``pop3_uidl_format``; ``""``: its default.

    Raises:
        FileNotFoundError: there is nothing of that server.
        ValueError: its file is damaged (file and line come first), or an argument is wrong; says what would be right.
        OSError: something cannot be read.
    """
    if source not in _READERS:
        raise ValueError(f"{source!r} is no source of ids; right are {', '.join(SOURCES)}")
    return _READERS[source](maildir, uidl_format)


def assign(maildir: str, source: str, uidl_format: str, bases: Sequence[str]) -> dict[str, str]:
    """Find the unique-ids of messages that are new to us; those new to that server too are entered into its list.

    So it gives them the same ids when it next looks.  What is returned is durable, and in the order in which that
    server lists these messages.  A message gets an id of ours where that server's cannot be one (P-123), or where its
    name cannot stand in the list, so that that server never shows it; one that has gone meanwhile is missing.  Without
    `bases` this only finds out whether it would work.

    Args:
        maildir: path.
        source: one of `FOLLOWED`.
        uidl_format: as for `read`.
        bases: of the messages, in their order of arrival.

    Raises:
        FileNotFoundError: that server's list has gone.
        OSError: the list cannot be read, locked or written; nothing has changed.
        ValueError: an argument is wrong.
    """
    if source not in _ASSIGNERS:
        raise ValueError(f"{source!r} cannot be followed; right are {', '.join(FOLLOWED)}")
    assigned = _ASSIGNERS[source](maildir, uidl_format, bases)
    unlisted = [base for base in bases if base not in assigned and ("\n" in base or "\r" in base)]
    ids = assigned | dict.fromkeys(unlisted, "")
    return {base: one if names.is_unique_id(one) else names.unique_id(base) for base, one in ids.items()}
