"""The list of ids that Courier's POP3 server keeps in each Maildir, ``courierpop3dsizelist``.

A header ``/3 <next> <validity>``, then a line ``<file name> <octets> <n>:<validity>:<utf8>`` for each message, whose
unique-id is ``UID<n>-<validity>``; without a validity it is ``UID<n>``, and ``n`` 0 means the file name.  Version 2 has
no ``utf8``, which tells that a header is not ASCII.

Courier takes no lock: whoever logs in reads the list, and if something is new writes all of it aside and renames it.
Two who do so at once may each lose what the other has written.  An id must never come to mean another message by that,
so whatever we write has a new validity: no number under it has been given before, nor will be by somebody who has not
read it (decision 0018).
"""

import errno
import os
import re
import secrets
from collections.abc import Sequence
from typing import NamedTuple

from restante.stores.maildir import names
from restante.stores.maildir.foreign.files import File, Identified, messages, replace

LIST = "courierpop3dsizelist"

_HEADER = re.compile(r"/[23] (\d+) (\d+)", re.ASCII)
_LINE = re.compile(r"(.+) (\d+) (\d+)(?::(\d+))?(?::(\d+))?", re.ASCII | re.DOTALL)
_ATTEMPTS = 10
_PIECE = 262_144


class Entry(NamedTuple):
    """A line of the list."""

    line: str
    name: str
    number: int
    validity: int


class SizeList(NamedTuple):
    """What the file holds."""

    next_number: int
    validity: int
    entries: dict[str, Entry]
    """By base name."""


def read(maildir: str, uidl_format: str) -> list[Identified]:
    """Return the unique-ids of the messages that Courier knows, in the order of its listing.

    Raises:
        FileNotFoundError: Courier has left nothing.
        ValueError: its list is damaged, or a format was asked for.
        OSError: something cannot be read.
    """
    _check(uidl_format)
    path = os.path.join(maildir, LIST)
    sizes = parse(path, _contents(path)[1])
    known = {_name(base, file): base for base, file in messages(maildir).items() if base in sizes.entries}
    return [Identified(known[name], _id(known[name], sizes.entries[known[name]])) for name in sorted(known, key=_order)]


def assign(maildir: str, uidl_format: str, bases: Sequence[str]) -> dict[str, str]:
    """Return the unique-ids of messages, in Courier's order; those that it does not know yet get one in its list.

    A name with a line break in it gets none: the list cannot hold it.

    Raises:
        FileNotFoundError: the list is not there any more.
        OSError: it is damaged, or cannot be written.
        ValueError: a format was asked for.
    """
    _check(uidl_format)
    path = os.path.join(maildir, LIST)
    if not bases:
        for folder in (maildir, os.path.join(maildir, "tmp")):
            if not os.access(folder, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, "its list of ids cannot be written", folder)
    wanted = [base for base in dict.fromkeys(bases) if "\n" not in base]
    sizes = _assigned(maildir, path, wanted)
    known = [base for base in wanted if base in sizes.entries]
    known.sort(key=lambda base: _order(sizes.entries[base].name))
    return {base: _id(base, sizes.entries[base]) for base in known}


def _check(uidl_format: str) -> None:
    if uidl_format:
        raise ValueError(f"Courier knows no formats of unique-ids; {uidl_format!r} is one of Dovecot")


def _id(base: str, entry: Entry) -> str:
    if entry.number:
        return f"UID{entry.number}-{entry.validity}" if entry.validity else f"UID{entry.number}"
    return "".join(_plain(octet) for octet in os.fsencode(base))


def _plain(octet: int) -> str:
    """Write an octet of a file name as the oldest versions did."""
    return chr(octet) if 0x21 <= octet <= 0x7E and octet not in b"'\"+" else f"+{octet:02X}"


def _order(name: str) -> tuple[int, bytes]:
    """Sort by the time that begins a name, then by its octets up to the colon, as signed numbers."""
    digits = len(name) - len(name.lstrip("0123456789"))
    base, colon, _ = name.partition(":")
    return int(name[:digits] or 0), bytes(octet ^ 0x80 for octet in os.fsencode(base + (colon or "\0")))


def _name(base: str, file: File) -> str:
    """Return the name that a file has when Courier looks: it moves new messages to ``cur``."""
    return f"{base}:2," if file.directory == "new" and ":" not in file.name else file.name


# -- reading ----------------------------------------------------------------------------------------


def _contents(path: str) -> tuple[tuple[int, int], bytes]:
    """Return what tells one version of the list from the next, and its octets."""
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            return (status.st_ino, status.st_mtime_ns), file.read()
    except FileNotFoundError:
        raise FileNotFoundError(errno.ENOENT, "Courier has left no list of ids here", path) from None


def parse(path: str, octets: bytes) -> SizeList:
    """Read a list.

    Raises:
        ValueError: it is damaged.
    """
    header, *lines = os.fsdecode(octets).split("\n")
    match = _HEADER.fullmatch(header)
    if match is None:
        raise ValueError(f"{path}:1: a header is like '/3 12 1700000000', version 2 or 3")
    entries = {}
    for number, line in enumerate(lines, 2):
        if line:
            entry = _entry(line)
            if entry is None:
                raise ValueError(f"{path}:{number}: a line is like 'FILE 1024 11:1700000000:0'")
            entries[names.base_name(entry.name)] = entry
    return SizeList(int(match[1]), int(match[2]), entries)


def _entry(line: str) -> Entry | None:
    match = _LINE.fullmatch(line)
    if match is None:
        return None
    name, size, number, validity, utf8 = match.groups("0")
    return Entry(f"{name} {size} {number}:{validity}:{utf8}", name, int(number), int(validity))


# -- writing ----------------------------------------------------------------------------------------


def _assigned(maildir: str, path: str, bases: Sequence[str]) -> SizeList:
    for _ in range(_ATTEMPTS):
        stamp, octets = _contents(path)
        try:
            sizes = parse(path, octets)
        except ValueError as error:
            raise OSError(errno.EBADMSG, str(error), path) from None
        new = {base for base in bases if base not in sizes.entries}
        if not new:
            return sizes
        there = [(base, file) for base, file in messages(maildir).items() if base in new]
        try:
            extended = _extended(sizes, sorted(there, key=lambda one: _order(_name(*one))))
        except FileNotFoundError:  # a message was moved, or has gone
            continue
        header = f"/3 {extended.next_number} {extended.validity}"
        lines = "\n".join([header, *(entry.line for entry in extended.entries.values()), ""])
        if _contents(path)[0] == stamp:
            aside = os.path.join(maildir, "tmp", f"restante.{os.getpid()}.{secrets.token_hex(4)}.pop3")
            replace(path, os.fsencode(lines), aside)
            return extended
    raise TimeoutError(errno.ETIMEDOUT, "other programs keep changing this Maildir", path)


def _extended(sizes: SizeList, new: Sequence[tuple[str, File]]) -> SizeList:
    entries = dict(sizes.entries)
    validity = _new_validity()
    for number, (base, file) in enumerate(new, sizes.next_number):
        try:
            octets, utf8 = _measure(file.path)
        except PermissionError:  # that must not hide the others
            octets, utf8 = os.stat(file.path).st_size, False
        name = _name(base, file)
        entries[base] = Entry(f"{name} {octets} {number}:{validity}:{utf8:d}", name, number, validity)
    return SizeList(sizes.next_number + len(new), validity, entries)


def _new_validity() -> int:
    """Return a number that no clock gives: those of Courier are the time in seconds."""
    return secrets.randbelow(2**31) + 2**31


def _measure(path: str) -> tuple[int, bool]:
    """Return octets as Courier counts them, and whether the header is not ASCII."""
    octets, lines, header = 0, 0, b"\n"
    utf8, in_header = False, True
    with open(path, "rb") as file:
        while piece := file.read(_PIECE):
            octets += len(piece)
            lines += piece.count(b"\n")
            if in_header:
                head, blank, _ = (header[-1:] + piece).partition(b"\n\n")
                utf8 = utf8 or not head.isascii()
                in_header, header = not blank, piece
    return octets + lines, utf8
