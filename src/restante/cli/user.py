"""``restante user``."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from restante.auth import canonical_user
from restante.cli.loading import load
from restante.cli.options import CommandFailed, config_option
from restante.config import NEW_SCHEMES, PasswdFile, PasswdFileEditor
from restante.errors import TemporaryFailure
from restante.saslprep import prepared

password_option = click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
scheme_option = click.option(
    "--scheme",
    type=click.Choice(NEW_SCHEMES, case_sensitive=False),
    default=NEW_SCHEMES[0],
    show_default=True,
    help="How the password is kept; SCRAM clients need a SCRAM scheme for every account.",
)
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
    try:
        return prepared(password.decode("utf-8")).encode()  # as the server prepares what it is shown (RFC 4013)
    except UnicodeDecodeError:
        raise CommandFailed("a password is text in UTF-8") from None
    except ValueError as error:
        raise CommandFailed(f"that password cannot be used: {error}") from None


def _prompt() -> bytes:
    try:
        typed: str = click.prompt("Password", hide_input=True, confirmation_prompt=True)
        return typed.encode()
    except UnicodeError:
        raise CommandFailed("the password typed is not UTF-8") from None


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
@scheme_option
@config_option
@click.pass_context
def add(ctx: click.Context, name: str, password_stdin: bool, scheme: str) -> None:
    """Add the account NAME."""
    path = _passwd_file(ctx)
    _edit(path, PasswdFileEditor(path).add, name, _read_password(password_stdin), scheme)
    click.echo(f"{name} may log in now")


@command.command("passwd", epilog="Example: restante user passwd student")
@name_argument
@password_option
@scheme_option
@config_option
@click.pass_context
def passwd(ctx: click.Context, name: str, password_stdin: bool, scheme: str) -> None:
    """Change the password of NAME."""
    path = _passwd_file(ctx)
    _edit(path, PasswdFileEditor(path).set_password, name, _read_password(password_stdin), scheme)
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
