"""The result of a run as Markdown, as `docs/reliability.md` shows it."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import version

from tests import servers
from tests.chaos.run import Order, Report, table


def text(order: Order, report: Report) -> str:
    """All of it."""
    return "\n".join(_lines(order, report))


def _lines(order: Order, report: Report) -> Iterator[str]:
    verdict = report.verdict
    yield f"Seed {order.seed}, {servers.described()}; Python {platform.python_version()}, " + (
        ", ".join(f"{name} {version(name)}" for name in ("aiokafka", "redis", "numpy"))
    )
    yield (
        f"{report.accepted:,} records accepted in {report.seconds:.0f} s "
        f"({report.accepted / max(report.seconds, 1e-9):,.0f}/s), "
        f"{report.catching_up_s:.0f} s to the end of all silences."
    )
    yield ""
    yield "| fault | times | median recovery | longest |"
    yield "|---|---|---|---|"
    rows = table(report.struck)
    for name, count, median, longest in rows:
        yield f"| {name} | {count} | {median:.1f} s | {longest:.1f} s |"
    yield f"| all | {sum(row[1] for row in rows)} | | |"
    yield ""
    yield "| promise | looked at | differences |"
    yield "|---|---|---|"
    for check in verdict.checks:
        yield f"| {check.promise} | {check.cases:,} | {check.differences:,} |"
    yield ""
    yield "| figure | |"
    yield "|---|---|"
    for name, figure in verdict.figures.items():
        yield f"| {name} | {figure:,} |"
    for what, count in sorted(report.retries.items()):
        yield f"| sent again: {what} | {count:,} |"
    for name, codes in sorted(report.ends.items()):
        yield f"| {name} ended by itself with | {', '.join(map(str, codes))} |"
    for check in verdict.checks:
        for example in check.examples:
            yield f"- {check.promise}: {example}"
    for failure in report.failed:
        yield f"- {failure}"
