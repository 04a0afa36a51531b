"""Contract between whoever asks "who is this?" and whoever knows.

An authenticator turns credentials into a principal.  It never learns where they came from, and nothing
it raises names the reason to the peer (P-039).
"""

from typing import NamedTuple, Protocol


class Principal(NamedTuple):
    """Who has logged in."""

    user: str
    """The name as the user table has it, which is what a store maps to a maildrop (P-291)."""


class Password:
    """A name and a password, from USER and PASS (RFC 1939 section 7).

    The password is left out of every textual form, so that no log, trace or exception can show it (P-287).
    """

    __slots__ = ("password", "user")

    def __init__(self, user: str, password: bytes) -> None:
        self.user = user
        self.password = password

    def __repr__(self) -> str:
        return f"Password(user={self.user!r}, password=<hidden>)"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Password):
            return NotImplemented
        return (self.user, self.password) == (other.user, other.password)

    def __hash__(self) -> int:
        return hash((self.user, self.password))


Credentials = Password
"""All kinds of credentials; a union once there is more than one."""


class Authenticator(Protocol):
    """Knows accounts."""

    async def authenticate(self, credentials: Credentials) -> Principal:
        """Say whose credentials these are.

        Raises:
            AuthenticationFailed: unknown user or wrong password, at the same cost (P-039).
            TemporaryFailure: the accounts cannot be read now.
        """
        ...


def canonical_user(name: str) -> str:
    """Return `name` with its domain part, if any, in lower case; the local part is kept as it is (P-052)."""
    local, at, domain = name.rpartition("@")
    return f"{local}@{domain.lower()}" if at else name
