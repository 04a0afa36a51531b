"""Accounts in a text file, in the format Dovecot reads: ``user:{SCHEME}hash[:ignored…]``, a line each."""

import asyncio
import contextlib
import fcntl
import hashlib
import hmac
import logging
import os
import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from restante.auth import Credentials, Principal, canonical_user
from restante.authenticators import schemes
from restante.errors import AuthenticationFailed, TemporaryFailure

log = logging.getLogger("restante.auth")

SETTLING = 2
"""Seconds that a file which ends in half a line, or is empty, may be one that is just being written."""


class Line(NamedTuple):
    """What one line of the file says."""

    number: int
    user: str
    hash: schemes.Hash | None
    problem: str = ""
    """Why the line is not used; empty when it is."""


def parse(text: str) -> Iterator[Line]:
    """Read the lines of a passwd file; blank ones and comments are left out."""
    seen: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.startswith("#"):
            continue
        parsed = _parse_line(number, line.rstrip("\r"), seen)
        if not parsed.problem:
            seen[parsed.user] = number
        yield parsed


def _parse_line(number: int, line: str, seen: dict[str, int]) -> Line:
    name, colon, rest = line.partition(":")
    user = canonical_user(name)
    problem = name_problem(user)
    if not colon:
        problem = "a line is user:{SCHEME}hash, but this one has no colon"
    elif user in seen:
        problem = f"{user} is already on line {seen[user]}, which is used"
    if problem:
        return Line(number, user, None, problem)
    try:
        stored = schemes.parse(rest.partition(":")[0])
    except schemes.SchemeError as error:
        return Line(number, user, None, str(error))
    if not schemes.supported(stored):
        return Line(number, user, None, f"this system cannot verify such a {{{stored.scheme}}} hash")
    return Line(number, user, stored)


def name_problem(user: str) -> str:
    """Say why this cannot be the name of an account; empty when it can (P-010, P-291)."""
    if not user:
        return "a user name is missing"
    if not user.isascii() or not user.isprintable() or " " in user or ":" in user:
        return "a user name is printable ASCII without spaces and colons"
    if len(user) > 200:
        return "a user name is at most 200 characters"
    if user.startswith((".", "#")) or "/" in user:
        return "a user name has no slash and does not begin with a dot or #"
    return ""


class _Accounts(NamedTuple):
    version: tuple[int, int, int]
    users: dict[str, schemes.Hash]
    hashes: list[schemes.Hash]


class PasswdFile:
    """An `Authenticator`.  The file is read again whenever it changes.

    Args:
        path: the file.
        threads: how many passwords are hashed at a time (P-290); default: one for each core.
    """

    def __init__(self, path: str | os.PathLike[str], threads: int = 0) -> None:
        self._path = Path(path)
        self._pool = ThreadPoolExecutor(threads or os.cpu_count() or 1, thread_name_prefix="restante-hash")
        self._accounts: _Accounts | None = None
        self._secret = secrets.token_bytes(16)

    async def authenticate(self, credentials: Credentials) -> Principal:
        """See `Authenticator.authenticate`."""
        user = canonical_user(credentials.user)
        loop = asyncio.get_running_loop()
        accounts = self._accounts
        if accounts is None or accounts.version != self._version():
            accounts = await loop.run_in_executor(self._pool, self._current)
        stored = accounts.users.get(user)
        known = stored is not None
        if stored is None:
            stored = self._decoy(accounts, user)
        if stored.is_cheap:
            matches = stored.matches(credentials.password)
        else:
            matches = await loop.run_in_executor(self._pool, stored.matches, credentials.password)
        if not known or not matches:
            raise AuthenticationFailed("unknown user" if not known else "wrong password")
        return Principal(user)

    def users(self) -> list[str]:
        """Return the names of all accounts.

        Raises:
            TemporaryFailure: the file cannot be read.
        """
        return list(self._current().users)

    def problems(self) -> Iterator[str]:
        """Say what is wrong with the file, a line each, file and line number first."""
        try:
            text = self._path.read_text(encoding="utf-8", errors="replace")
            mode = self._path.stat().st_mode
        except OSError as error:
            yield f"{self._path}: cannot be read: {error.strerror}"
            return
        if mode & 0o007:
            yield f"{self._path}: everybody on this machine can read or change it; chmod 600 would be right"
        for line in parse(text):
            if line.problem:
                yield f"{self._path}:{line.number}: {line.problem}"

    def _decoy(self, accounts: _Accounts, user: str) -> schemes.Hash:
        """Return a hash to verify for an unknown user, so that both cases cost the same (P-039).

        It is one of the real ones, always the same for one name, so that times of unknown names are spread
        as those of known ones; its outcome is not used.
        """
        if not accounts.hashes:
            return schemes.Hash("PLAIN", "-")
        digest = hmac.digest(self._secret, user.encode("utf-8", "surrogateescape"), hashlib.sha256)
        return accounts.hashes[int.from_bytes(digest[:8], "big") % len(accounts.hashes)]

    def _version(self) -> tuple[int, int, int]:
        """Return what changes with the file.

        Raises:
            TemporaryFailure: the file is out of reach.
        """
        try:
            status = self._path.stat()
        except OSError as error:
            raise TemporaryFailure(f"{self._path}: {error.strerror}") from error
        return status.st_mtime_ns, status.st_size, status.st_ino

    def _current(self) -> _Accounts:
        """Return the accounts, reading the file if it has changed.

        Raises:
            TemporaryFailure: it cannot be read.
        """
        version = self._version()
        if self._accounts is None or self._accounts.version != version:
            try:
                text = self._path.read_text(encoding="utf-8", errors="replace")
            except OSError as error:
                raise TemporaryFailure(f"{self._path}: {error.strerror}") from error
            before = self._accounts
            if before is not None and not text.endswith("\n") and _is_being_written(before.version, version):
                return before  # what was there before still holds
            self._accounts = self._read(text, version)
        return self._accounts

    def _read(self, text: str, version: tuple[int, int, int]) -> _Accounts:
        users = {}
        for line in parse(text):
            if line.hash is None:
                log.warning("%s:%d: %s; the line is not used", self._path, line.number, line.problem)
            else:
                users[line.user] = line.hash
        return _Accounts(version, users, list(users.values()))


def _is_being_written(before: tuple[int, int, int], now: tuple[int, int, int]) -> bool:
    """The same file has just changed; one that was moved into its place is complete."""
    return before[2] == now[2] and 0 <= time.time_ns() - now[0] < SETTLING * 1_000_000_000


class PasswdFileEditor:
    """Changes accounts in a passwd file; comments and the other lines stay as they are.

    Args:
        path: the file; it is made if it is missing.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path).resolve()  # a symbolic link stays one

    def add(self, user: str, password: bytes) -> None:
        """Add an account.

        Raises:
            ValueError: there is one with that name already, or the name cannot be one.
            OSError: the file cannot be written.
        """
        user = canonical_user(user)
        if problem := name_problem(user):
            raise ValueError(problem)
        with self._locked() as lines:
            if self._find(lines, user) is not None:
                raise ValueError(f"{user} exists already; `restante user passwd {user}` changes the password")
            if lines and not lines[-1].endswith("\n"):
                lines[-1] += "\n"
            lines.append(f"{user}:{schemes.make(password)}\n")

    def set_password(self, user: str, password: bytes) -> None:
        """Change a password.

        Raises:
            LookupError: no such account.
            OSError: the file cannot be written.
        """
        user = canonical_user(user)
        with self._locked() as lines:
            index = self._index(lines, user)
            fields = lines[index].rstrip("\r\n").split(":")
            fields[1:2] = [schemes.make(password)]
            lines[index] = ":".join(fields) + "\n"

    def remove(self, user: str) -> None:
        """Remove an account; its mail stays.

        Raises:
            LookupError: no such account.
            OSError: the file cannot be written.
        """
        user = canonical_user(user)
        with self._locked() as lines:
            self._index(lines, user)
            # All lines of that name: a second one is not used now, but would be when the first has gone.
            lines[:] = [line for line in lines if self._find([line], user) is None]

    def _index(self, lines: list[str], user: str) -> int:
        index = self._find(lines, user)
        if index is None:
            raise LookupError(f"there is no account {user} in {self._path}")
        return index

    def _find(self, lines: list[str], user: str) -> int | None:
        for index, line in enumerate(lines):
            if line.strip() and not line.startswith("#") and canonical_user(line.partition(":")[0].strip()) == user:
                return index
        return None

    @contextlib.contextmanager
    def _locked(self) -> Iterator[list[str]]:
        """Give the lines to be changed, then replace the file by them: whole, durable, with its old permissions."""
        directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)  # two editors at once: one after the other
            lines = self._read()
            yield lines
            self._replace(lines)
            os.fsync(directory)
        finally:
            os.close(directory)

    def _read(self) -> list[str]:
        try:
            # newline="\n": nothing else ends a line, and nothing is translated
            with self._path.open(encoding="utf-8", errors="surrogateescape", newline="\n") as file:
                return file.readlines()
        except FileNotFoundError:
            return []

    def _replace(self, lines: list[str]) -> None:
        aside = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
                with contextlib.suppress(FileNotFoundError):
                    status = self._path.stat()
                    os.fchmod(descriptor, status.st_mode & 0o777)
                    with contextlib.suppress(PermissionError):
                        os.fchown(descriptor, status.st_uid, status.st_gid)
                file.writelines(lines)
                file.flush()
                os.fsync(descriptor)
            aside.replace(self._path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
