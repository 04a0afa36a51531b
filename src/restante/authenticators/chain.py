"""Several user tables, asked in order."""

from collections.abc import Collection, Sequence

from restante.auth import (
    PASSWORDS_ONLY,
    Authenticator,
    Closeable,
    Credentials,
    Directory,
    Kind,
    Kinds,
    Principal,
    Prompt,
    ScramRecord,
    ScramSource,
    Versatile,
)
from restante.errors import AuthenticationFailed

_BY_PASSWORD = frozenset({Kind.PASSWORD, Kind.SCRAM_SHA_1, Kind.SCRAM_SHA_256, Kind.SECRET})
"""What a client does that has been given a password; tokens and certificates are for clients of another kind."""


class Chain:
    """An `Authenticator` that takes the first answer that is not a refusal.

    It is `Versatile`, `Prompt`, a `ScramSource` and a `Directory`, as far as its tables are.

    Args:
        authenticators: at least one.
    """

    def __init__(self, authenticators: Sequence[Authenticator]) -> None:
        self._authenticators = authenticators

    async def authenticate(self, credentials: Credentials) -> Principal:
        """See `Authenticator.authenticate`.

        A table that is out of reach ends the search: the tables after it may hold another user of that name.
        """
        refusal = AuthenticationFailed("no user table")
        for authenticator in self._authenticators:
            try:
                return await authenticator.authenticate(credentials)
            except AuthenticationFailed as error:
                refusal = error
        raise refusal

    def authenticate_now(self, credentials: Credentials) -> Principal | None:
        """See `Prompt.authenticate_now`; later tables must wait for the refusal of the first."""
        first = self._authenticators[0]
        return first.authenticate_now(credentials) if isinstance(first, Prompt) else None

    async def aclose(self) -> None:
        """See `Closeable.aclose`."""
        for authenticator in self._authenticators:
            if isinstance(authenticator, Closeable):
                await authenticator.aclose()

    def kinds(self) -> Kinds:
        """See `Versatile.kinds`; what is done with a password must work for the accounts of each table that has any."""
        tables = [one.kinds() if isinstance(one, Versatile) else PASSWORDS_ONLY for one in self._authenticators]
        some = frozenset[Kind]().union(*(table.some for table in tables))
        every = frozenset[Kind]().union(*(table.every for table in tables))
        for table in tables:
            if table.some & _BY_PASSWORD:
                every -= _BY_PASSWORD - table.every
        return Kinds(every, some)

    async def scram_record(self, user: str, kind: Kind) -> ScramRecord:
        """See `ScramSource.scram_record`; an invented record only if no table has a real one."""
        records = [await one.scram_record(user, kind) for one in self._authenticators if isinstance(one, ScramSource)]
        return next((record for record in records if record.principal is not None), records[0])

    async def accounts(self, name: str) -> Collection[str]:
        """See `Directory.accounts`; those of all tables."""
        return [account for directory in self._directories() for account in await directory.accounts(name)]

    async def first_account(self) -> str | None:
        """See `Directory.first_account`; of the first table that has any."""
        for directory in self._directories():
            if (account := await directory.first_account()) is not None:
                return account
        return None

    def _directories(self) -> list[Directory]:
        return [one for one in self._authenticators if isinstance(one, Directory)]
