"""What is known of the messages of an account: a file that is only added to, each line durable before what follows.

Three facts for each unique-id: seen, delivered, deletion still owed.  The states and steps are a table in
docs/INTERNALS.md ("Fetching"); a test kills a fetcher at each of them.  Nothing is ever forgotten because a server does
not show it: maildrops are shown empty by mistake, and come back.
"""

import asyncio
import fcntl
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from restante.errors import MaildropInUse, PermanentFailure, TemporaryFailure, one_line

VERSION = 1
_ENOUGH = 1000
"""Lines below which a journal is not worth shortening."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A message of the account; times in seconds since 1970, 0: not yet."""

    id: str
    """Its unique-id, or the hash of its content where the server has none for it alone."""
    seen: float = 0
    delivered: float = 0
    """When it was durable at its destination."""
    owed: bool = False
    """The server is still to delete it."""
    gone: bool = False
    """The server has confirmed the deletion, or does not list it any more.  If it comes back, its content decides."""
    receipt: str = ""
    """By what its destination knows it, while it is not certain that it was delivered."""
    digest: str = ""
    """SHA-256 of its octets as they were received; ``""``: not known."""
    left: str = ""
    """Which filter has decided to leave it on the server."""
    by_content: bool = False
    """The server has given this id to several messages, so it does not tell which one is meant (K-007)."""


_FIELDS: Mapping[str, Any] = asdict(Entry(""))


class Journal:
    """The journal of one account, locked while it is open.

    Args:
        path: of the file; its folder is made.
        account: whose it is, as a URL without a password.
        moved: the account has another URL now, but is the same maildrop with the same unique-ids.

    Raises:
        MaildropInUse: another fetcher has it.
        PermanentFailure: it is of another account, or no journal.
        TemporaryFailure: it cannot be read or written.
    """

    def __init__(self, path: Path, account: str, *, moved: bool = False) -> None:
        self.path = path
        self._account = account
        self._entries: dict[str, Entry] = {}
        self._pending: list[Entry] = []
        self._turn = asyncio.Lock()
        self._broken = ""
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _failure(path, error) from None
        self._descriptor = -1
        try:
            self._open(moved=moved)
        except OSError as error:
            self.close()
            raise _failure(path, error) from None
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; may be called again."""
        for descriptor in (self._descriptor, self._lock):
            if descriptor >= 0:
                os.close(descriptor)
        self._descriptor = self._lock = -1

    # -- reading ------------------------------------------------------------------------------------

    def get(self, unique_id: str) -> Entry | None:
        """Return what is known of a message."""
        return self._entries.get(unique_id)

    def __iter__(self) -> Iterator[Entry]:
        return iter(list(self._entries.values()))

    def __len__(self) -> int:
        return len(self._entries)

    # -- writing ------------------------------------------------------------------------------------

    async def note(self, *entries: Entry) -> None:
        """Add what has become known; when this returns it survives a power cut.  Calls at one time share a flush.

        Raises:
            TemporaryFailure: it is not certain to be written, and nothing more can be.
        """
        for entry in entries:
            self._entries[entry.id] = entry
        self._pending += entries
        async with self._turn:
            if self._broken:
                raise TemporaryFailure(self._broken)
            entries_to_write, self._pending = self._pending, []
            if not entries_to_write:
                return
            try:
                await asyncio.shield(asyncio.to_thread(self._append, entries_to_write))
            except OSError as error:
                self._broken = str(_failure(self.path, error))
                raise TemporaryFailure(self._broken) from None

    async def change(self, unique_id: str, **facts: Any) -> Entry:
        """Note other facts of a message; returns all that is known of it."""
        entry = replace(self._entries.get(unique_id) or Entry(unique_id), **facts)
        await self.note(entry)
        return entry

    def _append(self, entries: Iterable[Entry]) -> None:
        _write(self._descriptor, b"".join(_line(entry) for entry in entries))
        os.fdatasync(self._descriptor)

    # -- opening ------------------------------------------------------------------------------------

    def _open(self, *, moved: bool) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise MaildropInUse(f"{self.path}: another fetcher has this account at the moment") from None
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._descriptor = os.open(self.path, flags, 0o600)
        octets = self.path.read_bytes()
        whole, newline, _torn = octets.rpartition(b"\n")
        lines = whole.split(b"\n") if newline else []
        wrong = lines and self._head(lines[0])
        if wrong and not moved:
            raise PermanentFailure(wrong)
        for number, line in enumerate(lines[1:], 2):
            self._read(number, line)
        if wrong or not lines or len(whole) + 1 != len(octets) or len(lines) > 2 * len(self._entries) + _ENOUGH:
            self._rewrite()

    def _head(self, line: bytes) -> str:
        """Say what is wrong with the first line."""
        try:
            head = json.loads(line)
            version, account = head["restante-fetch"], head["account"]
        except (ValueError, KeyError, TypeError):
            raise PermanentFailure(f"{self.path}:1: this is no journal of `restante fetch`") from None
        if version != VERSION:
            raise PermanentFailure(f"{self.path}:1: a journal of version {version}; this program knows {VERSION}")
        if account == self._account:
            return ""
        return one_line(
            f"{self.path}: this is the journal of {account}, not of {self._account}; "
            "name another file with state, or say --moved if it is the same maildrop at another address"
        )

    def _read(self, number: int, line: bytes) -> None:
        try:
            facts = json.loads(line)
            entry = Entry(**{name: type(_FIELDS[name])(value) for name, value in facts.items()})
        except (ValueError, KeyError, TypeError, AttributeError):
            raise PermanentFailure(
                f"{self.path}:{number}: a damaged line; nothing is fetched before it is mended or removed"
            ) from None
        self._entries[entry.id] = entry

    def _rewrite(self) -> None:
        """Write all that is known to another file, and put that in place of the old one."""
        new = f"{self.path}.new"
        descriptor = os.open(new, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            head = json.dumps({"restante-fetch": VERSION, "account": self._account})
            _write(descriptor, head.encode() + b"\n" + b"".join(_line(entry) for entry in self))
            os.fsync(descriptor)
            os.rename(new, self.path)  # noqa: PTH104  (system calls by their names)
        except BaseException:
            os.close(descriptor)
            raise
        os.close(self._descriptor)
        self._descriptor = descriptor
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def seen_now(unique_id: str, **facts: Any) -> Entry:
    """Make an entry for a message that is listed for the first time."""
    return Entry(unique_id, seen=float(int(time.time())), **facts)


def _line(entry: Entry) -> bytes:
    facts = {name: value for name, value in asdict(entry).items() if value != _FIELDS[name]}
    return json.dumps(facts, separators=(",", ":")).encode() + b"\n"


def _write(descriptor: int, octets: bytes) -> None:
    left = memoryview(octets)
    while left:
        left = left[os.write(descriptor, left) :]


def _failure(path: Path, error: OSError) -> TemporaryFailure:
    return TemporaryFailure(f"{path}: {error.strerror or error}")
