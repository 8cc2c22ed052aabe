"""The gateway and the scorer under more than they can do, on the embedded broker and store.

    python -m bench.pressure [--quick] [--events 1000000] [--only gateway] [--json FILE]

Everything is a process of its own on this machine, the load's generator too. Some four minutes.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from bench.machine import machine
from bench.page import pressure_tables
from bench.pressure.gateway import crowded, under_pressure
from bench.pressure.scorer import backlog, hot_user
from bench.serving import model as bench_model
from bench.serving.load import require_wrk
from bench.stream.stand import running

BACKLOG_SECONDS: Final = 150.0
"""At most; what was read until then is told."""
PARTS: Final = ("gateway", "backlog", "hot")


def main() -> int:
    """Print the tables; 1 when a request was neither answered nor refused."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("--events", type=int, help="of the backlog; default 1,000,000")
    parser.add_argument("--seconds", type=float, help="of each load; default 3")
    parser.add_argument("--only", choices=PARTS)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    args = parser.parse_args()
    require_wrk()
    figures = measured(args)
    print(pressure_tables(figures))
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(figures, indent=1) + "\n")
    loads = [row for rows in figures.get("gateway", {}).values() for row in rows]
    loads += figures.get("crowd", [])
    failed = [row.get("failed") or row.get("errors") or row["health_failed"] for row in loads]
    return int(any(failed))


def measured(args: argparse.Namespace) -> dict[str, Any]:
    """All figures, as they go into the JSON file."""
    count = args.events or (20_000 if args.quick else 1_000_000)
    seconds = args.seconds or (2.0 if args.quick else 3.0)
    users = 10_000 if args.quick else 100_000
    figures: dict[str, Any] = {
        "machine": machine(),
        "command": " ".join(["python -m bench.pressure", *sys.argv[1:]]),
    }
    wanted = (args.only,) if args.only else PARTS
    with tempfile.TemporaryDirectory() as folder:
        model = bench_model.write(Path(folder) / "model")
        # The embedded log lives in memory: what fills it gets a broker of its own.
        for part in wanted:
            with running("embedded", Path(folder)) as stand:
                if part == "gateway":
                    figures["crowd"] = crowded(stand, seconds)
                    figures[part] = under_pressure(stand, seconds)
                elif part == "backlog":
                    figures[part] = backlog(
                        stand, model, count=count, users=users, seconds=BACKLOG_SECONDS
                    )
                else:
                    figures[part] = hot_user(stand, model, count=min(count, 100_000), users=users)
    return figures


if __name__ == "__main__":
    sys.exit(main())
