"""The backtests of docs/backtest.md: of the demo population, and of public logs where they are.

    python -m bench.backtest [--data FOLDER]

Replaces what stands between the marks of docs/backtest.md by commands and what they print; without
--data (see docs/model.md) MathOverflow and Online Retail keep what stands there.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from bench.page import replaced
from contracts.times import from_ms
from ebbtide.cli import main as ebbtide
from ebbtide.demo_model import POPULATION, SETTINGS

PAGE: Final = Path("docs/backtest.md")
POLICY: Final = """\
rules:
  - name: newcomers
    threshold: 0.6
    resolve_below: 0.4
    active_days: {at_least: 1, at_most: 3}
    words: They have hardly begun.
  - name: regulars
    threshold: 0.4
    resolve_below: 0.25
    active_days: {at_least: 20}
    severity: critical
  - name: five-a-day
    threshold: top 5 a day
    resolve_below: 0.25
"""
LOGS: Final = {
    "mathoverflow": (
        "--horizon-days", "28", "--active-days", "28", "--from", "2015-01-01", "--step-days", "60",
        "--users", "5000",
    ),
    "online_retail": ("--horizon-days", "90", "--active-days", "180", "--step-days", "60"),
}  # fmt: skip


def main() -> int:
    """Write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--data", type=Path, help="the folder with the public logs")
    args = parser.parse_args()
    text = PAGE.read_text(encoding="utf-8")
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "policy.yaml").write_text(POLICY)
        begun = from_ms(POPULATION.start_ms).isoformat()
        made = [
            "simulate", "--users", str(POPULATION.users), "--days", str(POPULATION.days),
            "--seed", str(POPULATION.seed), "--start", begun, "--out", "demo.parquet",
        ]  # fmt: skip
        size = [
            "--events", "demo.parquet", "--horizon-days", str(SETTINGS.horizon_days),
            "--active-days", str(SETTINGS.active_days),
        ]  # fmt: skip
        ran = [
            _ran(made, folder),
            _ran(["alerts", "backtest", *size, "--per-day", "20", "--ladder"], folder),
        ]
        text = replaced(text, "demo", "\n\n".join(ran))
        ran = [
            f"```yaml\n{POLICY}```",
            _ran(["alerts", "backtest", "policy.yaml", *size], folder),
        ]
        text = replaced(text, "rules", "\n\n".join(ran))
        for title, words in LOGS.items() if args.data is not None else ():
            log = f"{title}.parquet"
            (folder / log).symlink_to(args.data.resolve() / log)
            asked = ["alerts", "backtest", "--events", log, *words, "--ladder"]
            text = replaced(text, title, _ran(asked, folder))
    PAGE.write_text(text, encoding="utf-8")
    return 0


def _ran(words: Sequence[str], folder: Path) -> str:
    """The command as it is typed, and what it prints; its files lie in `folder`."""
    out = io.StringIO()
    there = [
        str(folder / word) if Path(word).suffix in {".parquet", ".yaml"} else word for word in words
    ]
    with redirect_stdout(out):
        code = ebbtide(there)
    if code:
        sys.exit(code)
    return f"```\n$ ebbtide {' '.join(words)}\n{out.getvalue()}```"


if __name__ == "__main__":
    raise SystemExit(main())
