"""Curves as SVG, both axes logarithmic: a few lines of text, for which no library is needed."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 460, 340
"""Of a panel, in pixels."""
LEFT, RIGHT, TOP, BOTTOM = 92, 32, 44, 52
"""Margins around its axes."""
COLOURS = ("#0b62a4", "#c0392b", "#2e7d32", "#6a3d9a")
"""Dark enough on white; one for each curve."""
DASHES = ("none", "7 4", "2 3", "10 3 2 3")
"""For those who do not see the colours."""
_STYLE = "text{font:12px sans-serif;fill:#222}.title{font-size:14px;font-weight:bold}"
_MARK = 3.5

Point = tuple[float, float]


class Panel(NamedTuple):
    """One pair of axes; all figures are above 0."""

    title: str
    x_title: str
    y_title: str
    curves: Mapping[str, Sequence[Point]]
    """By name, in the order of x."""


class _Axis(NamedTuple):
    """From a figure to a place."""

    low: float
    high: float
    place: Callable[[float], float]

    def decades(self) -> list[float]:
        """Return the powers of ten on it."""
        exponents = range(math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9) + 1)
        return [10.0**exponent for exponent in exponents]


def svg(panels: Sequence[Panel]) -> str:
    """Draw panels beside each other."""
    width = WIDTH * len(panels)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{HEIGHT}" viewBox="0 0 {width} {HEIGHT}">',
        f"<style>{_STYLE}</style>",
        f'<rect width="{width}" height="{HEIGHT}" fill="white"/>',
        *(f'<g transform="translate({number * WIDTH} 0)">{_panel(one)}</g>' for number, one in enumerate(panels)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _panel(panel: Panel) -> str:
    points = [point for curve in panel.curves.values() for point in curve]
    x = _axis([point[0] for point in points], LEFT, WIDTH - RIGHT)
    y = _axis([point[1] for point in points], HEIGHT - BOTTOM, TOP, whole=True)
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts = [
        _text(LEFT, 16, panel.title, "start", "title"),
        *_grid(x, y, sorted({point[0] for point in points})),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, panel.x_title),
        f'<g transform="translate(16 {middle:.1f}) rotate(-90)">{_text(0, 0, panel.y_title)}</g>',
    ]
    for number, (name, curve) in enumerate(panel.curves.items()):
        parts += _curve([(x.place(a), y.place(b)) for a, b in curve], number)
        parts += _legend(name, number, len(panel.curves))
    return "\n".join(parts)


def _axis(figures: Sequence[float], start: float, end: float, *, whole: bool = False) -> _Axis:
    """Make an axis for figures.

    Args:
        figures: all of them.
        start: place of the least.
        end: place of the most.
        whole: it goes from one power of ten to another.
    """
    low, high = min(figures), max(figures)
    if whole or low == high:
        low, high = 10.0 ** math.floor(math.log10(low)), 10.0 ** math.ceil(math.log10(high) + 1e-9)
    span = math.log10(high / low) or 1
    return _Axis(low, high, lambda figure: start + (end - start) * math.log10(figure / low) / span)


def _grid(x: _Axis, y: _Axis, ticks: Sequence[float]) -> list[str]:
    """Draw the lines at the powers of ten of y and at the figures of x that were measured, with their names."""
    top, bottom = y.place(y.high), y.place(y.low)
    left, right = x.place(x.low), x.place(x.high)
    parts = []
    for tick in ticks:
        parts.append(_line((x.place(tick), top), (x.place(tick), bottom)))
        parts.append(_text(x.place(tick), bottom + 18, f"{tick:,g}" if tick < 1e6 else f"{tick:,.0f}"))
    for decade in y.decades():
        parts.append(_line((left, y.place(decade)), (right, y.place(decade))))
        parts.append(_text(left - 8, y.place(decade) + 4, f"{decade:,g}" if decade < 1 else f"{decade:,.0f}", "end"))
    frame = f'<path d="M{left:.1f} {top:.1f}V{bottom:.1f}H{right:.1f}" fill="none" stroke="#444"/>'
    return [*parts, frame]


def _line(one: Point, other: Point) -> str:
    return f'<path d="M{one[0]:.1f} {one[1]:.1f}L{other[0]:.1f} {other[1]:.1f}" stroke="#ddd"/>'


def _curve(places: Sequence[Point], number: int) -> list[str]:
    colour, dash = COLOURS[number % len(COLOURS)], DASHES[number % len(DASHES)]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    line = f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>'
    return [line, *(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{_MARK}" fill="{colour}"/>' for x, y in places)]


def _legend(name: str, number: int, count: int) -> list[str]:
    """Name a curve, above the axes, from the right."""
    right = WIDTH - RIGHT - (count - number) * 96
    places = [(right, 32.0), (right + 22, 32.0)]
    return [*_curve(places, number), _text(right + 28, 36, name, "start")]


def _text(x: float, y: float, text: str, anchor: str = "middle", kind: str = "") -> str:
    kind = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{kind}>{escape(text)}</text>'
