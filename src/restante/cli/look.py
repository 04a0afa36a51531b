"""What ``restante ls``, ``read`` and ``rm`` have in common: a look into a maildrop."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from restante.cli.options import CommandFailed, describe
from restante.cli.server_options import find_server, password_of, security, server_options
from restante.client import POP3Client, Security, ServerUrl
from restante.errors import Condition

F = TypeVar("F", bound=Callable[..., Any])


def look_options(function: F) -> F:
    """Add what says which maildrop it is."""
    function = click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")(function)
    function = click.option("--user", default="", help="Who logs in.  [default: the user of the URL]")(function)
    return server_options(function)


class Look:
    """Which maildrop, and how to get in.

    Args:
        url: as it was typed.
        user: who logs in; ``""``: the user of the URL.
        ca, fingerprint, insecure: whom to trust.
        password_stdin: read the password from standard input.

    Raises:
        UsageError: nobody knows who is to log in.
        CommandFailed: there is no password.
    """

    def __init__(
        self, url: str, *, user: str, ca: Path | None, fingerprint: str, insecure: bool, password_stdin: bool
    ) -> None:
        found = find_server(url)
        self._url: ServerUrl = found._replace(user=user or found.user)
        if not self._url.user:
            raise click.UsageError(f"say who logs in: {found._replace(user='NAME').account()}, or --user")
        self._security: Security = security(ca, fingerprint, insecure=insecure)
        self._password = password_of(self._url, stdin=password_stdin)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[POP3Client]:
        """Log in.

        Raises:
            CommandFailed: that, or what is done then, is refused.
        """
        try:
            async with POP3Client(self._url, security=self._security, utf8=True) as client:
                await client.login(password=self._password)
                yield client
        except Condition as condition:
            raise CommandFailed(f"{self._url}: {str(condition) or condition.reply.template}") from None
        except OSError as error:
            raise CommandFailed(describe(error)) from None
