"""Are the ratios of a benchmark about what they were? Reports all, fails on large losses only.

    python -m bench.smoke [--serving FILE] [--stream FILE] [--tiny] [--store]

Ratios within one run say something on any machine, busy or not; events per CPU-second are compared
for the stream, so that a neighbour who takes the processor changes little. `--tiny` measures less,
here and within a minute (bench/tiny.py), requests and events per CPU-second both.
bench/ratios.json holds what was measured when it was stored (`--store`); a ratio worse by MARGIN or
more fails.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from bench import tiny

STORED: Final = Path(__file__).with_name("ratios.json")
MARGIN: Final = 3.0
_BARE, _OURS = "bare ASGI, constant", "Ebbtide"


def main() -> int:
    """Print a line per ratio; 1 when one has become MARGIN times worse."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--serving", type=Path)
    parser.add_argument("--stream", type=Path)
    parser.add_argument("--tiny", action="store_true", help="measure a little, here")
    parser.add_argument("--store", action="store_true", help="keep these ratios from here on")
    args = parser.parse_args()
    found: dict[str, float] = {}
    if args.serving:
        found |= serving_ratios(json.loads(args.serving.read_text()))
    if args.stream:
        found |= stream_ratios(json.loads(args.stream.read_text()))
    if args.tiny:
        found |= tiny.ratios()
    stored = json.loads(STORED.read_text()) if STORED.exists() else {}
    if args.store:
        STORED.write_text(json.dumps(stored | found, indent=1, sort_keys=True) + "\n")
        return 0
    lines, worse = compared(found, stored)
    print("\n".join(lines))
    return int(bool(worse))


def serving_ratios(figures: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Of `bench.serving --json`; in all ratios more is better."""
    ours = figures[_OURS]["requests_per_second"]
    return {
        f"/predict, times {title}": ours / told["requests_per_second"]
        for title, told in figures.items()
        if title != _OURS
    }


def stream_ratios(figures: Mapping[str, Any]) -> dict[str, float]:
    """Of `bench.stream --json`; in all ratios more is better."""
    found = {}
    for broker, told in figures["throughput"].items():
        *others, ours = told.items()
        for title, other in others:
            ratio = ours[1]["per_cpu_second"] / other["per_cpu_second"]
            found[f"scorer on {broker}, per CPU-second, times {title}"] = ratio
    for name in ("users", "partitions"):
        points = figures["growth"].get(name, ())
        if points:
            found[f"events per CPU-second, most {name} to fewest"] = (
                points[0]["cpu_us"] / points[-1]["cpu_us"]
            )
    return found


def compared(
    found: Mapping[str, float], stored: Mapping[str, float]
) -> tuple[list[str], list[str]]:
    """A line per ratio, and the names of those that are MARGIN times worse or more."""
    lines, worse = [], []
    for name, ratio in found.items():
        before = stored.get(name)
        if before is None:
            lines.append(f"{ratio:10.3f}             new      {name}")
            continue
        bad = ratio * MARGIN <= before
        if bad:
            worse.append(name)
        word = "WORSE" if bad else "ok"
        lines.append(f"{ratio:10.3f}  was {before:8.3f}  {word:5}  {name}")
    return lines, worse


if __name__ == "__main__":
    sys.exit(main())
