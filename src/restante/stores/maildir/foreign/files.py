"""The message files of a Maildir, as every server sees them."""

import os
from typing import NamedTuple

from restante.stores.maildir import names

_SEARCHES = 4
"""How often files that are just being renamed are looked for: a listing may miss them."""


class Identified(NamedTuple):
    """A message and the unique-id that another server has given it."""

    base: str
    """Its file name up to the colon."""
    unique_id: str
    """As that server tells it: it need not be one that RFC 1939 section 7 allows."""


class File(NamedTuple):
    """A message file."""

    path: str
    directory: str
    """``new`` or ``cur``."""
    name: str
    """In that directory."""


def messages(maildir: str) -> dict[str, File]:
    """Return the files in ``new`` and ``cur`` by their base names; of two with one base name, that in ``cur``.

    Some may have gone meanwhile; none that stays is missing (M-006).

    Raises:
        OSError: they cannot be listed.
    """
    found = _listed(maildir)
    for _ in range(_SEARCHES):
        known = len(found)
        found |= _listed(maildir)
        if len(found) == known:
            break
    return found


def _listed(maildir: str) -> dict[str, File]:
    found = {}
    for directory in ("new", "cur"):  # a move goes this way
        with os.scandir(os.path.join(maildir, directory)) as entries:
            for entry in entries:
                if not entry.name.startswith(".") and entry.is_file():
                    found[names.base_name(entry.name)] = File(entry.path, directory, entry.name)
    return found


def replace(path: str, octets: bytes, aside: str) -> None:
    """Put new contents in place of a file at once, durably, with the owner and the rights that it had.

    Args:
        path: of the file, which exists.
        octets: its new contents.
        aside: where they are written first, on the same file system.

    Raises:
        OSError: the file is as it was.
    """
    status = os.stat(path)
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(descriptor, status.st_uid, status.st_gid)
            os.fchmod(descriptor, status.st_mode & 0o7777)
            write(descriptor, octets)
        finally:
            os.close(descriptor)
        os.rename(aside, path)
    except BaseException:
        os.unlink(aside)
        raise
    _sync_directory(os.path.dirname(path))


def write(descriptor: int, octets: bytes) -> None:
    """Write all octets, durably.

    Raises:
        OSError: some may not be written.
    """
    view = memoryview(octets)
    while view:
        view = view[os.write(descriptor, view) :]
    os.fsync(descriptor)


def _sync_directory(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
