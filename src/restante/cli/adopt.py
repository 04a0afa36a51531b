"""``restante adopt``."""

import asyncio
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import click

from restante.auth import canonical_user
from restante.cli.adopt_ids import NAMES, Outcome, adopt
from restante.cli.adopt_options import Options, Secrets, read_secrets
from restante.cli.adopt_verify import verify
from restante.cli.loading import load
from restante.cli.options import CommandFailed, config_option, describe
from restante.client import ServerUrl, is_url
from restante.config import Configuration, PasswdFile
from restante.errors import Condition, MaildropInUse, TemporaryFailure, one_line

_FROM = (
    "Where the ids are: dovecot, courier, filename (qmail), x-uidl, or the URL of a server that runs, such as "
    "pops://old.example.org.  [default: dovecot or courier, whichever has left a list]"
)
_LOGIN = "Name to log in by at the old server; '{user}*master' for a master user of Dovecot."
_path = click.Path(path_type=Path)


@click.command("adopt", epilog="Example: restante adopt --from dovecot; restante adopt --verify pop://old.example.org")
@click.argument("users", metavar="[USER]...", nargs=-1)
@click.option("--from", "source", metavar="SOURCE", default="", help=_FROM)
@click.option("--uidl-format", default="", metavar="FORMAT", help="Dovecot's pop3_uidl_format.  [default: %08Xu%08Xv]")
@click.option("--no-follow", is_flag=True, help="Do not keep in step with Dovecot or Courier afterwards.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option("--verify", "verified", metavar="URL", default="", help="Compare what clients see there and here.")
@click.option("--ours", metavar="URL", default="", help="Our server, for --verify.  [default: the first listener]")
@click.option("--content", is_flag=True, help="With --verify: fetch and compare all messages, too.")
@click.option("--passwords", type=_path, metavar="FILE", help="Lines user:password, readable for you alone.")
@click.option("--password-stdin", is_flag=True, help="Read the password for the old server from standard input.")
@click.option("--login", default="{user}", show_default=True, help=_LOGIN)
@click.option("--ca", type=_path, metavar="FILE", help="Certificates of who vouches for the servers.")
@click.option("--cleartext", is_flag=True, help="Send passwords unencrypted where there is no other way.")
@config_option
@click.pass_context
def command(ctx: click.Context, /, users: tuple[str, ...], source: str, verified: str, **others: Any) -> int:
    """Take over the unique-ids of the server that was here before, so that no client fetches anything twice.

    For the accounts named, or all in the passwd files.  Nothing is deleted anywhere.
    """
    _check_options(source, verified, others)
    configuration, _ = load(ctx)
    names = _users(configuration, users)
    url = _url(verified or source) if verified or is_url(source) else None
    options = _options(source, url, names, **others)
    if verified and url:
        here = _url(others["ours"]) if others["ours"] else _first_listener(configuration)
        return _report(names, lambda user: asyncio.run(verify(user, url, here, options)))
    return _report(names, lambda user: asyncio.run(adopt(configuration.store, user, options)))


def _check_options(source: str, verified: str, others: Mapping[str, Any]) -> None:
    """Refuse what would be ignored: whoever forgets --verify must not adopt."""
    if verified and source:
        raise click.UsageError("--verify only compares, and --from adopts: one at a time")
    if source and source not in NAMES and not is_url(source):
        raise click.UsageError(
            f"--from {source!r} is not known; right are {', '.join(NAMES)} and a URL such as pops://host"
        )
    if not verified and (others["content"] or others["ours"]):
        raise click.UsageError("--content and --ours are for --verify")
    needs_url = others["passwords"] or others["password_stdin"] or others["ca"] or others["login"] != "{user}"
    if needs_url and not verified and not is_url(source):
        raise click.UsageError("--passwords, --password-stdin, --login and --ca are for a server that runs: --from URL")


def _options(source: str, url: ServerUrl | None, users: Sequence[str], **others: Any) -> Options:
    secrets = Secrets("", None, {})
    if url is not None:
        secrets = read_secrets(others["login"], others["passwords"], users, stdin=others["password_stdin"])
        if others["uidl_format"]:
            raise click.UsageError("--uidl-format is for lists; a server that runs says its ids")
    return Options(
        source,
        url,
        others["uidl_format"],
        follow=not others["no_follow"],
        dry_run=others["dry_run"],
        content=others["content"],
        ca=others["ca"],
        cleartext=others["cleartext"],
        secrets=secrets,
    )


def _url(text: str) -> ServerUrl:
    try:
        return ServerUrl.parse(text)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _users(configuration: Configuration, named: Sequence[str]) -> list[str]:
    users = list(dict.fromkeys(canonical_user(name) for name in named))
    if not configuration.passwd_files and not users:
        raise CommandFailed('no [[auth]] of kind = "passwd-file" lists the accounts; name them on the command line')
    try:
        known = {user for file in configuration.passwd_files for user in PasswdFile(file).users()}
    except TemporaryFailure as error:
        raise CommandFailed(str(error)) from None
    if len(configuration.passwd_files) == len(configuration.authenticators):  # there are no other accounts
        for user in users:
            if user not in known:
                raise CommandFailed(f"there is no account {user}")
    return users or sorted(known)


def _first_listener(configuration: Configuration) -> ServerUrl:
    listeners = [one for one in configuration.listeners if one.address.port]
    if not listeners:
        raise CommandFailed("no listener has a port to connect to; --ours names the address of our server")
    listener = next((one for one in listeners if one.door.tls != "implicit"), listeners[0])
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listener.address.host, listener.address.host)  # noqa: S104
    return ServerUrl(host, listener.address.port, listener.door.tls == "implicit")


def _report(users: Sequence[str], work: Callable[[str], Outcome]) -> int:
    """Do it for each user, say how it went; returns the exit status."""
    outcomes = {}
    with _progress(users) as seen:
        for user in seen:
            try:
                outcomes[user] = work(user)
            except (Condition, CommandFailed, ValueError, OSError) as error:
                outcomes[user] = Outcome("", [_described(error)])
            if seen is users:
                _say(user, outcomes[user])
    if seen is not users:
        for user, outcome in outcomes.items():
            _say(user, outcome)
    return 1 if any(outcome.problems for outcome in outcomes.values()) else 0


def _progress(users: Sequence[str]) -> AbstractContextManager[Iterable[str]]:
    """Show how far we are, where somebody sees it and waits; what there is to say must then come later."""
    if len(users) > 1 and sys.stderr.isatty():
        return click.progressbar(users, label="Accounts", file=sys.stderr)
    return nullcontext(users)


def _say(user: str, outcome: Outcome) -> None:
    if outcome.summary:
        click.echo(one_line(f"{user}: {outcome.summary}"))
    for problem in outcome.problems:
        click.echo(one_line(f"{user}: {problem}"), err=True)
    for row in outcome.rows:
        click.echo(row)


def _described(error: Exception) -> str:
    if isinstance(error, OSError):
        return describe(error)
    if isinstance(error, MaildropInUse):
        return f"{error}: {error.reply.template}"
    if isinstance(error, Condition):
        return str(error) or error.reply.template
    return str(error)
