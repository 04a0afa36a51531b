"""What ``restante adopt`` was asked for, and the passwords that it needs."""

import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import click

from restante.auth import canonical_user
from restante.cli.options import CommandFailed, describe
from restante.client import CleartextRefused, ConnectionLost, NotPop3, POP3Client, Security, ServerUrl
from restante.errors import Condition


class Secrets:
    """Passwords of users, and one for all at the old server: that of a master user, or of the only user.

    Args:
        login: name to log in by at the old server, with ``{user}`` in it.
        one: for all; None: each has his own.
        each: of users.
    """

    def __init__(self, login: str, one: bytes | None, each: dict[str, bytes]) -> None:
        self._login = login
        self._one = one
        self._each = each

    def there(self, user: str) -> tuple[str, bytes]:
        """Return name and password for the old server.

        Raises:
            CommandFailed: there is no password.
        """
        return self._login.replace("{user}", user), self._one or self._own(user)

    def here(self, user: str) -> tuple[str, bytes]:
        """Return name and password for our server.

        Raises:
            CommandFailed: there is no password.
        """
        return user, self._own(user)

    def _own(self, user: str) -> bytes:
        password = self._each.get(user) or self._one
        if password is None:
            raise CommandFailed("no password in the file of --passwords")
        return password


class Options(NamedTuple):
    """What was asked for."""

    source: str
    """``""``: Dovecot or Courier, whichever has left a list."""
    url: ServerUrl | None
    """A server that runs."""
    uidl_format: str
    follow: bool
    dry_run: bool
    content: bool
    ca: Path | None
    cleartext: bool
    secrets: Secrets

    def session(self, url: ServerUrl) -> POP3Client:
        """Connect to a server; messages come as they are stored, wherever it can do that."""
        return POP3Client(url, security=Security(self.ca, cleartext=self.cleartext), utf8=True)


async def log_in(session: POP3Client, user: str, password: bytes) -> None:
    """Log in.

    Raises:
        Condition: the server refuses; its text begins with who says so.
    """
    try:
        await session.login(user, password)
    except (CleartextRefused, ConnectionLost, NotPop3):
        raise
    except Condition as condition:
        raise type(condition)(f"{session.url}: {condition}") from None


def read_secrets(login: str, file: Path | None, users: Sequence[str], *, stdin: bool) -> Secrets:
    """Read the passwords.

    Raises:
        UsageError: they cannot be for these users.
        CommandFailed: they cannot be read.
    """
    each = _read_file(file) if file else {}
    if file and not stdin:
        return Secrets(login, None, each)
    if len(users) > 1 and login == "{user}":
        raise click.UsageError(
            "each account has a password of its own: name a file with --passwords, or a master user with --login"
        )
    return Secrets(login, _read_one(stdin=stdin, name=login.replace("{user}", users[0] if users else "")), each)


def _read_one(*, stdin: bool, name: str) -> bytes:
    if sys.stdin is None or not (stdin or sys.stdin.isatty()):
        raise CommandFailed("there is no terminal to ask for a password at; use --passwords or --password-stdin")
    if stdin:
        password = sys.stdin.buffer.readline().rstrip(b"\r\n")
    else:
        typed: str = click.prompt(f"Password of {name} at the old server", hide_input=True)
        password = typed.encode()
    if not password:
        raise CommandFailed("the password is empty")
    return password


def _read_file(path: Path) -> dict[str, bytes]:
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(path.stat().st_mode)
            lines = file.read().split(b"\n")
    except OSError as error:
        raise CommandFailed(describe(error)) from None
    if mode & 0o077:
        raise CommandFailed(f"{path}: others can read these passwords; chmod 600 makes it right")
    passwords = {}
    for number, line in enumerate(lines, 1):
        octets = line.removesuffix(b"\r")
        user, colon, password = octets.partition(b":")
        if not octets or octets.startswith(b"#"):
            continue
        if not colon or not user or not password:
            raise CommandFailed(f"{path}:{number}: a line is user:password")
        passwords[canonical_user(user.decode("utf-8", "replace"))] = password
    return passwords
