"""Servers that keep no list: their ids are in the names of the files, or in the messages."""

import errno
import os
from collections.abc import Iterable

from restante.stores.maildir import names
from restante.stores.maildir.foreign.files import File, Identified, messages

_LONGEST_HEADER = 1_048_576
"""Octets that are searched for a field."""
_FIELD = b"x-uidl:"


def by_filename(maildir: str, uidl_format: str) -> list[Identified]:
    """Return the file names up to the colon, oldest first, as qmail-pop3d lists them.

    Raises:
        FileNotFoundError: this is no Maildir.
        ValueError: a format was asked for.
        OSError: something cannot be read.
    """
    _check(uidl_format)
    return [Identified(base, base) for base, _ in _oldest_first(messages(maildir).items())]


def by_header(maildir: str, uidl_format: str) -> list[Identified]:
    """Return what the field ``X-UIDL`` of each message says, oldest first; messages without one are left out.

    Raises:
        FileNotFoundError: no message has one.
        ValueError: a format was asked for.
        OSError: something cannot be read.
    """
    _check(uidl_format)
    found = []
    for base, file in _oldest_first(messages(maildir).items()):
        value = _x_uidl(file.path)
        if value:
            found.append(Identified(base, value))
    if not found:
        raise FileNotFoundError(errno.ENOENT, "no message here has a header field X-UIDL", maildir)
    return found


def _check(uidl_format: str) -> None:
    if uidl_format:
        raise ValueError(f"{uidl_format!r} is a format of Dovecot; file names and X-UIDL are taken as they are")


def _oldest_first(files: Iterable[tuple[str, File]]) -> list[tuple[str, File]]:
    def age(item: tuple[str, File]) -> tuple[int, tuple[int, int], str]:
        base, file = item
        return int(os.stat(file.path).st_mtime), names.arrival(base) or (0, 0), base

    return sorted(files, key=age)


def _x_uidl(path: str) -> str:
    with open(path, "rb") as file:
        header = file.read(_LONGEST_HEADER)
    value: bytes | None = None
    for line in header.split(b"\n"):
        if value is not None and line[:1] in (b" ", b"\t"):
            value += line
        elif value is not None or not line.strip(b"\r"):
            break
        elif line[: len(_FIELD)].lower() == _FIELD:
            value = line[len(_FIELD) :]
    return os.fsdecode((value or b"").replace(b"\r", b"")).strip()
