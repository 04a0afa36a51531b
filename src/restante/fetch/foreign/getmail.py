"""The files of old mail of getmail, ``oldmail-HOST-PORT-USER`` in its folder: a line ``unique-id NUL seconds`` each.

The time is that of delivery.  In the file's name and in unique-ids ``/`` has become ``-``; nobody can tell which of
these were hyphens, and getmail itself takes both for one.  An id with ``/`` is of an IMAP mailbox,
``uidvalidity/uid``.  A message that was left for its size is not there.
"""

import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path

from restante.fetch.foreign.known import Format, Known, lines, nothing_of, text, wrong

_LINE = re.compile(rb"([^\0]*[^\0 ]) *\0(\d{1,18})")
_CHANGED = re.compile(r"[/:;<>|]+")
"""What is not in the name of a file: one hyphen stands for it."""
_NAME = re.compile(r"oldmail-(.+?)-(\d+)-(.+)", re.DOTALL)
_MOST = 3
"""Hyphens of an id that may have been slashes.  An id with more of them is a UUID or a date."""


def _find(path: Path, host: str, user: str) -> Path:
    """Find the file by its name, as it says nothing of the account inside; one with a name of its own is believed."""
    if not path.is_dir():
        if _NAME.fullmatch(path.name) and not _is_of(path, host, user):
            raise nothing_of(path, host, user, [_account(path)])
        return path
    files = sorted(one for one in path.iterdir() if _NAME.fullmatch(one.name))
    found = [one for one in files if _is_of(one, host, user)]
    if not files:
        raise ValueError(f"{path}: no folder of getmail; files in it have names like oldmail-{host}-995-{user}")
    if not found:
        raise nothing_of(path, host, user, map(_account, files))
    if len(found) > 1:
        names = ", ".join(one.name for one in found)
        raise ValueError(f"{path}: has several files of {user}@{host}; name the right one of {names}")
    return found[0]


def _is_of(path: Path, host: str, user: str) -> bool:
    prefix = f"oldmail-{_CHANGED.sub('-', host)}-"
    port, hyphen, rest = path.name[len(prefix) :].partition("-")
    same_host = path.name[: len(prefix)].lower() == prefix.lower()
    return same_host and port.isdigit() and bool(hyphen) and rest == _CHANGED.sub("-", user)


def _account(path: Path) -> str:
    match = _NAME.fullmatch(path.name)
    assert match is not None
    return f"{match[3]}@{match[1]}"


def _entries(octets: bytes, path: Path) -> Iterator[Known]:
    for number, line in lines(octets):
        if not line:
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise wrong(path, number, "no line of getmail; a unique-id, a NUL and seconds since 1970 would be right")
        if b"/" in match[1]:
            raise wrong(path, number, "of an IMAP mailbox; the file of a POP3 account would be right")
        yield from _spellings(Known(text(match[1]), when=float(match[2])))


def _spellings(known: Known) -> Iterator[Known]:
    yield known
    parts = known.unique_id.split("-")
    if 1 < len(parts) <= _MOST + 1:
        for signs in list(product("-/", repeat=len(parts) - 1))[1:]:
            spelling = "".join(map("".join, zip(parts, (*signs, ""), strict=True)))
            yield known._replace(unique_id=spelling, respelt=True)


FORMAT = Format(_find, _entries)
