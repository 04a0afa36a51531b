"""Accounts in a text file, in the format Dovecot reads: ``user:{SCHEME}hash[:ignored…]``, a line each."""

import asyncio
import contextlib
import functools
import hashlib
import hmac
import logging
import os
import secrets
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from restante.auth import (
    PASSWORDS_ONLY,
    Apop,
    CramMd5,
    Credentials,
    External,
    Kind,
    Kinds,
    Password,
    Principal,
    ScramRecord,
    canonical_user,
    folded_user,
)
from restante.authenticators import schemes
from restante.authenticators.remembered import LIFETIME, RememberedLogins
from restante.errors import AuthenticationFailed, TemporaryFailure
from restante.saslprep import prepared

log = logging.getLogger("restante.auth")

ITERATIONS = 15_000
"""Of SCRAM for accounts whose password itself is kept (RFC 7677 section 4)."""
SECRET = 32
"""Octets."""
ANNOUNCED = 1.0
"""Seconds for which it is announced what accounts can do, without another look at the file."""
SETTLING = 2
"""Seconds that a file which ends in half a line, or is empty, may be one that is just being written."""


class Line(NamedTuple):
    """What one line of the file says."""

    number: int
    user: str
    hash: schemes.Hash | None
    problem: str = ""
    """Why the line is not used; empty when it is."""
    names_account: bool = False
    """There is such an account, even if nobody can log in to it because of its hash."""


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
        return Line(number, user, None, str(error), names_account=True)
    if not schemes.supported(stored):
        problem = f"this system cannot verify such a {{{stored.scheme}}} hash"
        return Line(number, user, None, problem, names_account=True)
    return Line(number, user, stored, names_account=True)


def name_problem(user: str) -> str:
    """Say why this cannot be the name of an account; empty when it can (P-010, P-291)."""
    if not user:
        return "a user name is missing"
    if not user.isprintable() or " " in user or ":" in user:
        return "a user name is printable, without spaces and colons"
    if len(user) > 200:
        return "a user name is at most 200 characters"
    if user.startswith((".", "#")) or "/" in user:
        return "a user name has no slash and does not begin with a dot or #"
    return _unprepared(user)


def _unprepared(user: str) -> str:
    """Say what is wrong with a name that nobody could log in by: names are compared after SASLprep (P-202)."""
    try:
        right = prepared(user)
    except ValueError as error:
        return f"this can be no user name: {error}"
    return "" if right == user else f"a user name is written as SASLprep has it: {right}"


class _Accounts(NamedTuple):
    version: tuple[int, int, int]
    users: dict[str, schemes.Hash]
    hashes: list[schemes.Hash]
    kinds: Kinds
    names: dict[str, list[str]]
    """Of all accounts, those too that nobody can log in to; by their name without differences of case."""


_NOTHING = schemes.Hash("PLAIN", "-")
"""What stands for an account where there are none."""


class PasswdFile:
    """An `Authenticator`, `Versatile`, `Prompt`, a `ScramSource` and a `Directory`.

    The file is read again whenever it changes.

    Args:
        path: the file.
        threads: how many passwords are hashed at a time (P-290); default: one for each core.
        remember: seconds for which a right password is not hashed again; 0: it always is.
        clock: returns seconds and never goes back.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        threads: int = 0,
        remember: float = LIFETIME,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = Path(path)
        self._name = str(self._path)
        self._remembered = RememberedLogins(remember, clock)
        self._pool = ThreadPoolExecutor(threads or os.cpu_count() or 1, thread_name_prefix="restante-hash")
        self._accounts: _Accounts | None = None
        self._clock = clock
        self._announced_until = 0.0
        """Then they are compared with the file again for what is announced."""
        self._secret = functools.cache(lambda: decoy_secret(self._path))
        self._scram_keys = functools.lru_cache(10_000)(schemes.scram_keys)

    async def authenticate(self, credentials: Credentials) -> Principal:
        """See `Authenticator.authenticate`."""
        user = canonical_user(credentials.user)
        accounts = await self._now()
        stored = accounts.users.get(user)
        known = stored is not None
        if stored is None:
            stored = self._decoy(accounts, user)
        if not await self._proves(user, credentials, stored, known=known) or not known:
            raise AuthenticationFailed("unknown user" if not known else f"wrong {type(credentials).__name__}")
        return Principal(user)

    def authenticate_now(self, credentials: Credentials) -> Principal | None:
        """See `Prompt.authenticate_now`; whoever is refused is refused by `authenticate`, at its cost (P-039)."""
        accounts = self._known()
        if accounts is None or not isinstance(credentials, Password):
            return None
        user = canonical_user(credentials.user)
        stored = accounts.users.get(user)
        if stored is None:
            return None
        if stored.is_cheap:
            right = stored.matches(credentials.password)
        else:
            right = self._remembered.knows(_login(user, stored, credentials.password))
        return Principal(user) if right else None

    async def _proves(self, user: str, credentials: Credentials, stored: schemes.Hash, *, known: bool) -> bool:
        """Compare credentials with what is stored, in constant time (P-289), or remember that they were right."""
        if isinstance(credentials, Password):
            password = credentials.password
            if stored.is_cheap:
                return stored.matches(password)
            login = _login(user, stored, password)
            return await self._remembered.proves(login, functools.partial(self._hash, stored, password, known=known))
        if isinstance(credentials, (Apop, CramMd5)):
            secret = stored.data.encode()
            if isinstance(credentials, Apop):  # RFC 1939 section 7, P-061
                digest = hashlib.md5(credentials.timestamp + secret, usedforsecurity=False).hexdigest()
            else:  # RFC 2195 section 2
                digest = hmac.new(secret, credentials.challenge, "md5").hexdigest()
            right = hmac.compare_digest(digest.encode(), credentials.digest.encode())
            return right and Kind.SECRET in stored.kinds
        return isinstance(credentials, External)  # the certificate has proved it; what counts is the account

    async def _hash(self, stored: schemes.Hash, password: bytes, *, known: bool) -> bool:
        """Verify a password in a thread.

        P-039: no password is right for a user who does not exist, not even that of the decoy: a second login would
        be remembered, and its speed would tell.
        """
        right = await asyncio.get_running_loop().run_in_executor(self._pool, stored.matches, password)
        return right and known

    def kinds(self) -> Kinds:
        """See `Versatile.kinds`; while the file is out of reach, what it was."""
        accounts = self._accounts
        try:
            if accounts is None:
                accounts = self._current()
            elif self._announced_until <= self._clock():
                self._announced_until = self._clock() + ANNOUNCED
                if accounts.version != self._version():
                    self._pool.submit(self._current)  # known to the next connection
        except TemporaryFailure:
            if accounts is None:
                return PASSWORDS_ONLY
        return accounts.kinds

    async def scram_record(self, user: str, kind: Kind) -> ScramRecord:
        """See `ScramSource.scram_record`."""
        user = canonical_user(user)
        accounts = await self._now()
        stored = accounts.users.get(user)
        able = stored is not None and kind in stored.kinds
        if stored is None or not able:
            # P-207: as one of the real ones would be.
            stored = self._decoy(accounts, user, kind)
        if stored.scheme == kind.value:
            iterations, salt, keys = schemes.scram_fields(stored.data)
            if not able:
                salt = self._digest("salt", user)[: len(salt)]
        else:
            iterations, salt = ITERATIONS, self._digest("salt", user)[:16]
            password = stored.data.encode() if able else self._digest("password", user)
            loop = asyncio.get_running_loop()
            keys = await loop.run_in_executor(self._pool, self._scram_keys, password, salt, iterations, kind)
        return ScramRecord(salt, iterations, keys.stored, keys.server, Principal(user) if able else None)

    async def accounts(self, name: str) -> Collection[str]:
        """See `Directory.accounts`; mail for an account does not depend on whether its hash is any good."""
        return (await self._now()).names.get(folded_user(name), ())

    async def first_account(self) -> str | None:
        """See `Directory.first_account`; the first that can log in, as somebody shall read that mail."""
        return next(iter((await self._now()).users), None)

    async def _now(self) -> _Accounts:
        """Return the accounts as they are now.

        Raises:
            TemporaryFailure: the file cannot be read.
        """
        accounts = self._known()
        if accounts is None:
            loop = asyncio.get_running_loop()
            accounts = await loop.run_in_executor(self._pool, self._current)
        return accounts

    def _known(self) -> _Accounts | None:
        """Return the accounts if they are those of the file; None: it has to be read."""
        try:
            version = self._version()
        except TemporaryFailure:  # who reads it says so
            return None
        return self._accounts if self._accounts is not None and self._accounts.version == version else None

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

    def _decoy(self, accounts: _Accounts, user: str, kind: Kind = Kind.PASSWORD) -> schemes.Hash:
        """Return a hash to verify for an unknown user, so that both cases cost the same (P-039).

        It is one of the real ones, always the same for one name, so that times of unknown names are spread
        as those of known ones; its outcome is not used.
        """
        able = accounts.hashes if kind is Kind.PASSWORD else [one for one in accounts.hashes if kind in one.kinds]
        if not able:
            return _NOTHING
        return able[int.from_bytes(self._digest("decoy", user)[:8], "big") % len(able)]

    def _digest(self, what: str, user: str) -> bytes:
        """Return 32 octets that are always the same for one name, and that nobody else can tell."""
        return hmac.digest(self._secret(), f"{what} {user}".encode("utf-8", "surrogateescape"), "sha256")

    def _version(self) -> tuple[int, int, int]:
        """Return what changes with the file.

        Raises:
            TemporaryFailure: the file is out of reach.
        """
        try:
            status = os.stat(self._name)  # noqa: PTH116  (several times for each login, and pathlib is slower)
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
        names: dict[str, list[str]] = {}
        for line in parse(text):
            if line.names_account and line.user not in (same := names.setdefault(folded_user(line.user), [])):
                same.append(line.user)
            if line.hash is None:
                log.warning("%s:%d: %s; the line is not used", self._path, line.number, line.problem)
            else:
                users[line.user] = line.hash
        kinds = [stored.kinds for stored in users.values()] or [PASSWORDS_ONLY.every]
        every, some = frozenset.intersection(*kinds), frozenset.union(*kinds)
        return _Accounts(version, users, list(users.values()), Kinds(every, some), names)


def _login(user: str, stored: schemes.Hash, password: bytes) -> tuple[bytes, ...]:
    """Return all that the outcome of a login depends on."""
    return user.encode("utf-8", "surrogateescape"), stored.scheme.encode(), stored.data.encode(), password


def _is_being_written(before: tuple[int, int, int], now: tuple[int, int, int]) -> bool:
    """The same file has just changed; one that was moved into its place is complete."""
    return before[2] == now[2] and 0 <= time.time_ns() - now[0] < SETTLING * 1_000_000_000


def decoy_secret(path: Path) -> bytes:
    """Return what invented records are made of: it must outlive the process, or a restart tells which are real (P-207).

    It is kept beside the accounts, in a file with ``.secret`` at the end of its name.
    """
    beside = path.with_name(f"{path.name}.secret")
    fresh = secrets.token_bytes(SECRET)
    try:
        with contextlib.suppress(FileExistsError):
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(fresh)
            return fresh
        secret = beside.read_bytes()
    except OSError as error:
        log.warning("%s: %s; unknown users can be told from known ones by a restart", beside, error.strerror)
        return fresh
    return secret if len(secret) == SECRET else fresh
