"""A maildrop that anybody may read (RFC 4505)."""

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

    async def account(self, name: str, *, fold: bool = False) -> str | None:
        """See `Directory.account`: mail for it comes in like other mail."""
        ours, asked = self._principal.user, canonical_user(name)
        same = folded_user(asked) == folded_user(ours) if fold else asked == ours
        return ours if same else None

    async def first_account(self) -> str | None:
        """See `Directory.first_account`: what is for whoever is responsible is not for everybody to read."""
        return None
