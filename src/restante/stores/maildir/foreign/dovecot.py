"""The list of uids that Dovecot keeps in each Maildir, ``dovecot-uidlist``.

Version 3: a header ``3 V<uidvalidity> N<next uid> G<guid>``, then a line ``<uid> <field>... :<file name>`` for each
message.  A field is a letter and a value: ``P`` a unique-id that was saved for POP3 (empty: it is the file name), ``O``
a place in the order for POP3, ``G`` a guid.  Version 1, of Dovecot 1.0, is ``1 <uidvalidity> <next uid>`` and lines
``<uid> <file name>``; version 2 had a number more in each line.

Dovecot writes a new list aside and renames it, or appends lines; both under its dot-lock.
"""

import errno
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from restante.stores.maildir import names
from restante.stores.maildir.foreign.dotlock import dot_lock
from restante.stores.maildir.foreign.files import Identified, messages, replace, write
from restante.stores.maildir.foreign.uidl_format import UidlFormat

LIST = "dovecot-uidlist"

_MAX_UID = 0xFFFF_FFFE
_LAST = _MAX_UID + 1
"""Place of the messages that have none: after all others."""


class Entry(NamedTuple):
    """A line of the list."""

    uid: int
    fields: Mapping[str, str]
    base: str


class UidList(NamedTuple):
    """What the file holds."""

    version: int
    header: str
    """The first line without the version."""
    validity: int
    next_uid: int
    """For the next message, as header and lines together tell."""
    entries: dict[str, Entry]
    """By base name, in the order of the uids."""
    complete: bool
    """The last line has its end."""


def read(maildir: str, uidl_format: str) -> list[Identified]:
    """Return the unique-ids of the messages that Dovecot knows, in the order of its POP3 listing.

    Raises:
        FileNotFoundError: Dovecot has left nothing.
        ValueError: its list is damaged, or the format is wrong.
        OSError: something cannot be read.
    """
    form = UidlFormat(uidl_format)
    path = os.path.join(maildir, LIST)
    uids = parse(path, _contents(path))
    there = messages(maildir)
    known = [entry for entry in uids.entries.values() if entry.base in there]
    taken: dict[str, int] = {}
    found = [(_place(entry), Identified(entry.base, _renamed(_id(form, uids, entry), taken))) for entry in known]
    found.sort(key=lambda item: item[0])
    return [identified for _, identified in found]


def assign(maildir: str, uidl_format: str, bases: Sequence[str]) -> dict[str, str]:
    """Return the unique-ids of messages, in Dovecot's order; those that it does not know yet get a uid in its list.

    A name with a line break in it gets none: Dovecot never shows such a file.

    Raises:
        FileNotFoundError: the list is not there any more.
        OSError: it cannot be locked, or is damaged, or cannot be written.
        ValueError: the format is wrong.
    """
    form = UidlFormat(uidl_format)
    path = os.path.join(maildir, LIST)
    os.stat(path)
    with dot_lock(path):
        try:
            uids = parse(path, _contents(path))
        except ValueError as error:
            raise OSError(errno.EBADMSG, str(error), path) from None
        wanted = [base for base in bases if "\n" not in base and "\r" not in base]
        new = [base for base in dict.fromkeys(wanted) if base not in uids.entries]
        added = {base: Entry(uids.next_uid + count, {}, base) for count, base in enumerate(new)}
        if added:
            _save(path, uids, list(added.values()))
        elif not bases:
            _append(path, b"")
    known = uids.entries | added
    entries = sorted((known[base] for base in dict.fromkeys(wanted)), key=lambda entry: (_place(entry), entry.uid))
    return {entry.base: _id(form, uids, entry) for entry in entries}


def _id(form: UidlFormat, uids: UidList, entry: Entry) -> str:
    if "P" in entry.fields:
        return entry.fields["P"] or entry.base
    guid = entry.fields.get("G") or entry.base
    return form.expand({"uid": str(entry.uid), "uidvalidity": str(uids.validity), "filename": entry.base, "guid": guid})


def _renamed(unique_id: str, taken: dict[str, int]) -> str:
    """Tell an id from those before it, as ``pop3_uidl_duplicates = rename`` does."""
    while unique_id in taken:
        taken[unique_id] += 1
        unique_id = f"{unique_id}-{taken[unique_id]}"
    taken[unique_id] = 1
    return unique_id


def _place(entry: Entry) -> int:
    order = entry.fields.get("O", "")
    return int(order) if order.isascii() and order.isdecimal() else _LAST


def _contents(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        raise FileNotFoundError(errno.ENOENT, "Dovecot has left no list of ids here", path) from None


# -- reading ----------------------------------------------------------------------------------------


def parse(path: str, octets: bytes) -> UidList:
    """Read a list; a last line without its end is being written, and does not count.

    Raises:
        ValueError: it is damaged.
    """
    lines = os.fsdecode(octets).split("\n")
    complete = not lines.pop()
    if not lines:
        raise ValueError(f"{path}:1: a header like '3 V1700000000 N1' is missing")
    version, _, header = lines[0].partition(" ")
    try:
        validity, next_uid = _HEADERS[version](header)
        split = _LINES[version]
    except (KeyError, ValueError):
        raise ValueError(f"{path}:1: a header is like '3 V1700000000 N1', version 1 to 3") from None
    entries: dict[str, Entry] = {}
    last = 0
    for number, line in enumerate(lines[1:], 2):
        try:
            entry = split(line)
        except ValueError:
            raise ValueError(f"{path}:{number}: a line is like '1 :FILE', with fields before the colon") from None
        if not last < entry.uid <= _MAX_UID:
            raise ValueError(f"{path}:{number}: uid {entry.uid} comes after {last}; uids rise, up to {_MAX_UID}")
        last = entry.uid
        entries.pop(entry.base, None)  # a file that has gone and come back
        entries[entry.base] = entry
    if not complete:
        last += 1  # the line that was cut off had a uid, too
    return UidList(int(version), header, validity, max(next_uid, last + 1), entries, complete)


def _header_1(text: str) -> tuple[int, int]:
    validity, next_uid = text.split(" ")
    return _positive(validity), _positive(next_uid)


def _header_3(text: str) -> tuple[int, int]:
    fields = {word[0]: word[1:] for word in text.split(" ") if word}
    return _positive(fields.get("V", "")), _positive(fields.get("N", ""))


def _positive(digits: str) -> int:
    if not digits.isascii() or not digits.isdecimal() or int(digits) == 0:
        raise ValueError
    return int(digits)


def _line_1(line: str) -> Entry:
    uid, space, name = line.partition(" ")
    if not space or not name:
        raise ValueError
    return Entry(_positive(uid), {}, names.base_name(name))


def _line_2(line: str) -> Entry:
    uid, _, rest = line.partition(" ")
    return _line_1(f"{uid} {rest.partition(' ')[2]}")


def _line_3(line: str) -> Entry:
    uid, space, rest = line.partition(" ")
    fields, colon, name = rest.partition(":") if rest.startswith(":") else rest.partition(" :")
    if not space or not colon or not name:
        raise ValueError
    return Entry(_positive(uid), {word[0]: word[1:] for word in fields.split(" ") if word}, names.base_name(name))


_HEADERS: dict[str, Callable[[str], tuple[int, int]]] = {"1": _header_1, "2": _header_1, "3": _header_3}
_LINES: dict[str, Callable[[str], Entry]] = {"1": _line_1, "2": _line_2, "3": _line_3}

# -- writing, under the lock ------------------------------------------------------------------------


def _save(path: str, uids: UidList, added: Sequence[Entry]) -> None:
    if added[-1].uid > _MAX_UID:
        raise OSError(errno.EOVERFLOW, "no uid is left", path)
    if uids.version == 3 and uids.complete:
        _append(path, b"".join(_lines(added)))
        return
    # A line that was cut off, or an old version: Dovecot would write the list anew, too.
    header = uids.header if uids.version == 3 else f"V{uids.validity} N{uids.next_uid}"
    lines = _lines([*uids.entries.values(), *added])
    replace(path, b"".join([os.fsencode(f"3 {header}\n"), *lines]), f"{path}.tmp")


def _lines(entries: Sequence[Entry]) -> Iterator[bytes]:
    for entry in entries:
        fields = "".join(f" {key}{value}" for key, value in entry.fields.items())
        yield os.fsencode(f"{entry.uid}{fields} :{entry.base}\n")


def _append(path: str, octets: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    try:
        before = os.fstat(descriptor).st_size
        try:
            write(descriptor, octets)
        except OSError:
            os.ftruncate(descriptor, before)  # half a line would make Dovecot forget them all
            raise
    finally:
        os.close(descriptor)
