"""``restante undo``."""

import asyncio
import datetime as dt
import time
from collections.abc import Sequence
from email.parser import BytesHeaderParser
from email.policy import compat32, default

import click

from restante.auth import canonical_user
from restante.cli.loading import load
from restante.cli.options import CommandFailed, config_option
from restante.config import Configuration, PasswdFile, seconds
from restante.errors import Condition, MaildropInUse, one_line
from restante.maildrop import Deleted, Restorable

WIDTH = 40
"""Characters of a sender or subject that are shown."""


@click.command("undo", epilog="Example: restante undo student --since 2h")
@click.argument("user", metavar="USER")
@click.option(
    "--since", metavar="WHEN", help='Only what was deleted since then: "2h", "3d", "2026-11-24", "2026-11-24T17:00".'
)
@click.option(
    "--id", "unique_ids", metavar="ID", multiple=True, help="Only the message with this unique-id; may be repeated."
)
@click.option("--list", "only_list", is_flag=True, help="Only say what could be brought back.")
@config_option
@click.pass_context
def command(ctx: click.Context, user: str, since: str | None, unique_ids: tuple[str, ...], only_list: bool) -> None:
    """Bring back messages that USER has deleted, with their old unique-ids.

    A client that has a message already does not fetch it again.
    """
    configuration, path = load(ctx)
    store = configuration.store
    if not isinstance(store, Restorable):
        raise CommandFailed(f"{path}: this kind of store keeps no deleted messages")
    user = canonical_user(user)
    after = _moment(since) if since is not None else 0.0
    try:
        found = [one for one in asyncio.run(_deleted(store, user)) if one.when >= after]
        if not found and not _has_account(configuration, user):
            raise CommandFailed(f"there is no account {user}, and nothing that was deleted")
        found = _chosen(found, unique_ids)
        if only_list:
            _show(found)
            return
        back = asyncio.run(_restore(store, user, found))
    except MaildropInUse:
        raise CommandFailed(f"{user} has the maildrop open; try again when the session has ended") from None
    except Condition as error:
        raise CommandFailed(f"maildrop of {user}: {error}") from None
    _show([one for one in found if one.unique_id in back])
    if len(back) < len(found):
        raise CommandFailed(f"{len(found) - len(back)} of {len(found)} messages could not be brought back")
    click.echo(
        f"{_count(len(back))} brought back; the next session of {user} shows them" if back else "nothing to bring back"
    )


def _has_account(configuration: Configuration, user: str) -> bool:
    """Say whether the user has an account, as far as anybody can tell."""
    try:
        return not configuration.passwd_files or any(
            user in PasswdFile(one).users() for one in configuration.passwd_files
        )
    except Condition:
        return True


async def _deleted(store: Restorable, user: str) -> Sequence[Deleted]:
    return await store.deleted(user)


async def _restore(store: Restorable, user: str, messages: Sequence[Deleted]) -> Sequence[str]:
    return await store.restore(user, [one.unique_id for one in messages]) if messages else []


def _chosen(found: list[Deleted], unique_ids: Sequence[str]) -> list[Deleted]:
    if not unique_ids:
        return found
    missing = set(unique_ids) - {one.unique_id for one in found}
    if missing:
        raise CommandFailed(f"no deleted message has the unique-id {min(missing)}; --list shows what there is")
    return [one for one in found if one.unique_id in unique_ids]


def _moment(text: str) -> float:
    """Read a point in time: how long ago, or a date, with a time of day or without; in local time.

    Raises:
        UsageError: it is none.
    """
    try:
        return time.time() - seconds(text)
    except ValueError:
        pass
    try:
        return dt.datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        right = '"2h", "3d", "2026-11-24" and "2026-11-24T17:00" would be right'
        raise click.BadParameter(f"{text!r} is no time; {right}", param_hint="'--since'") from None


def _show(messages: Sequence[Deleted]) -> None:
    for one in messages:
        when = dt.datetime.fromtimestamp(one.when).astimezone().isoformat(" ", "seconds")
        sender, subject = (_header(one.header, name) for name in ("from", "subject"))
        click.echo(f"{when}  {one.octets:>9}  {sender}  {subject}  {one.unique_id}")


def _header(octets: bytes, name: str) -> str:
    """Return a header field for a person, in a column; a message may hold anything (P-296)."""
    try:
        value = str(BytesHeaderParser(policy=default).parsebytes(octets).get(name, ""))
    except Exception:  # noqa: BLE001  (the library fails at some malformed fields, in many ways)
        value = str(BytesHeaderParser(policy=compat32).parsebytes(octets).get(name, ""))
    text = one_line(" ".join(value.split()))
    return (text if len(text) <= WIDTH else text[: WIDTH - 1] + "…").ljust(WIDTH)


def _count(number: int) -> str:
    return f"{number} message{'' if number == 1 else 's'}"
