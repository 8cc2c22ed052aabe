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
COLOURS: Final = ("#0b5d7a", "#d1495b", "#3c8d40", "#8a5fb0", "#b7791f", "#52606d")


@dataclass(frozen=True)
class Series:
    """A line: (k,) x and y; dots marks the points, dashed is for what only guides the eye."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    dots: bool = False
    dashed: bool = False


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
        colour = "#9aa5b1" if one.dashed else COLOURS[solid.index(one) % len(COLOURS)]
        points = [(px(a), py(b)) for a, b in zip(one.x, one.y, strict=True)]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        dash = ' stroke-dasharray="4 4"' if one.dashed else ""
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>'
        )
        if one.dots:
            parts += [
                f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{colour}"/>' for a, b in points
            ]
    return _svg(parts, HEIGHT, alt) + _legend([one.name for one in solid if one.name])


def bars(
    names: Sequence[str], values: Sequence[float], shown: Callable[[float], str], alt: str
) -> str:
    """Horizontal bars, one per name, values of either sign, the number beside each."""
    row, left = 26, 130
    low, high = min(0.0, *values), max(0.0, *values)
    span = (high - low) or 1.0
    room = WIDTH - left - 64

    def place(value: float) -> float:
        return left + (value - low) / span * room

    parts = []
    for i, (name, value) in enumerate(zip(names, values, strict=True)):
        top = 6 + i * row
        a, b = sorted((place(0), place(value)))
        colour = COLOURS[0] if value >= 0 else COLOURS[1]
        parts.append(
            f'<text x="{left - 8}" y="{top + 14}" text-anchor="end">{escape(name)}</text>'
            f'<rect x="{a:.1f}" y="{top}" width="{max(b - a, 1):.1f}" height="18" fill="{colour}"/>'
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
        anchor = "end" if len(text) > 5 and x.place(value) > 0.9 else "middle"
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
        f'<span><i style="background:{COLOURS[i % len(COLOURS)]}"></i>{escape(name)}</span>'
        for i, name in enumerate(names)
    )
    return f'<p class="legend">{keys}</p>'
