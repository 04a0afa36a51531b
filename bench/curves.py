"""``python -m bench.curves``: how costs grow with connections, and with messages, for Restante and Dovecot.

Rounds are interleaved, every reply is checked, and CPU is that of the server's whole process tree, as in
``python -m bench``.  What counts are the shapes.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from bench import maildrops
from bench.contender import Contender, Cost, ratios
from bench.load import BuildFailed, Load, load
from bench.maildrops import Kind
from bench.pair import Side, running, sides
from bench.peers import dovecot_missing
from bench.plot import Panel, svg
from bench.rows import Row, stat

CONNECTIONS = (1, 8, 64, 512)
MESSAGES = (10, 1_000, 50_000)
LARGEST = 500_000
HEAD = (
    "| {} | sessions a second, Restante | Dovecot | times | µs CPU a session, Restante | Dovecot | times less |\n"
    "|---|---|---|---|---|---|---|"
)


class Curve(NamedTuple):
    """One work, more and more of it."""

    title: str
    x_title: str
    y_title: str
    points: Sequence[tuple[int, Row]]


class Measured(NamedTuple):
    """What came of a point: a median for each server, and how many times more Dovecot needs of time and of CPU."""

    x: int
    costs: Sequence[Cost]
    ratios: Sequence[str]


def _row(kind: Kind, connections: int) -> Row:
    return Row("", "session", kind, stat, 0, connections=connections)


def curves(messages: Sequence[int]) -> list[Curve]:
    """Return what is measured."""
    ten = maildrops.TEN._replace(users=CONNECTIONS[-1], alike=True)
    title = "login, STAT, QUIT"
    return [
        Curve(
            f"{title}, 10 messages",
            "connections",
            "sessions a second",
            [(count, _row(ten, count)) for count in CONNECTIONS],
        ),
        Curve(
            f"{title}, 1 connection",
            "messages",
            "µs CPU a session",
            [(count, _row(maildrops.of(count), 1)) for count in messages],
        ),
    ]


def main() -> int:
    """Measure, print a table for each curve, and draw them."""
    parser = argparse.ArgumentParser(prog="python -m bench.curves", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the curves as SVG")
    parser.add_argument("--largest", action="store_true", help=f"a maildrop of {LARGEST:,} messages, too")
    options = parser.parse_args()
    try:
        load()
    except BuildFailed as problem:
        print(problem, file=sys.stderr)
        return 1
    if missing := dovecot_missing():
        print(f"Without Dovecot: {missing}")
    print(f"{options.rounds} rounds, interleaved; Python {sys.version.split()[0]}")
    panels = []
    with tempfile.TemporaryDirectory(prefix="restante-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        for number, curve in enumerate(curves((*MESSAGES, LARGEST) if options.largest else MESSAGES)):
            print(f"\n{curve.title}\n\n{HEAD.format(curve.x_title)}", flush=True)
            panels.append(_panel(curve, _measured(folder / str(number), curve, options.rounds)))
    if options.plot:
        options.plot.write_text(svg(panels), encoding="utf-8")
        print(f"\nDrawn to {options.plot}")
    return 0


def _measured(folder: Path, curve: Curve, rounds: int) -> list[Measured]:
    """Measure all points, and print the line of each."""
    folder.mkdir()
    found = []
    made: dict[Kind, list[Side]] = {}
    for x, row in curve.points:
        if row.kind not in made:
            made[row.kind] = sides(folder / row.kind.name, row.kind)
        found.append(_point(x, row, made[row.kind], rounds))
        print(_line(found[-1]), flush=True)
    return found


def _point(x: int, row: Row, pair: Sequence[Side], rounds: int) -> Measured:
    with running(pair) as peers:
        script = partial(row.script, row.kind)
        contenders = [Contender(peer, row, Load(script(peer), row.connections, 0)) for peer in peers]
        for _ in range(rounds):
            for contender in contenders:
                contender.measure()
    costs = [contender.costs for contender in contenders]
    times = []
    if len(costs) == 2:
        times = [ratios([(our[which], its[which]) for our, its in zip(*costs, strict=True)]) for which in (1, 0)]
    return Measured(x, [contender.median() for contender in contenders], times)


def _line(point: Measured) -> str:
    cells = []
    for which, figures in enumerate((_a_second(point.costs), _cpu(point.costs))):
        cells += [f"{figure:,.0f}" for figure in figures]
        cells += [point.ratios[which]] if point.ratios else ["-", "-"]
    return f"| {point.x:,} | {' | '.join(cells)} |"


def _a_second(costs: Sequence[Cost]) -> list[float]:
    return [1 / cost.elapsed for cost in costs]


def _cpu(costs: Sequence[Cost]) -> list[float]:
    """In microseconds; the clock has none that is shorter than one."""
    return [max(cost.cpu * 1e6, 1) for cost in costs]


def _panel(curve: Curve, points: Sequence[Measured]) -> Panel:
    """Draw what the curve is about: throughput over connections, CPU over messages."""
    show = _a_second if curve.x_title == "connections" else _cpu
    figures = [(float(point.x), show(point.costs)) for point in points]
    names = ("Restante", "Dovecot")[: len(points[0].costs)]
    named = {name: [(x, y[index]) for x, y in figures] for index, name in enumerate(names)}
    return Panel(curve.title, curve.x_title, curve.y_title, named)


if __name__ == "__main__":
    sys.exit(main())
