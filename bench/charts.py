"""Charts as SVG files for docs/: readable on light and dark ground, and on their own."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Final

from model.plots import STYLE

FOLDER: Final = Path("docs/performance")
_COLOURS: Final = "svg{--ink:#1f2933;--soft:#52606d;--line:#d5dbe1;background:#fff}"
_DARK: Final = (
    "@media(prefers-color-scheme:dark){svg{--ink:#e4e7eb;--soft:#b8c4d0;--line:#3e4c59;"
    "background:#0d1117}}"
)
_WIDE, _LABELS, _NUMBERS, _ROW, _KEY = 760, 290, 110, 26, 18


def keep(name: str, drawn: str) -> Path:
    """Write a drawing of `model.plots` or of `bars`, whose legend is left out, as a file."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    svg = drawn[: drawn.index("</svg>") + len("</svg>")]
    first = svg.index(">") + 1
    opening = svg[:first].replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    path = FOLDER / f"{name}.svg"
    path.write_text(f"{opening}<style>{STYLE}{_COLOURS}{_DARK}</style>{svg[first:]}\n")
    return path


def bars(title: str, rows: Sequence[tuple[str, float, str]], ours: str) -> str:
    """A bar for each (name, value, value as text); the one named `ours` in another colour."""
    most = max((value for _, value, _ in rows), default=1.0) or 1.0
    room = _WIDE - _LABELS - _NUMBERS
    height = _ROW * (len(rows) + 1) + 10
    parts = [f'<text x="8" y="18" class="axis">{escape(title)}</text>']
    for i, (name, value, text) in enumerate(rows):
        top = _ROW * (i + 1) + 4
        wide = max(value / most * room, 1.0)
        colour = "c0" if name == ours else "c5"
        parts.append(
            f'<text x="{_LABELS - 8}" y="{top + 14}" text-anchor="end">{escape(name)}</text>'
            f'<g class="{colour}"><rect x="{_LABELS}" y="{top}" width="{wide:.1f}" height="18"/>'
            f'</g><text x="{_LABELS + wide + 6:.1f}" y="{top + 14}">{escape(text)}</text>'
        )
    return (
        f'<svg viewBox="0 0 {_WIDE} {height}" role="img" aria-label="{escape(title)}">'
        f"{''.join(parts)}</svg>"
    )
