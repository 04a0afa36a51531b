"""Contract between whoever asks "who is this?" and whoever knows.

An authenticator turns credentials into a principal.  It never learns where they came from, and nothing
it raises names the reason to the peer (P-039).  What not every user table can do is an add-on protocol.
"""

import copy
from collections.abc import Collection, Iterator, Sequence
from enum import Enum
from typing import NamedTuple, Protocol, Self, runtime_checkable


class Principal(NamedTuple):
    """Who has logged in."""

    user: str
    """The name as the user table has it, which is what a store maps to a maildrop (P-291)."""
    read_only: bool = False
    """Nothing may be deleted: the mail of ANONYMOUS (P-200)."""


class _Secretive:
    """Leaves secrets out of every textual form, so that no log, trace or exception can show them (P-287)."""

    __slots__ = ("user",)
    _secret: tuple[str, ...] = ()

    user: str

    def _fields(self) -> Iterator[str]:
        yield "user"
        yield from self.__slots__

    def called(self, user: str) -> Self:
        """Return the same under another name: that of the account which the client's own word for it means (P-052)."""
        if user == self.user:
            return self
        other = copy.copy(self)
        other.user = user
        return other

    def __repr__(self) -> str:
        shown = (
            f"{name}={'<hidden>' if name in self._secret else repr(getattr(self, name))}" for name in self._fields()
        )
        return f"{type(self).__name__}({', '.join(shown)})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self._fields())

    def __hash__(self) -> int:
        return hash((self.user, *[getattr(self, name) for name in self.__slots__]))


class Password(_Secretive):
    """A name and a password, from USER and PASS (RFC 1939 section 7), PLAIN (RFC 4616) or LOGIN."""

    __slots__ = ("password",)
    _secret = ("password",)

    def __init__(self, user: str, password: bytes) -> None:
        self.user = user
        self.password = password


class Apop(_Secretive):
    """The digest of a timestamp and a shared secret (RFC 1939 section 7, APOP)."""

    __slots__ = ("digest", "timestamp")
    _secret = ("digest",)

    def __init__(self, user: str, timestamp: bytes, digest: str) -> None:
        self.user = user
        self.timestamp = timestamp
        self.digest = digest
        """32 hexadecimal digits in lower case."""


class CramMd5(_Secretive):
    """The keyed digest of a challenge (RFC 2195)."""

    __slots__ = ("challenge", "digest")
    _secret = ("digest",)

    def __init__(self, user: str, challenge: bytes, digest: str) -> None:
        self.user = user
        self.challenge = challenge
        self.digest = digest
        """32 hexadecimal digits in lower case."""


class Bearer(_Secretive):
    """An OAuth 2.0 access token (RFC 6750), from OAUTHBEARER (RFC 7628) or XOAUTH2.

    `user` is who the client says it is, ``""`` when it leaves that to the token.
    """

    __slots__ = ("token",)
    _secret = ("token",)

    def __init__(self, user: str, token: str) -> None:
        self.user = user
        self.token = token


class External(_Secretive):
    """A name that the TLS client certificate vouches for (RFC 4422 appendix A)."""

    __slots__ = ()

    def __init__(self, user: str) -> None:
        self.user = user


class Anonymous(_Secretive):
    """Nobody in particular (RFC 4505); `user` is the trace text, which proves nothing."""

    __slots__ = ()

    def __init__(self, trace: str) -> None:
        self.user = trace


class Proven(_Secretive):
    """The outcome of an exchange that has proved already who this is, or failed to (SCRAM, RFC 5802).

    No authenticator sees it: `principal` is what the record had, None when the login must fail.
    """

    __slots__ = ("principal",)

    def __init__(self, user: str, principal: Principal | None) -> None:
        self.user = user
        self.principal = principal


Credentials = Password | Apop | CramMd5 | Bearer | External | Anonymous
"""All that an `Authenticator` may be asked about; it refuses kinds that it does not know."""


class Authenticator(Protocol):
    """Knows accounts."""

    async def authenticate(self, credentials: Credentials) -> Principal:
        """Say whose credentials these are.

        Raises:
            AuthenticationFailed: unknown user or wrong password, at the same cost (P-039).
            TemporaryFailure: the accounts cannot be read now.
        """
        ...


class Kind(Enum):
    """Ways in which an account can be proved."""

    PASSWORD = "password"  # noqa: S105  (no password)
    SCRAM_SHA_1 = "SCRAM-SHA-1"
    SCRAM_SHA_256 = "SCRAM-SHA-256"
    SECRET = "secret"  # noqa: S105
    """The password itself is kept, as APOP and CRAM-MD5 need it (P-064)."""
    BEARER = "bearer"
    EXTERNAL = "external"
    ANONYMOUS = "anonymous"


class Kinds(NamedTuple):
    """What the accounts of a user table can do."""

    every: frozenset[Kind]
    """Ways that work for each account: these may be announced without disappointing anyone."""
    some: frozenset[Kind]
    """Ways that work for at least one."""


PASSWORDS_ONLY = Kinds(frozenset({Kind.PASSWORD}), frozenset({Kind.PASSWORD}))
"""What an authenticator that does not say is taken to do."""


@runtime_checkable
class Versatile(Protocol):
    """An `Authenticator` that says which kinds of credentials it takes; an add-on."""

    def kinds(self) -> Kinds:
        """Return it; asked for each connection, so it must not block."""
        ...


class ScramRecord(NamedTuple):
    """What a server keeps of a password for SCRAM (RFC 5802 section 3), or an invented one (P-207)."""

    salt: bytes
    iterations: int
    stored_key: bytes
    server_key: bytes
    principal: Principal | None
    """Who it belongs to; None: the record is invented, and the login fails in the end."""

    def __repr__(self) -> str:
        return f"ScramRecord(principal={self.principal}, <hidden>)"


@runtime_checkable
class ScramSource(Protocol):
    """An `Authenticator` that keeps SCRAM records; an add-on."""

    async def scram_record(self, user: str, kind: Kind) -> ScramRecord:
        """Return the record of an account for one of the SCRAM kinds.

        An unknown user, and one whose password is kept in another form, gets an invented record, always the same
        for one name, at the same cost (P-207).

        Raises:
            TemporaryFailure: the accounts cannot be read now.
        """
        ...


@runtime_checkable
class Directory(Protocol):
    """An `Authenticator` that knows the names of its accounts; an add-on."""

    async def accounts(self, name: str) -> Collection[str]:
        """Return the accounts of that name, as the table has them: all that differ from it in nothing but case.

        Args:
            name: of an account, with or without a domain.

        Raises:
            TemporaryFailure: the accounts cannot be read now.
        """
        ...

    async def first_account(self) -> str | None:
        """Return the first account of the table: the postmaster where nobody is named (RFC 5321 section 4.5.1).

        Raises:
            TemporaryFailure: the accounts cannot be read now.
        """
        ...


@runtime_checkable
class Prompt(Protocol):
    """An `Authenticator` that has some answers at once, without a disk, a network or a hashing; an add-on."""

    def authenticate_now(self, credentials: Credentials) -> Principal | None:
        """Say whose credentials these are, if that is known; None: ask `Authenticator.authenticate`."""
        ...


@runtime_checkable
class Closeable(Protocol):
    """An `Authenticator` that holds connections; an add-on."""

    async def aclose(self) -> None:
        """Close them; those that are needed again are opened again."""
        ...


def canonical_user(name: str) -> str:
    """Return `name` with its domain part, if any, in lower case; the local part is kept as it is (P-052)."""
    local, at, domain = name.rpartition("@")
    return f"{local}@{domain.lower()}" if at else name


def folded_user(name: str) -> str:
    """Return `name` without differences of case, in lower case as RFC 8265 section 3.3.2 has it (P-052)."""
    return name.lower()


async def account_among(directories: Sequence[Directory], name: str, *, fold: bool = False) -> str | None:
    """Return the account of that name in any of several tables, None when there is none.

    Args:
        directories: the tables, in order; those after an exact match are not asked.
        name: of an account, with or without a domain; the domain's case never matters.
        fold: neither does that of the local part, where all tables together have one such account; an exact match wins.

    Raises:
        TemporaryFailure: the accounts cannot be read now.
    """
    name = canonical_user(name)
    found = set[str]()
    for directory in directories:
        for account in await directory.accounts(name):
            if canonical_user(account) == name:
                return account
            found.add(account)
    return found.pop() if fold and len(found) == 1 else None
