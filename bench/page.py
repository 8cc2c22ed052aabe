"""Benchmark figures as Markdown tables and charts, and into docs/performance.md.

    python -m bench.page [--serving FILE] [--stream FILE] [--pressure FILE]

Replaces what stands between `<!-- NAME -->` and `<!-- /NAME -->` in docs/performance.md, and the
charts beside it in docs/performance/.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from bench import charts
from bench.stream import stand
from bench.stream.steps import STEPS
from contracts.errors import Misconfigured
from model.plots import Axis, Series, lines

TITLES: Final[dict[str, str]] = {str(broker): title for broker, title in stand.TITLES.items()}
PAGE: Final = Path("docs/performance.md")
_GROWN: Final = {
    "users": ("Users known to the store", "users"),
    "batch": ("Events a batch, at most", "events a batch"),
    "partitions": ("Partitions", "partitions"),
    "features": ("Columns of the model", "columns"),
}


def main() -> int:
    """Write the page from the files given."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--serving", type=Path)
    parser.add_argument("--stream", type=Path)
    parser.add_argument("--pressure", type=Path)
    args = parser.parse_args()
    text = PAGE.read_text()
    if args.serving:
        told = json.loads(args.serving.read_text())
        drawn = _image("Requests a second", _serving_chart(told))
        text = replaced(text, "serving", f"{drawn}\n\n{serving_table(told)}")
    if args.stream:
        figures = json.loads(args.stream.read_text())
        text = replaced(text, "machine", _machine(figures))
        text = replaced(text, "stream", stream_tables(figures, _charts(figures)))
    if args.pressure:
        figures = json.loads(args.pressure.read_text())
        if not args.stream:
            text = replaced(text, "machine", _machine(figures))
        tables = pressure_tables(figures)
        if "gateway" in figures:
            drawn = _image("Latency of what is accepted", _pressure_chart(figures["gateway"]))
            tables = f"{drawn}\n\n{tables}"
        text = replaced(text, "pressure", f"`{figures['command']}`\n\n{tables}")
    PAGE.write_text(text)
    return 0


def replaced(text: str, name: str, content: str) -> str:
    """The page with another content between the markers of that name."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise Misconfigured(f"{PAGE} has no {begin} with its {end}: put them back")
    return f"{before}{begin}\n\n{content.strip()}\n\n{end}{after}"


def serving_table(figures: dict[str, dict[str, float]]) -> str:
    """`python -m bench.serving --json`, as a table; the first is what others are set against."""
    bare = next(iter(figures.values()))["requests_per_second"]
    rows = [
        [
            title,
            _spread(told["requests_per_second"], told["slowest"], told["fastest"]),
            f"{told['requests_per_second'] / bare:.2f}",
            *(f"{told[name]:.1f} ms" for name in ("p50_ms", "p99_ms", "p999_ms")),
            f"{told['start_s']:.1f} s",
        ]
        for title, told in figures.items()
    ]
    return _table(["", "requests/s", "of bare", "p50", "p99", "p99.9", "start"], rows)


def stream_tables(figures: dict[str, Any], drawn: dict[str, Path] | None = None) -> str:
    """All tables of `bench.stream`; drawn: charts by what varies, to be shown beside its table."""
    parts = [_throughput(broker, told) for broker, told in figures["throughput"].items()]
    parts += [f"Without {TITLES[b]}: {why}." for b, why in figures["without"].items()]
    if figures["stages"]:
        parts.append(_stages(figures["stages"]))
    if figures["steps"]:
        parts.append(_steps(figures["steps"]))
    if figures["latency"]:
        parts.append(_latency(figures))
    for name, points in figures["growth"].items():
        if drawn and name in drawn:
            parts.append(_image(_GROWN[name][0], drawn[name]))
        parts.append(_growth(name, points))
    return "\n\n".join(parts)


def pressure_tables(figures: dict[str, Any]) -> str:
    """All tables of `bench.pressure`: of as many parts as were measured."""
    parts = []
    if "crowd" in figures:
        parts.append(_crowd(figures["crowd"]))
    if "gateway" in figures:
        parts.append(_overload(figures["gateway"]))
    if told := figures.get("backlog"):
        rows = [
            ["events in the backlog, a day of log", f"{told['events']:,.0f}"],
            ["read", f"{told['read']:,.0f} in {told['seconds']:.1f} s"],
            ["events/s", f"{told['events_per_second']:,.0f}"],
            ["scores that silence caused meanwhile", f"{told['silence_scores']:,.0f}"],
            ["oldest overdue timer, median", f"{told['late_median_s']:.2f} s"],
            ["oldest overdue timer, worst", f"{told['late_worst_s']:.2f} s"],
            ["the same by the log's clock", f"{told['late_worst_log_s'] / 60:.1f} min"],
            ["a batch of one partition spans", f"{told['batch_log_s'] / 60:.1f} min of log"],
            ["all timers fired, after the last event", f"{told['settled_after_s']:.1f} s"],
        ]
        parts.append(_table(["One scorer catches up", ""], rows))
    if told := figures.get("hot"):
        rows = [
            [
                whose,
                *(f"{told[f'{name}_{key}_per_second']:,.0f}" for name in ("without", "with")),
                f"{told[f'with_{key}_per_second'] / told[f'without_{key}_per_second']:.2f}",
            ]
            for whose, key in (("the seven other partitions", "others"), ("the hot user's", "hot"))
        ]
        heads = ["events/s of", "without the hot user", "with", "ratio"]
        parts.append(_table(heads, rows))
    return "\n\n".join(parts)


def _crowd(rows: Sequence[dict[str, Any]]) -> str:
    heads = [
        "", "connections", "answered/s", "shed/s", "p50", "p99", "failed", "`/livez`, worst",
        "memory",
    ]  # fmt: skip
    return _table(
        heads,
        [
            [
                row["title"],
                f"{row['connections']:,}",
                f"{row['requests_per_second']:,.0f}",
                f"{row['shed_per_second']:,.0f}",
                f"{row['p50_ms']:.1f} ms",
                f"{row['p99_ms']:.1f} ms",
                f"{row['errors']:,}",
                f"{row['health_worst_ms']:.0f} ms",
                f"{row['rss_mb']:.0f} MB",
            ]
            for row in rows
        ],
    )


def _overload(cases: dict[str, list[dict[str, Any]]]) -> str:
    rows = [
        [
            title,
            f"{row['capacity']:,.0f}",
            f"{row['factor']:g}",
            *(f"{row[f'{k}_per_second']:,.0f}" for k in ("asked", "accepted", "shed")),
            f"{row['p50_ms']:.1f} ms",
            f"{row['p99_ms']:.1f} ms",
            _milliseconds(row["shed_p99_ms"]),
            f"{row['health_worst_ms']:.0f} ms",
            f"{row['rss_mb']:.0f} MB",
        ]
        for title, loads in cases.items()
        for row in loads
    ]
    heads = [
        "", "capacity/s", "times", "asked/s", "accepted/s", "shed/s", "p50 of accepted",
        "p99 of accepted", "p99 of shed", "`/livez`, worst", "memory",
    ]  # fmt: skip
    return _table(heads, rows)


def _milliseconds(value: float | None) -> str:
    return "none" if value is None else f"{value:.1f} ms"


def _machine(figures: dict[str, Any]) -> str:
    rows = [[name, value] for name, value in figures["machine"].items()]
    rows.append(["command", f"`{figures['command']}`"])
    return _table(["", ""], rows)


def _throughput(broker: str, told: dict[str, dict[str, float]]) -> str:
    ours = list(told.values())[-1]
    rows = [
        [
            title,
            _spread(one["events_per_second"], one["slowest"], one["fastest"]),
            f"{one['per_cpu_second']:,.0f}",
            _ratio(ours["events_per_second"] / one["events_per_second"]),
        ]
        for title, one in told.items()
    ]
    title = TITLES[broker]
    head = [f"One process on the {title}" if broker == "embedded" else f"One process on {title}"]
    return _table([*head, "events/s", "per CPU-second", "Ebbtide, times this"], rows)


def _stages(stages: dict[str, dict[str, float]]) -> str:
    brokers = list(stages)
    names = list(dict.fromkeys(name for told in stages.values() for name in told))
    rows = [[name, *(f"{stages[b].get(name, 0):.1f}" for b in brokers)] for name in names]
    titles = [f"µs an event, {TITLES[b]}" for b in brokers]
    return _table(["Stage of a batch (what it waits for included)", *titles], rows)


def _steps(measured: Sequence[dict[str, Any]]) -> str:
    heads = [f"µs an event, {told['size']:,} at once" for told in measured]
    rows = [[title, *(f"{told[step]:.1f}" for told in measured)] for step, title in STEPS.items()]
    sums = [f"{sum(told[step] for step in STEPS):.1f}" for told in measured]
    return _table(
        ["Step of a batch, the scorer's own processor time", *heads], [*rows, ["together", *sums]]
    )


def _latency(figures: dict[str, Any]) -> str:
    rows = [
        [
            f"{TITLES[broker]}: event to {what}",
            *(f"{waits[name]:.1f} ms" for name in ("p50", "p99", "p999")),
            f"{waits['count']:,.0f}",
        ]
        for broker, told in figures["latency"].items()
        for what, waits in told.items()
    ]
    return _table([f"At {figures['rate']:,.0f} events/s", "p50", "p99", "p99.9", "measured"], rows)


def _growth(name: str, points: Sequence[dict[str, Any]]) -> str:
    title = {"processes": "Scorer processes", "kind": "Load"}.get(name) or _GROWN[name][0]
    heads, rows = [title], [[_shown(point["x"])] for point in points]
    if "events_per_second" in points[0]:
        heads += ["events/s", "scores an event"]
        for row, point in zip(rows, points, strict=True):
            row += [f"{point['events_per_second']:,.0f}", f"{point['scores_per_event']:.2f}"]
    heads.append("CPU µs a row" if name == "features" else "CPU µs an event")
    for row, point in zip(rows, points, strict=True):
        row.append(f"{point['cpu_us']:.1f}")
    if name == "users":
        heads += ["bytes a user", "record", "timer", "rank"]
        for row, point in zip(rows, points, strict=True):
            row += [f"{point['bytes'][k]:.0f}" for k in ("total", "record", "timer", "rank")]
    return _table(heads, rows)


def _charts(figures: dict[str, Any]) -> dict[str, Path]:
    """One SVG for each growth that has numbers to draw against."""
    made = {}
    for name, (title, label) in _GROWN.items():
        points = figures["growth"].get(name)
        if points:
            made[name] = charts.keep(name, _chart(title, label, points))
    return made


def _chart(title: str, label: str, points: Sequence[dict[str, Any]]) -> str:
    xs, ys = [p["x"] for p in points], [p["cpu_us"] for p in points]
    top = max(ys) * 1.2
    x = Axis(label, min(xs), max(xs), [(v, _shown(v)) for v in xs], is_log=True)
    y = Axis("CPU µs", 0.0, top, [(top * k / 4, f"{top * k / 4:.1f}") for k in range(5)])
    return lines([Series("", xs, ys, dots=True)], x, y, title)


def _serving_chart(figures: dict[str, dict[str, float]]) -> Path:
    rows = [
        (title, told["requests_per_second"], f"{told['requests_per_second']:,.0f}")
        for title, told in figures.items()
    ]
    drawn = charts.bars("/predict, requests a second over 32 connections", rows, "Ebbtide")
    return charts.keep("serving", drawn)


def _pressure_chart(cases: dict[str, list[dict[str, Any]]]) -> Path:
    rows = [
        (
            f"{title.replace('`', '')}, {row['factor']:g} times",
            row["p99_ms"],
            f"{row['p99_ms']:.0f} ms",
        )
        for title, loads in cases.items()
        for row in loads
    ]
    drawn = charts.bars("p99 of what is accepted, by times of the capacity", rows, "")
    return charts.keep("pressure", drawn)


def _image(title: str, path: Path) -> str:
    return f"![{title}]({path.relative_to(PAGE.parent)})"


def _shown(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:,.0f}"


def _spread(middle: float, low: float, high: float) -> str:
    return f"{middle:,.0f} ({low:,.0f} to {high:,.0f})"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


if __name__ == "__main__":
    sys.exit(main())
