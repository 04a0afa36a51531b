"""``restante rm``."""

import asyncio
import sys
from collections.abc import Sequence
from typing import Any

import click

from restante.cli.look import Look, look_options
from restante.cli.ls import row
from restante.cli.options import CommandFailed, config_option
from restante.errors import Condition


@click.command("rm", epilog="Example: restante rm pop://student@127.0.0.1:1110 3 4")
@click.argument("url")
@click.argument("numbers", metavar="NUMBER...", nargs=-1, required=True, type=click.IntRange(min=1))
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@look_options
@config_option
def command(url: str, numbers: Sequence[int], *, yes: bool, **options: Any) -> int:
    """Delete messages at the server, by their numbers in `restante ls`.

    Numbers may change from session to session: what is to be deleted is shown, and asked for.
    """
    if not yes and (options["password_stdin"] or not sys.stdin.isatty()):
        raise click.UsageError("there is nobody to ask whether it is right; --yes deletes without asking")
    asyncio.run(_remove(Look(url, **options), sorted(set(numbers)), yes=yes))
    return 0


async def _remove(look: Look, numbers: Sequence[int], *, yes: bool) -> None:
    async with look.client() as client:
        sizes = await client.list()
        missing = [number for number in numbers if number not in sizes]
        if missing:
            raise CommandFailed(f"there is no message {missing[0]}; nothing is deleted")
        async for number, header in client.top_many(numbers):
            if isinstance(header, Condition):
                click.echo(f"{number}: {sizes[number]} octets")
            else:
                line = row(number, sizes[number], header)
                click.echo(f"{number}: {line.date} {line.sender}: {line.subject}")
        if not yes:
            await asyncio.to_thread(click.confirm, "Delete this?" if len(numbers) == 1 else "Delete these?", abort=True)
        for number in numbers:
            await client.dele(number)
        await client.quit()  # K-006: what it answers decides
    click.echo(f"{len(numbers)} deleted")
