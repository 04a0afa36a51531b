"""A maildrop that anybody may read (RFC 4505)."""

from collections.abc import Collection

from restante.auth import Anonymous, Credentials, Kind, Kinds, Principal, canonical_user, folded_user
from restante.errors import AuthenticationFailed


class AnonymousAccess:
    """An `Authenticator` and `Directory` that lets nobody in particular into one maildrop, to read only (P-200).

    Args:
        user: whose maildrop it is.
    """

    def __init__(self, user: str) -> None:
        self._principal = Principal(canonical_user(user), read_only=True)

    async def authenticate(self, credentials: Credentials) -> Principal:
        """See `Authenticator.authenticate`."""
        if not isinstance(credentials, Anonymous):
            raise AuthenticationFailed("not anonymous")
        return self._principal

    def kinds(self) -> Kinds:
        """See `Versatile.kinds`."""
        only = frozenset({Kind.ANONYMOUS})
        return Kinds(only, only)

    async def accounts(self, name: str) -> Collection[str]:
        """See `Directory.accounts`: mail for it comes in like other mail."""
        user = self._principal.user
        return (user,) if folded_user(name) == folded_user(user) else ()

    async def first_account(self) -> str | None:
        """See `Directory.first_account`: what is for whoever is responsible is not for everybody to read."""
        return None
