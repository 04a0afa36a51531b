"""``restante fetch --import``: what another fetcher knows goes into the journal, so that nothing comes twice."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import click

from restante.cli.options import CommandFailed
from restante.errors import Condition
from restante.fetch.account import Account
from restante.fetch.foreign import KINDS, read
from restante.fetch.journal import Entry, Journal

__all__ = ["KINDS", "take_over"]


def take_over(accounts: Sequence[Account], kind: str, file: str) -> int:
    """Take over the state of another fetcher for one account.

    Raises:
        UsageError: it is not said for which account, or the kind is not known.
        CommandFailed: the file or the journal cannot be used.
    """
    if kind not in KINDS:
        raise click.UsageError(f"--import {kind} is not known; right are {', '.join(KINDS)}")
    if len(accounts) != 1:
        raise click.UsageError("--import is for one account: name it")
    (account,) = accounts
    try:
        known = read(kind, Path(file).expanduser(), host=account.url.host, user=account.url.user)
        with Journal(account.journal, account.url.account()) as journal:
            now = float(int(time.time()))
            new = [one for one in known if not (before := journal.get(one.unique_id)) or not before.delivered]
            entries = [
                Entry(
                    one.unique_id,
                    seen=one.when or now,
                    delivered=(one.when or now) if one.delivered else 0,
                    owed=one.owed,
                )
                for one in new
            ]
            asyncio.run(journal.note(*entries))
    except (Condition, ValueError, OSError) as error:
        raise CommandFailed(str(error)) from None
    taken = sum(1 for one in new if not one.respelt)
    click.echo(f"{account.name}: {taken} message{'' if taken == 1 else 's'} taken over from {file}")
    return 0
