"""Several user tables, asked in order."""

from collections.abc import Sequence

from restante.auth import Authenticator, Credentials, Principal
from restante.errors import AuthenticationFailed


class Chain:
    """An `Authenticator` that takes the first answer that is not a refusal.

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
