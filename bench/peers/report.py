"""The tables, and their place in docs/performance.md."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from bench import charts
from bench.peers import environments, serving
from bench.stream.stand import TITLES, Broker

DOCUMENT: Final = Path("docs/performance.md")
MARKS: Final = ("<!-- bench-peers -->", "<!-- /bench-peers -->")
_DISTRIBUTIONS: Final = {
    "mlserver": "mlserver",
    "litserve": "litserve",
    "bentoml": "bentoml",
    "quixstreams": "quixstreams",
    "faststream": "faststream",
    "arroyo": "sentry-arroyo",
}

Figures = Mapping[str, Mapping[str, float]]


def page(
    served: Figures, streamed: Figures, missing: Sequence[str], *, broker: Broker, rounds: int
) -> str:
    """Both tables, what they were measured with, and what could not be."""
    parts = [_with_what(rounds)]
    if served:
        parts.append(_serving(served))
    if streamed:
        parts += [f"Over a preloaded topic on the {TITLES[broker]}:", _stream(streamed)]
    parts += [f"Left out: {line}" for line in missing]
    return "\n\n".join(parts)


def drawings(served: Figures, streamed: Figures) -> str:
    """Charts of both tables, as files, and the lines that show them."""
    shown = []
    for name, title, told, figure in (
        ("peers-serving", "/predict, requests a second", served, "requests_per_second"),
        ("peers-stream", "The stream, events a second", streamed, "events_per_second"),
    ):
        if told:
            rows = [(one, row[figure], f"{row[figure]:,.0f}") for one, row in told.items()]
            path = charts.keep(name, charts.bars(title, rows, "Ebbtide"))
            shown.append(f"![{title}]({path.relative_to(DOCUMENT.parent)})\n\n")
    return "".join(shown)


def write(text: str, document: Path = DOCUMENT) -> None:
    """Put it between the markers; at the end of a document that has none."""
    begin, end = MARKS
    old = document.read_text() if document.exists() else "# Performance\n"
    if begin not in old:
        old = f"{old.rstrip()}\n\n{begin}\n{end}\n"
    before, rest = old.split(begin, 1)
    _, after = rest.split(end, 1)
    document.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}")


def _with_what(rounds: int) -> str:
    versions = [
        f"{distribution} {environments.version(peer, distribution)}"
        for peer, distribution in _DISTRIBUTIONS.items()
    ]
    model = [
        f"{name} {environments.version('litserve', name)}"
        for name in ("scikit-learn", "onnxruntime")
    ]
    return (
        f"Medians of {rounds} interleaved rounds, {os.cpu_count()} cores, {platform.machine()}, "
        f"Python {platform.python_version()}; {', '.join(versions)}; in each environment "
        f"{' and '.join(model)}."
    )


def _serving(told: Figures) -> str:
    own = told.get("Ebbtide", {}).get("requests_per_second", float("nan"))
    lines = [
        "| `/predict` | requests/s (spread) | Ebbtide is | p50, p99 open loop | errors |",
        "|---|---|---|---|---|",
    ]
    for title, row in told.items():
        rate = row["requests_per_second"]
        lines.append(
            f"| {title} | {rate:,.0f} ({row['slowest']:,.0f} to {row['fastest']:,.0f}) "
            f"| {own / rate:,.1f} times | {row['p50_ms']:,.1f}, {row['p99_ms']:,.1f} ms "
            f"at {row['asked_per_second']:,.0f}/s | {row['errors']:,.0f} |"
        )
    note = (
        f"Open loop: {serving.PER_SECOND:,.0f} requests/s, or {serving.SUSTAINED:.0%} of what the "
        "server did in the closed loop where that is less."
    )
    return "\n".join([*lines, "", note])


def _stream(told: Figures) -> str:
    own = told.get("Ebbtide", {}).get("events_per_second", float("nan"))
    lines = [
        "| the stream | events/s (spread) | per CPU-second | Ebbtide is |",
        "|---|---|---|---|",
    ]
    for title, row in told.items():
        rate = row["events_per_second"]
        lines.append(
            f"| {title} | {rate:,.0f} ({row['slowest']:,.0f} to {row['fastest']:,.0f}) "
            f"| {row['per_cpu_second']:,.0f} | {own / rate:,.1f} times |"
        )
    return "\n".join(lines)
