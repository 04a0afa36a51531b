"""Maildir++ quota: ``maildirsize``, which other programs keep too (M-012 to M-016).

The first line has the limits, ``1000000S,100C``; each further one what came or went, octets and messages.
"""

import contextlib
import logging
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from typing import NamedTuple

from restante.errors import QuotaExceeded
from restante.stores.files import READ_FLAGS, create, write_all
from restante.stores.maildir.folder import Folder
from restante.stores.maildir.records import DIRECTORIES

log = logging.getLogger("restante.store")

NAME = "maildirsize"
LONGEST = 5120
"""Octets from which the file is written anew."""
AGED = 15 * 60
"""Seconds after which a file that says the quota is exceeded is not believed."""
_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_SIZE = re.compile(r",S=(\d+)")


class Limits(NamedTuple):
    """Quota of a maildrop; 0: none."""

    octets: int = 0
    """Of files as they are on disk."""
    messages: int = 0

    def allow(self, octets: int, messages: int) -> bool:
        """Say whether so much may be there."""
        return not (0 < self.octets < octets or 0 < self.messages < messages)


class _Sheet(NamedTuple):
    """What the file says."""

    limits: Limits
    octets: int
    messages: int
    lines: int
    size: int
    modified: float


class Quota:
    """What may be in a Maildir, and what is.

    Args:
        folder: the Maildir.
        configured: by the site; None: what the file itself says, and without a file there is no quota (M-016).
    """

    __slots__ = ("_configured", "_folder", "_path")

    def __init__(self, folder: Folder, configured: Limits | None = None) -> None:
        self._folder = folder
        self._path = folder.join(NAME)
        self._configured = configured

    def check(self, octets: int) -> None:
        """See to it that a message of that size has room (M-015).

        Raises:
            QuotaExceeded: it has not.
            OSError: nobody can tell.
        """
        sheet = self._current()
        if sheet is None or sheet.limits.allow(sheet.octets + octets, sheet.messages + 1):
            return
        # M-014: a file that says no may be wrong, unless it was just counted.
        if sheet.lines > 1 or sheet.modified < time.time() - AGED:
            sheet = self.recalculate(sheet.limits)
            if sheet.limits.allow(sheet.octets + octets, sheet.messages + 1):
                return
        raise QuotaExceeded(f"{self._folder.path}: {sheet.octets} octets in {sheet.messages} messages are there")

    def note(self, octets: int, messages: int) -> None:
        """Add what came (or, negative, went), in one write (M-015); that this fails undoes nothing."""
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | _FLAGS)
        except FileNotFoundError:
            return
        except OSError as error:
            log.warning("the quota is not up to date: %s", error)
            return
        try:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                os.write(descriptor, b"%d %d\n" % (octets, messages))
        except OSError as error:
            log.warning("the quota is not up to date: %s", error)
        finally:
            os.close(descriptor)

    def note_names(self, files: list[tuple[str, int]], sign: int = 1) -> None:
        """Add messages that came (or, sign -1, went) by name and octets on disk; flag T is not counted (M-013)."""
        counted = [octets for name, octets in files if not _is_trashed(name)]
        if counted:
            self.note(sign * sum(counted), sign * len(counted))

    def usage(self) -> tuple[Limits, int, int] | None:
        """Return limits, octets and messages as the file has them; None: no quota."""
        sheet = self._current()
        return None if sheet is None else (sheet.limits, sheet.octets, sheet.messages)

    def _current(self) -> _Sheet | None:
        sheet = self._read()
        if sheet is None:
            return None if self._configured is None else self.recalculate(self._configured)
        limits = sheet.limits if self._configured is None else self._configured
        if sheet.size >= LONGEST or sheet.limits != limits:
            return self.recalculate(limits)
        return sheet

    def _read(self) -> _Sheet | None:
        try:
            descriptor = os.open(self._path, READ_FLAGS)
        except FileNotFoundError:
            return None
        try:
            octets, status = os.read(descriptor, LONGEST), os.fstat(descriptor)
        finally:
            os.close(descriptor)
        head, *lines = octets.decode("ascii", "replace").splitlines() or [""]
        pairs = [(int(line[0]), int(line[1])) for line in map(_numbers, lines) if line]
        limits = _limits(head)
        total = sum(pair[0] for pair in pairs), sum(pair[1] for pair in pairs)
        return _Sheet(limits, *total, len(lines), status.st_size, status.st_mtime)

    def recalculate(self, limits: Limits) -> _Sheet:
        """Count what is there, and write the file anew (M-014).

        Raises:
            OSError: it cannot be counted, or not be written.
        """
        for _ in range(3):
            before = self._stamps()
            octets = messages = 0
            for size in self._sizes():
                octets, messages = octets + size, messages + 1
            self._write(limits, octets, messages)
            if self._stamps() == before:
                break
            with contextlib.suppress(FileNotFoundError):  # somebody delivered meanwhile: who counts next begins anew
                os.unlink(self._path)
        return _Sheet(limits, octets, messages, 1, 0, time.time())

    def _write(self, limits: Limits, octets: int, messages: int) -> None:
        name = f"{int(time.time())}.M0P{os.getpid()}R{secrets.token_hex(8)}.{NAME}"
        aside = self._folder.join("tmp", name)
        descriptor = create(aside)
        try:
            both = [f"{limits.octets}S"] * bool(limits.octets) + [f"{limits.messages}C"] * bool(limits.messages)
            write_all(descriptor, f"{','.join(both)}\n{octets} {messages}\n".encode("ascii"), 0)
            os.rename(aside, self._path)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(aside)
            raise
        finally:
            os.close(descriptor)

    def _folders(self) -> Iterator[str]:
        """Give the Maildir itself and its subfolders; what is in the trash does not count (M-013)."""
        yield self._folder.path
        with os.scandir(self._folder.path) as entries:
            for entry in entries:
                is_folder = entry.name.startswith(".") and entry.is_dir(follow_symlinks=False)
                if is_folder and entry.name != ".Trash" and os.path.isdir(os.path.join(entry.path, "cur")):
                    yield entry.path

    def _stamps(self) -> list[tuple[str, int]]:
        return sorted((path, os.stat(path).st_mtime_ns) for folder in self._folders() for path in _parts(folder))

    def _sizes(self) -> Iterator[int]:
        for folder in self._folders():
            for path in _parts(folder):
                with os.scandir(path) as entries:
                    for entry in entries:
                        if entry.name.startswith(".") or _is_trashed(entry.name):
                            continue
                        match = _SIZE.search(entry.name.partition(":")[0])
                        with contextlib.suppress(FileNotFoundError):
                            yield int(match[1]) if match else entry.stat(follow_symlinks=False).st_size


def _parts(folder: str) -> list[str]:
    """Return where the messages of a folder are; one that another program has made may lack a part."""
    paths = [os.path.join(folder, part) for part in DIRECTORIES]
    return [path for path in paths if os.path.isdir(path)]


def _is_trashed(name: str) -> bool:
    return "T" in name.rpartition(":2,")[2] if ":2," in name else False


def _numbers(line: str) -> list[str]:
    """Return the two numbers of a line, which may be padded; nothing for a line that is damaged."""
    words = line.split()
    return words[:2] if len(words) >= 2 and all(re.fullmatch(r"-?\d{1,18}", word) for word in words[:2]) else []


def _limits(line: str) -> Limits:
    found = {"S": 0, "C": 0}
    for part in line.split(","):
        match = re.fullmatch(r"\s*(\d{1,18})([SC])\s*", part)
        if match:
            found[match[2]] = int(match[1])
    return Limits(found["S"], found["C"])
