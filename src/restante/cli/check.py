"""``restante check``."""

import asyncio
from collections.abc import Iterator

import click

from restante.cli.loading import load
from restante.cli.options import CommandFailed, config_option
from restante.config import Configuration, PasswdFile
from restante.errors import Condition, one_line
from restante.maildrop import Inspectable
from restante.server.certificates import problems as certificate_problems


@click.command("check", epilog="Example: restante check -c /srv/post/restante.toml")
@config_option
@click.pass_context
def command(ctx: click.Context) -> int:
    """Say what is wrong with the configuration, the accounts and the maildrops."""
    configuration, path = load(ctx)
    problems = users = 0
    for problem in _problems(configuration):
        problems += 1
        click.echo(one_line(problem), err=True)
    users = sum(len(users) for users in _users(configuration))
    if problems:
        raise CommandFailed(f"{path}: {_count(problems, 'problem')}")
    click.echo(f"{path}: all is well; {_count(users, 'account')}")
    return 0


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _users(configuration: Configuration) -> Iterator[list[str]]:
    for passwd_file in configuration.passwd_files:
        try:
            yield PasswdFile(passwd_file).users()
        except Condition:  # said already
            continue


def _problems(configuration: Configuration) -> Iterator[str]:
    for passwd_file in configuration.passwd_files:
        yield from PasswdFile(passwd_file).problems()
    if configuration.certificates is not None:
        for pair in configuration.certificates.files.pairs:
            yield from certificate_problems(pair.certificate, pair.key)
    store = configuration.store
    if isinstance(store, Inspectable):
        for users in _users(configuration):
            for user in users:
                try:
                    yield from asyncio.run(_inspect(store, user))
                except Condition as error:
                    yield f"maildrop of {user}: {error}"


async def _inspect(store: Inspectable, user: str) -> list[str]:
    return list(await store.inspect(user))
