"""``restante user``."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from restante.auth import canonical_user
from restante.cli.loading import load
from restante.cli.options import CommandFailed, config_option
from restante.config import PasswdFile, PasswdFileEditor
from restante.errors import TemporaryFailure

password_option = click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
name_argument = click.argument("name", metavar="NAME")


@click.group("user", epilog="Example: restante user add student")
@config_option
def command() -> None:
    """Add, change, remove or list accounts."""


def _passwd_file(ctx: click.Context) -> Path:
    """Return the file that holds the accounts.

    Raises:
        CommandFailed: there is none.
    """
    configuration, _ = load(ctx)
    if not configuration.passwd_files:
        raise CommandFailed('no [[auth]] of kind = "passwd-file": accounts are kept elsewhere')
    return configuration.passwd_files[0]


def _read_password(from_stdin: bool) -> bytes:
    """Ask for a new password, or take the first line of standard input.

    Raises:
        CommandFailed: there is none, or POP3 cannot carry it.
    """
    if sys.stdin is None:
        raise CommandFailed("standard input is closed: there is nothing to read a password from")
    if from_stdin:
        password = sys.stdin.buffer.readline().rstrip(b"\r\n")
    elif sys.stdin.isatty():
        password = _prompt()
    else:
        raise CommandFailed("there is no terminal to ask for a password at; use --password-stdin")
    if not password:
        raise CommandFailed("the password is empty")
    if not password.isascii() or not password.decode().isprintable():
        raise CommandFailed("a password is printable ASCII: this version of the server takes no other")
    return password


def _prompt() -> bytes:
    try:
        typed: str = click.prompt("Password", hide_input=True, confirmation_prompt=True)
        return typed.encode()
    except UnicodeError:
        raise CommandFailed("the password typed is not UTF-8, let alone ASCII") from None


def _edit(path: Path, change: Callable[..., None], *arguments: Any) -> None:
    try:
        change(*arguments)
    except (ValueError, LookupError) as error:
        raise CommandFailed(str(error.args[0])) from None
    except OSError as error:
        raise CommandFailed(f"{path} is unchanged: {error.strerror}") from None


@command.command("add", epilog="Example: restante user add student")
@name_argument
@password_option
@config_option
@click.pass_context
def add(ctx: click.Context, name: str, password_stdin: bool) -> None:
    """Add the account NAME."""
    path = _passwd_file(ctx)
    _edit(path, PasswdFileEditor(path).add, name, _read_password(password_stdin))
    click.echo(f"{name} may log in now")


@command.command("passwd", epilog="Example: restante user passwd student")
@name_argument
@password_option
@config_option
@click.pass_context
def passwd(ctx: click.Context, name: str, password_stdin: bool) -> None:
    """Change the password of NAME."""
    path = _passwd_file(ctx)
    _edit(path, PasswdFileEditor(path).set_password, name, _read_password(password_stdin))
    click.echo(f"{name} has a new password")


@command.command("remove", epilog="Example: restante user remove student")
@name_argument
@config_option
@click.pass_context
def remove(ctx: click.Context, name: str) -> None:
    """Remove the account NAME; its mail stays where it is."""
    path = _passwd_file(ctx)
    _edit(path, PasswdFileEditor(path).remove, name)
    click.echo(f"{name} can no longer log in; the mail is still there")


@command.command("list", epilog="Example: restante user list")
@click.argument("name", metavar="[NAME]", required=False)
@config_option
@click.pass_context
def list_accounts(ctx: click.Context, name: str | None) -> None:
    """List all accounts, or only NAME if there is one."""
    try:
        users = PasswdFile(_passwd_file(ctx)).users()
    except TemporaryFailure as error:
        raise CommandFailed(str(error)) from None
    wanted = None if name is None else canonical_user(name)
    if wanted is not None and wanted not in users:
        raise CommandFailed(f"there is no account {name}")
    for user in sorted(users) if wanted is None else [wanted]:
        click.echo(user)
