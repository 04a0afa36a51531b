"""What commands that call on a server are told of it."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from restante.cli.options import CommandFailed
from restante.client import Security, ServerUrl, is_url
from restante.client.discovery import Found, discover
from restante.errors import Condition

F = TypeVar("F", bound=Callable[..., Any])


def server_options(function: F) -> F:
    """Add what says whom to trust."""
    for option in (
        click.option("--insecure", is_flag=True, help="Accept any certificate, and send passwords without TLS."),
        click.option("--fingerprint", default="", metavar="SHA256", help="The server's certificate is this one."),
        click.option(
            "--ca", type=click.Path(path_type=Path), metavar="FILE", help="Certificates of who vouches for the server."
        ),
    ):
        function = option(function)
    return function


def security(ca: Path | None, fingerprint: str, *, insecure: bool) -> Security:
    """Return whom to trust."""
    return Security(ca, fingerprint, insecure=insecure)


def find_server(text: str) -> ServerUrl:
    """Read a URL; for an e-mail address, ask the DNS where its mail is (RFC 6186, K-015).

    Raises:
        UsageError: it is neither.
        CommandFailed: nobody knows the server.
    """
    if not is_url(text) and "@" in text:
        return _discovered(text)
    try:
        return ServerUrl.parse(text)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _discovered(address: str) -> ServerUrl:
    try:
        found = asyncio.run(discover(address))
    except (Condition, ValueError) as error:
        raise CommandFailed(str(error)) from None
    best: Found = found[0]
    url = best.url.account()
    click.echo(f"{address} has its mail at {url}", err=True)
    if best.elsewhere:
        if not sys.stdin.isatty():
            raise CommandFailed(f"{best.url.host} is not of the address's own domain; name the URL if it is right")
        click.confirm(f"{best.url.host} is not of the address's own domain.  Is that right?", abort=True, err=True)
    return best.url


def password_of(url: ServerUrl, *, stdin: bool) -> str:
    """Ask for a password, or read it from standard input.

    Raises:
        CommandFailed: there is none.
    """
    if stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if sys.stdin is None or not sys.stdin.isatty():
        raise CommandFailed("there is no terminal to ask for a password at; --password-stdin reads it")
    typed: str = click.prompt(f"Password of {url.account()}", hide_input=True, err=True)
    return typed
