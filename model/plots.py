"""Charts as inline SVG: lines and bars, enough for a report that needs nothing else to be read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

import numpy as np

WIDTH: Final = 400
HEIGHT: Final = 270
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 12, 46
STYLE: Final = """
.c0{--c:#0b5d7a}.c1{--c:#d1495b}.c2{--c:#3c8d40}.c3{--c:#8a5fb0}.c4{--c:#b7791f}.c5{--c:#52606d}
.guide{--c:#9aa5b1}
@media(prefers-color-scheme:dark){.c0{--c:#4fb3d9}.c1{--c:#ff8a95}.c2{--c:#7ccf80}.c3{--c:#c3a1e8}
.c4{--c:#e6b566}.c5{--c:#b8c4d0}.guide{--c:#6b7885}}
svg{display:block;width:100%;height:auto;font:13px system-ui,sans-serif;fill:var(--soft)}
svg .grid{stroke:var(--line)}svg .axis{fill:var(--ink)}
svg polyline{fill:none;stroke:var(--c);stroke-width:1.8}
svg circle,svg rect{fill:var(--c)}
.legend{font-size:12px;margin:6px 0 0;display:flex;flex-wrap:wrap;gap:4px 14px}
.legend i{display:inline-block;width:10px;height:10px;border-radius:2px;margin-right:5px;
background:var(--c)}
"""
"""What a page needs; --ink, --soft and --line are its colours of text and rules."""

_COLOURS: Final = 6


@dataclass(frozen=True)
class Series:
    """A line: (k,) x and y; dots marks the points, dashed is for what only guides the eye, reach
    is (low, high) of each point."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    dots: bool = False
    dashed: bool = False
    reach: Sequence[tuple[float, float]] = ()


@dataclass(frozen=True)
class Axis:
    """What an axis shows, from where to where, with labelled ticks."""

    label: str
    low: float
    high: float
    ticks: Sequence[tuple[float, str]]
    is_log: bool = False

    def place(self, value: float) -> float:
        """Share of the way from low to high, clipped to [0, 1]."""
        low, high = self.low, self.high
        if self.is_log:
            value, low, high = (float(np.log(max(v, 1e-9))) for v in (value, low, high))
        return min(max((value - low) / (high - low), 0.0), 1.0)


def share_axis(label: str, high: float = 1.0) -> Axis:
    """An axis from 0 to `high`, in five steps."""
    steps = np.linspace(0, high, 6)
    digits = 1 if high >= 0.5 else 2
    return Axis(label, 0.0, high, [(float(v), f"{v:.{digits}f}") for v in steps])


def lines(series: Sequence[Series], x: Axis, y: Axis, alt: str) -> str:
    """A line chart with a legend when there is more than one named line."""
    px, py = _scales(x, y)
    parts = [_frame(x, y)]
    solid = [one for one in series if not one.dashed]
    for one in series:
        colour = "guide" if one.dashed else _colour(solid.index(one))
        points = [(px(a), py(b)) for a, b in zip(one.x, one.y, strict=True)]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        dash = ' stroke-dasharray="4 4"' if one.dashed else ""
        drawn = [f'<polyline points="{path}"{dash}/>']
        drawn += [
            f'<polyline points="{a:.1f},{py(low):.1f} {a:.1f},{py(high):.1f}"/>'
            for (a, _), (low, high) in zip(points, one.reach, strict=False)
        ]
        if one.dots:
            drawn += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3"/>' for a, b in points]
        parts.append(f'<g class="{colour}">{"".join(drawn)}</g>')
    return _svg(parts, HEIGHT, alt) + _legend([one.name for one in solid if one.name])


def bars(
    names: Sequence[str], values: Sequence[float], shown: Callable[[float], str], alt: str
) -> str:
    """Horizontal bars, one per name, values of either sign, the number beside each."""
    row, left = 28, 96
    low, high = min(0.0, *values), max(0.0, *values)
    span = (high - low) or 1.0
    room = WIDTH - left - 72

    def place(value: float) -> float:
        return left + (value - low) / span * room

    parts = []
    for i, (name, value) in enumerate(zip(names, values, strict=True)):
        top = 6 + i * row
        a, b = sorted((place(0), place(value)))
        wide = max(b - a, 1)
        colour = _colour(0 if value >= 0 else 1)
        parts.append(
            f'<text x="{left - 8}" y="{top + 14}" text-anchor="end">{escape(name)}</text>'
            f'<rect class="{colour}" x="{a:.1f}" y="{top}" width="{wide:.1f}" height="18"/>'
            f'<text x="{b + 6:.1f}" y="{top + 14}">{escape(shown(value))}</text>'
        )
    return _svg(parts, 12 + row * len(names), alt)


def _scales(x: Axis, y: Axis) -> tuple[Callable[[float], float], Callable[[float], float]]:
    wide, high = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM
    return (
        lambda value: _LEFT + x.place(value) * wide,
        lambda value: _TOP + (1 - y.place(value)) * high,
    )


def _frame(x: Axis, y: Axis) -> str:
    px, py = _scales(x, y)
    bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
    parts = []
    for value, text in y.ticks:
        at = py(value)
        parts.append(
            f'<line x1="{_LEFT}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}" class="grid"/>'
            f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{escape(text)}</text>'
        )
    for value, text in x.ticks:
        # A long word at the right edge would be cut off.
        anchor = "end" if len(text) > 5 and x.place(value) > 0.97 else "middle"
        parts.append(
            f'<text x="{px(value):.1f}" y="{bottom + 16}" text-anchor="{anchor}">'
            f"{escape(text)}</text>"
        )
    middle = (_TOP + bottom) / 2
    parts.append(
        f'<text x="{(_LEFT + right) / 2}" y="{HEIGHT - 8}" text-anchor="middle" class="axis">'
        f"{escape(x.label)}</text>"
        f'<text x="12" y="{middle}" text-anchor="middle" class="axis" '
        f'transform="rotate(-90 12 {middle})">{escape(y.label)}</text>'
    )
    return "".join(parts)


def _svg(parts: Sequence[str], height: int, alt: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(alt)}">'
        f"{''.join(parts)}</svg>"
    )


def _legend(names: Sequence[str]) -> str:
    if len(names) < 2:
        return ""
    keys = "".join(
        f'<span class="{_colour(i)}"><i></i>{escape(name)}</span>' for i, name in enumerate(names)
    )
    return f'<p class="legend">{keys}</p>'


def _colour(number: int) -> str:
    return f"c{number % _COLOURS}"
