"""How ``restante fetch`` shows what it does: a bar for each account on a terminal, a line for each elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from restante.errors import one_line
from restante.fetch.account import Account, Outcome

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID


class Progress:
    """A `restante.fetch.account.Watcher` that writes lines.

    Args:
        verbose: show the protocol.
        quiet: show problems only.
    """

    def __init__(self, *, verbose: bool, quiet: bool) -> None:
        self._verbose = verbose
        self._quiet = quiet

    def log(self, account: Account, line: str) -> None:
        """See `Watcher.log`."""
        if self._verbose:
            self.line(one_line(f"{account.name}: {line}"))

    def planned(self, account: Account, messages: int, octets: int) -> None:
        """See `Watcher.planned`."""

    def came(self, account: Account, octets: int) -> None:
        """See `Watcher.came`."""

    def delivered(self, account: Account) -> None:
        """See `Watcher.delivered`."""

    def would(self, account: Account, line: str) -> None:
        """See `Watcher.would`."""
        click.echo(one_line(f"{account.name}: would {line}"))

    def report(self, account: Account, outcome: Outcome) -> None:
        """Say what came of a visit."""
        for problem in outcome.problems:
            self.line(f"{account.name}: {problem}")
        if not self._quiet:
            self.line(f"{account.name}: {in_short(outcome)}")

    def summary(self, text: str) -> None:
        """Say what came of all."""
        if not self._quiet:
            self.line(text)

    def line(self, text: str) -> None:
        """Write a line."""
        click.echo(text, err=True)


class BarProgress(Progress):
    """The same with bars, which end as lines."""

    def __init__(self, bars: "Bars", *, verbose: bool, quiet: bool) -> None:
        super().__init__(verbose=verbose, quiet=quiet)
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def planned(self, account: Account, messages: int, octets: int) -> None:
        """See `Watcher.planned`."""
        if messages:
            self._tasks[account.name] = self._bars.add_task(account.name, total=octets or None, messages=messages)

    def came(self, account: Account, octets: int) -> None:
        """See `Watcher.came`."""
        if account.name in self._tasks:
            self._bars.advance(self._tasks[account.name], octets)

    def report(self, account: Account, outcome: Outcome) -> None:
        """See `Progress.report`."""
        if account.name in self._tasks:
            self._bars.remove_task(self._tasks.pop(account.name))
        super().report(account, outcome)

    def line(self, text: str) -> None:
        """See `Progress.line`."""
        self._bars.console.print(text, markup=False, highlight=False, soft_wrap=True)


def in_short(outcome: Outcome) -> str:
    """Sum up a visit."""
    parts = [f"{outcome.listed} there", f"{outcome.fetched} fetched ({outcome.octets} octets)"]
    for number, words in (
        (outcome.deleted, "deleted"),
        (outcome.left, "left"),
        (outcome.known, "known by their content"),
    ):
        if number:
            parts.append(f"{number} {words}")
    if outcome.more and outcome.fetched:
        parts.append("the server may have more")
    return ", ".join(parts)


@contextmanager
def make_progress(*, verbose: bool, quiet: bool, terminal: bool) -> Iterator[Progress]:
    """Choose what fits the place where it is shown; bars need the package rich."""
    if terminal and not quiet and not verbose:
        try:
            from rich.console import Console  # noqa: PLC0415  (an extra, and slow to import)
            from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn  # noqa: PLC0415
            from rich.progress import Progress as Bars  # noqa: PLC0415
        except ImportError:
            pass
        else:
            columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
            with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
                yield BarProgress(bars, verbose=verbose, quiet=quiet)
            return
    yield Progress(verbose=verbose, quiet=quiet)
