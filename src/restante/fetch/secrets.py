"""Where the password or the token of an account comes from; never the command line, never the configuration file."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from restante.errors import PermanentFailure, TemporaryFailure, one_line
from restante.fetch.account import Secrets

PATIENCE = 120.0
"""Seconds for a command, which may have to ask somebody."""


async def output(command: str) -> str:
    """Run a command of the configuration; returns the first line that it prints.

    Raises:
        TemporaryFailure: it fails, or prints nothing.
    """
    process = await asyncio.create_subprocess_shell(
        command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(PATIENCE):
            out, errors = await process.communicate()
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise TemporaryFailure(f"{command!r} has not ended after {PATIENCE:.0f} seconds") from None
    line = out.split(b"\n")[0].rstrip(b"\r").decode("utf-8", "replace")
    if process.returncode or not line:
        words = one_line(errors.decode("utf-8", "replace").strip().rpartition("\n")[2])
        what = f"has ended with status {process.returncode}" if process.returncode else "prints nothing"
        raise TemporaryFailure(f"{command!r} {what}{': ' if words else ''}{words}")
    return line


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
