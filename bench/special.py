"""The second table: what is measured otherwise than by so many sessions a second."""

import statistics
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from bench import cold, hashed, idle, restart
from bench.contender import ratios
from bench.outcome import Outcome

HEAD = "| work | unit | Restante | Dovecot | times less, of Dovecot | wanted |\n|---|---|---|---|---|---|"


class Special(NamedTuple):
    """A row of it."""

    title: str
    unit: str
    wanted: str
    measure: Callable[[Path, int], Outcome]
    """Does so many rounds, with files in a folder that it makes."""


ROWS: Sequence[Special] = (
    Special("first poll after a restart: login, STAT on 1,000", "ms", "1", partial(restart.measure, messages=1_000)),
    Special(
        "first poll after a restart: login, STAT on 50,000", "ms", "1.5", partial(restart.measure, messages=50_000)
    ),
    Special("memory of an idle session", "KiB", "at most 4 KiB", idle.measure),
    Special("logins with ARGON2ID, half of them repeats", "ms CPU a login", "3", hashed.measure),
    Special("cold page cache: RETR 75 KiB, 32 sessions at once", "ms a MB", "1", cold.measure),
)


def table(folder: Path, rows: Sequence[Special], rounds: int) -> None:
    """Measure the rows, and print a line for each."""
    print("\nWhat the unit says:\n")
    print(HEAD, flush=True)
    for number, row in enumerate(rows):
        outcome = row.measure(folder / f"special{number}", rounds)
        title = row.title + (f"; {outcome.note}" if outcome.note else "")
        cells = [_figure(statistics.median(side)) for side in outcome.sides]
        if len(cells) == 2:
            cells.append(ratios(list(zip(*outcome.sides, strict=True))))
        else:
            cells += ["-", "-"]
        print(f"| {title} | {row.unit} | {' | '.join(cells)} | {row.wanted} |", flush=True)


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:,.2f}"
