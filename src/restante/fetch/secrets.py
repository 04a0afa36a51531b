"""Where the password or the token of an account comes from; never the command line, never the configuration file."""

import asyncio
from collections.abc import Awaitable, Callable

from restante.client.commands import output
from restante.errors import PermanentFailure, TemporaryFailure, one_line
from restante.fetch.account import Secrets


def password_command(command: str) -> Callable[[], Awaitable[Secrets]]:
    """Take the password from a command, anew for each visit."""

    async def secrets() -> Secrets:
        return Secrets((await output(command)).encode())

    return secrets


def token_command(command: str) -> Callable[[], Awaitable[Secrets]]:
    """Take an access token of OAuth2 from a command, anew for each visit: tokens live for an hour or so."""

    async def secrets() -> Secrets:
        return Secrets(token=await output(command))

    return secrets


def from_keyring(service: str, user: str) -> Callable[[], Awaitable[Secrets]]:
    """Take the password from the keyring of the desktop."""

    async def secrets() -> Secrets:
        try:
            import keyring  # noqa: PLC0415  (an extra)
            from keyring.errors import KeyringError  # noqa: PLC0415
        except ImportError:
            raise PermanentFailure("keyring needs the package keyring: pip install 'restante[keyring]'") from None
        try:
            password = await asyncio.to_thread(keyring.get_password, service, user)
        except KeyringError as error:
            raise TemporaryFailure(f"the keyring cannot be asked: {one_line(str(error))}") from None
        if not password:
            text = f"the keyring has no password of {user} for {service}; `keyring set {service} {user}` puts it there"
            raise PermanentFailure(text)
        return Secrets(password.encode())

    return secrets


class Asked:
    """A password that a person types; whoever has a terminal asks before the visit, and puts it here."""

    def __init__(self) -> None:
        self.password = ""

    async def __call__(self) -> Secrets:
        """Return it.

        Raises:
            PermanentFailure: nobody was there to ask.
        """
        if not self.password:
            raise PermanentFailure("no password: password_command, token_command or keyring would tell it")
        return Secrets(self.password.encode())
