"""``restante fetch``."""

import asyncio
import logging
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click

from restante.cli.fetch_import import KINDS, take_over
from restante.cli.fetch_progress import Progress, make_progress
from restante.cli.options import CommandFailed, Settings, config_option
from restante.config import ConfigurationError, find
from restante.config.fetching import accounts
from restante.fetch.account import Account, Outcome
from restante.fetch.rounds import Rounds
from restante.fetch.secrets import Asked

_OWN = Path("~/.config/restante/restante.toml")
_IMPORT = f"Take over what another fetcher knows, and fetch nothing: {', '.join(KINDS)}, and its state file."


@click.command(
    "fetch",
    epilog="Example: restante fetch -c fetch.toml work.  "
    "Exit status: 0 done, also if there was no new mail; 1 something failed, and nothing is lost; 2 wrong usage.",
)
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--daemon", is_flag=True, help="Stay, and fetch again and again, each account at its interval.")
@click.option("--dry-run", is_flag=True, help="Only say what would be fetched and deleted.")
@click.option("--import", "source", nargs=2, metavar="KIND FILE", help=_IMPORT)
@click.option("--moved", is_flag=True, help="The account has a new URL, but is the same maildrop with the same ids.")
@click.option("-v", "--verbose", is_flag=True, help="Show what is said to the servers, and what they answer.")
@click.option("-q", "--quiet", is_flag=True, help="Say only what has failed.")
@config_option
@click.pass_context
def command(  # noqa: PLR0913  (one for each option)
    ctx: click.Context,
    /,
    names: tuple[str, ...],
    source: tuple[str, str] | None,
    *,
    daemon: bool,
    dry_run: bool,
    moved: bool,
    verbose: bool,
    quiet: bool,
) -> int:
    """Fetch mail from the accounts of all tables [[fetch]], or of those named.

    Nothing is lost and nothing comes twice, whenever it is interrupted.
    """
    if daemon and (dry_run or source or moved):
        raise click.UsageError("--daemon stays and fetches; --dry-run, --import and --moved are done once")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    chosen = _chosen(ctx, names)
    if source:
        return take_over(chosen, *source)
    if moved and len(chosen) > 1:
        raise click.UsageError("--moved is for one account: name it")
    _ask(chosen)
    with make_progress(verbose=verbose, quiet=quiet, terminal=sys.stderr.isatty() and not daemon) as progress:
        rounds = Rounds(chosen, progress, progress.report)
        try:
            if daemon:
                asyncio.run(_forever(rounds))
                return 0
            return asyncio.run(_once(rounds, progress, dry=dry_run, moved=moved))
        except asyncio.CancelledError:  # by the second signal
            raise CommandFailed("interrupted; the next visit goes on from here") from None


def _chosen(ctx: click.Context, names: Sequence[str]) -> list[Account]:
    try:
        path = find(ctx.ensure_object(Settings).config, _OWN)
        known = accounts(path)
    except ConfigurationError as error:
        raise CommandFailed(str(error)) from None
    for name in names:
        if all(name != account.name for account in known):
            right = ", ".join(account.name for account in known)
            raise click.UsageError(f"{path} has no [[fetch]] with the name {name}; right are {right}")
    return [account for account in known if not names or account.name in names]


def _ask(chosen: Sequence[Account]) -> None:
    """Ask for the passwords that nothing tells, where there is somebody to ask."""
    if sys.stdin is None or not sys.stdin.isatty():
        return
    for account in chosen:
        if isinstance(account.secrets, Asked):
            prompt = f"Password of {account.url.account()}"
            account.secrets.password = click.prompt(prompt, hide_input=True, err=True)


async def _once(rounds: Rounds, progress: Progress, *, dry: bool, moved: bool) -> int:
    began = time.monotonic()
    _on_signals(rounds)
    outcomes = await rounds.once(dry=dry, moved=moved)
    if not dry:
        progress.summary(metrics(outcomes, time.monotonic() - began))
    return 1 if any(outcome.problems for outcome in outcomes) else 0


async def _forever(rounds: Rounds) -> None:
    _on_signals(rounds)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGHUP, signal.SIGUSR1):
        loop.add_signal_handler(number, rounds.wake)
    await rounds.forever()


def _on_signals(rounds: Rounds) -> None:
    """The first signal ends after the messages at hand, the second at once; both lose nothing."""
    loop = asyncio.get_running_loop()
    whole = asyncio.current_task()
    assert whole is not None

    def stop() -> None:
        if rounds.stopping:
            whole.cancel()
        rounds.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)


def metrics(outcomes: Sequence[Outcome], seconds: float) -> str:
    """Return the line that sums up all visits."""
    failed = sum(1 for outcome in outcomes if outcome.problems)
    accounts_ = f"{len(outcomes)} account{'' if len(outcomes) == 1 else 's'}"
    return (
        f"{accounts_}, {failed} with problems: {sum(one.fetched for one in outcomes)} fetched, "
        f"{sum(one.octets for one in outcomes)} octets, {sum(one.deleted for one in outcomes)} deleted, "
        f"{sum(one.left for one in outcomes)} left, in {seconds:.1f} s"
    )
