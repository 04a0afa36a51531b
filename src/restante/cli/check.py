"""``restante check``."""

import asyncio
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

import click

from restante.cli.loading import load
from restante.cli.options import CommandFailed, config_option
from restante.config import Configuration, PasswdFile
from restante.errors import Condition, MaildropInUse, TemporaryFailure, one_line
from restante.maildrop import Inspectable, Repairable
from restante.server.certificates import problems as certificate_problems


@click.command("check", epilog="Example: restante check -c /srv/post/restante.toml")
@click.option("--repair", is_flag=True, help="Mend what can be mended without losing mail or changing a unique-id.")
@config_option
@click.pass_context
def command(ctx: click.Context, repair: bool) -> int:
    """Say what is wrong with the configuration, the accounts and the maildrops."""
    configuration, path = load(ctx)
    problems = 0
    users = [user for users in _users(configuration) for user in users]
    if repair:
        for line, is_problem in _repaired(configuration, users):
            problems += is_problem
            click.echo(one_line(line), err=is_problem)
    for problem in _problems(configuration, users):
        problems += 1
        click.echo(one_line(problem), err=True)
    if problems:
        raise CommandFailed(f"{path}: {_count(problems, 'problem')}")
    click.echo(f"{path}: all is well; {_count(len(users), 'account')}")
    return 0


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _users(configuration: Configuration) -> Iterator[list[str]]:
    for passwd_file in configuration.passwd_files:
        try:
            yield PasswdFile(passwd_file).users()
        except Condition:  # said already
            continue


def _problems(configuration: Configuration, users: Sequence[str]) -> Iterator[str]:
    for passwd_file in configuration.passwd_files:
        yield from PasswdFile(passwd_file).problems()
    yield from _address_problems(configuration)
    if configuration.certificates is not None:
        for pair in configuration.certificates.files.pairs:
            yield from certificate_problems(pair.certificate, pair.key)
    store = configuration.store
    if isinstance(store, Inspectable):
        yield from (line for line, _ in _of_each(users, "Looking at maildrops", store.inspect))


def _address_problems(configuration: Configuration) -> Iterator[str]:
    try:
        yield from asyncio.run(configuration.address_problems())
    except TemporaryFailure as error:
        if not str(error).startswith(tuple(f"{path}: " for path in configuration.passwd_files)):  # said already
            yield f"addresses: the accounts cannot be read: {error}"


def _repaired(configuration: Configuration, users: Sequence[str]) -> Iterator[tuple[str, bool]]:
    store = configuration.store
    if isinstance(store, Repairable):
        yield from _of_each(users, "Mending maildrops", store.repair)


def _of_each(
    users: Sequence[str], label: str, ask: Callable[[str], Coroutine[Any, Any, Sequence[str]]]
) -> Iterator[tuple[str, bool]]:
    """Ask the store about each user, and show on a terminal how far it is; gives lines, and whether it failed."""
    with click.progressbar(users, label=label, file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:
        for user in bar:
            try:
                lines = [(line, False) for line in asyncio.run(ask(user))]
            except MaildropInUse:
                lines = [(f"maildrop of {user}: a session has it open; try again later", True)]
            except Condition as error:
                lines = [(f"maildrop of {user}: {error}", True)]
            if lines and not bar.hidden:
                click.echo(err=True)  # the bar has a line of its own
            yield from lines
