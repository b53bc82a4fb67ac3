"""Plots as SVG text, drawn by hand: they take their colours from the page and weigh nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

from lohovla.evaluate.report.result_table import percent


@dataclass(frozen=True)
class _Frame:
    """Sizes of a chart of bars, in pixels; labels stand left of the bars, or above them."""

    name: str
    width: int
    left: int
    right: int
    row: int
    above: bool


_TOP = 26
_WIDE = _Frame("spread", 1060, 410, 56, 28, above=False)
_NARROW = _Frame("narrow", 380, 14, 46, 46, above=True)


@dataclass(frozen=True)
class Bar:
    """A bar; lengths are shares in [0, 1].

    Attributes:
        label: what it is of.
        value: its length.
        interval: lower and upper end of its interval, or None.
        marks: other systems' values on the same scale, in the order of the key; None where there is none.
    """

    label: str
    value: float
    interval: tuple[float, float] | None = None
    marks: Sequence[float | None] = field(default_factory=tuple)


def bars(entries: Sequence[Bar]) -> str:
    """Horizontal bars from 0 to 100 %, one an entry, with intervals and marks; hidden on a narrow page."""
    return _bars(entries, _WIDE)


def narrow_bars(entries: Sequence[Bar]) -> str:
    """The same for a page as narrow as a telephone: each label above its bar. Shown there alone."""
    return _bars(entries, _NARROW)


def _bars(entries: Sequence[Bar], frame: _Frame) -> str:
    height = _TOP + frame.row * len(entries) + 8
    span = frame.width - frame.left - frame.right

    def x(share: float) -> float:
        return round(frame.left + span * share, 1)

    parts = [f'<svg class="{frame.name}" viewBox="0 0 {frame.width} {height}" role="img">']
    for tick in range(0, 101, 20):
        at = x(tick / 100)
        parts.append(f'<line class="grid" x1="{at}" x2="{at}" y1="{_TOP - 6}" y2="{height - 6}"/>')
        parts.append(f'<text class="soft" x="{at}" y="13" text-anchor="middle">{tick} %</text>')
    for index, bar in enumerate(entries):
        top = _TOP + frame.row * index
        middle = top + (frame.row - 13 if frame.above else frame.row / 2)
        if frame.above:
            # A name that is too long for the page is set more tightly.
            tight = (
                f' textLength="{frame.width - 2 * frame.left}" lengthAdjust="spacingAndGlyphs"'
                if len(bar.label) > 54
                else ""
            )
            parts.append(f'<text x="{frame.left}" y="{top + 16}"{tight}>{escape(bar.label)}</text>')
        else:
            parts.append(f'<text x="{frame.left - 12}" y="{middle + 4}" text-anchor="end">{escape(bar.label)}</text>')
        width = round(x(bar.value) - x(0), 1)
        parts.append(f'<rect class="bar" x="{x(0)}" y="{middle - 8}" width="{width}" height="16" rx="2"/>')
        if bar.interval is not None:
            low, high = map(x, bar.interval)
            parts.append(
                f'<path class="whisker" d="M{low} {middle - 4}v8M{low} {middle}H{high}M{high} {middle - 4}v8"/>'
            )
        parts.append(f'<circle class="point" cx="{x(bar.value)}" cy="{middle}" r="2.6"/>')
        parts += [plot_mark(kind, x(value), middle) for kind, value in enumerate(bar.marks) if value is not None]
        parts.append(f'<text x="{frame.width - 4}" y="{middle + 4}" text-anchor="end">{percent(bar.value)}</text>')
    return "".join([*parts, "</svg>"])


def plot_mark(kind: int, x: float, y: float) -> str:
    """The sign of another system: circle, triangle up, triangle down, diamond."""
    shapes = (
        f"M{x - 4.5} {y}a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0",
        f"M{x} {y - 5}l5 9h-10z",
        f"M{x} {y + 5}l5 -9h-10z",
        f"M{x} {y - 5.5}l5 5.5l-5 5.5l-5 -5.5z",
    )
    return f'<path class="mark mark-{kind}" d="{shapes[kind]}"/>'


def plot_key(names: Sequence[tuple[int, str]], ours: str, interval: bool) -> str:
    """What the bar and each mark stand for."""
    whisker = '<path class="whisker" d="M8 3v8M8 7H20M20 3v8"/>' if interval else ""
    point = '<circle class="point" cx="14" cy="7" r="2.6"/>'
    bar = f'<rect class="bar" x="0" y="1" width="14" height="12" rx="2"/>{whisker}{point}'
    signs = [(bar, ours), *[(plot_mark(kind, 13, 7), name) for kind, name in names]]
    entries = [f'<span><svg viewBox="0 0 26 14">{sign}</svg>{escape(name)}</span>' for sign, name in signs]
    return f'<div class="key">{"".join(entries)}</div>'


def curve(points: Sequence[tuple[float, float]], end: float, unit: str) -> str:
    """A step curve of values in [0, 1] over [0, ``end``], each holding until the next.

    Args:
        points: (x, value), x increasing from 0.
        end: where the axis ends.
        unit: what x counts.
    """
    width, height, left, bottom, top = 290, 140, 44, 24, 8

    def x(value: float) -> float:
        return round(left + (width - left - 10) * value / max(end, 1e-9), 1)

    def y(value: float) -> float:
        return round(top + (height - top - bottom) * (1 - value), 1)

    parts = [f'<svg viewBox="0 0 {width} {height}" role="img">']
    for value in (0.0, 0.5, 1.0):
        parts.append(f'<line class="grid" x1="{left}" x2="{width - 10}" y1="{y(value)}" y2="{y(value)}"/>')
        parts.append(
            f'<text class="soft" x="{left - 6}" y="{y(value) + 4}" text-anchor="end">{100 * value:.0f} %</text>'
        )
    for value in (0, end / 2, end):
        label = f"{value:.0f}" if end >= 4 else f"{value:.1f}"
        anchor = "end" if value == end else "middle"
        text = f"{label} {unit}" if value == end else label
        parts.append(f'<text class="soft" x="{x(value)}" y="{height - 7}" text-anchor="{anchor}">{text}</text>')
    path = f"M{x(0)} {y(points[0][1])}" + "".join(f"H{x(at)}V{y(value)}" for at, value in points) + f"H{x(end)}"
    parts.append(f'<path class="area" d="{path}V{y(0)}H{x(0)}z"/><path class="line" d="{path}"/></svg>')
    return "".join(parts)


_SERIES = ("#3d6fb4", "#c8691c", "#2f8f7f", "#9a5fb0", "#7a828a")
_STANDALONE = (
    "text{fill:#50575e;font:12px system-ui,sans-serif}.grid{stroke:#d9dcd8}"
    "@media(prefers-color-scheme:dark){text{fill:#b9c0c7}.grid{stroke:#3a4148}}"
)


def line_plot(
    series: Mapping[str, Sequence[tuple[float, float]]], x_name: str, y_name: str, high: float, low: float = 0.0
) -> str:
    """Curves through points (x, y), one a name, as an SVG that stands by itself, with a key.

    Args:
        series: points by name, x increasing.
        x_name: what x counts, with its unit.
        y_name: the same of y.
        high: where the y axis ends.
        low: where it begins.
    """
    width, height, left, right, top, bottom = 520, 300, 58, 16, 34, 46
    end = max(x for points in series.values() for x, _ in points) or 1.0

    def at(x: float, y: float) -> tuple[float, float]:
        share = (y - low) / (high - low)
        across, up = (width - left - right) * x / end, share * (height - top - bottom)
        return round(left + across, 1), round(height - bottom - up, 1)

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"><style>{_STANDALONE}</style>']
    for k in range(5):
        value = low + k / 4 * (high - low)
        _, y = at(0.0, value)
        parts.append(f'<line class="grid" x1="{left}" x2="{width - right}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{left - 8}" y="{y + 4}" text-anchor="end">{value:g}</text>')
    ticks = sorted({x for points in series.values() for x, _ in points})
    foot = height - bottom + 18
    parts += [f'<text x="{at(x, low)[0]}" y="{foot}" text-anchor="middle">{x:g}</text>' for x in ticks]
    parts.append(
        f'<text x="{(left + width - right) / 2}" y="{height - 8}" text-anchor="middle">{escape(x_name)}</text>'
    )
    parts.append(f'<text x="{left}" y="14">{escape(y_name)}</text>')
    place = width - right
    for index, (name, points) in reversed(list(enumerate(series.items()))):
        tone = _SERIES[index % len(_SERIES)]
        path = "L".join("{} {}".format(*at(*point)) for point in points)
        parts.append(f'<path d="M{path}" fill="none" stroke="{tone}" stroke-width="2"/>')
        parts += [f'<circle cx="{at(*p)[0]}" cy="{at(*p)[1]}" r="3" fill="{tone}"/>' for p in points]
        parts.append(f'<text x="{place}" y="14" text-anchor="end" style="fill:{tone}">{escape(name)}</text>')
        place -= 7.0 * len(name) + 14
    return "".join([*parts, "</svg>"])
