"""Run faults against the whole product, and compare what is left with the log.

    python -m tests.chaos --seed 1 --events 20000 --faults 8 --servers embedded

Exits with 1 when anything differs. `docs/reliability.md` says what is compared and why.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
from pathlib import Path

from contracts.activity import FoldRules
from ebbtide.demo_model import train_demo_model
from model.simulator import Population
from model.training import TrainingSettings
from tests.chaos.faults import faults
from tests.chaos.report import text
from tests.chaos.run import Order, run


def main() -> int:
    """Run it; 1 when anything differs or could not be carried out."""
    args = _arguments()
    os.environ["EBBTIDE_TEST_SERVERS"] = args.servers
    folder = args.folder or Path(tempfile.mkdtemp(prefix="ebbtide-chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    wanted = tuple(
        fault
        for fault in faults()
        if not args.only or any(word in fault.name for word in args.only.split(","))
    )
    order = Order(
        seed=args.seed,
        events=args.events,
        faults=args.faults,
        minutes=args.minutes,
        model_dir=args.model or model_in(folder / "model"),
        folder=folder,
        kinds=wanted,
        product=args.product,
        cluster=args.cluster,
        session_timeout_ms=6_000 if args.servers != "embedded" else 1_000,
    )
    report = asyncio.run(run(order, _say))
    sys.stdout.write(text(order, report) + "\n")
    if report.good and args.folder is None:
        shutil.rmtree(folder)
    else:
        _say(f"logs are in {folder}")
    return 0 if report.good else 1


def model_in(folder: Path) -> Path:
    """A small model of the kind that ships, trained on a simulated population in some seconds."""
    if not (folder / "manifest.json").exists():
        population = Population(users=200, days=100, seed=7)
        settings = TrainingSettings(horizon_days=14, active_days=30, rows=1_200, seed=7)
        train_demo_model(population, settings, FoldRules(), say=_say).save(folder)
    return folder


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--faults", type=int, default=20)
    parser.add_argument(
        "--servers", choices=("embedded", "native", "containers", "external"), default="embedded"
    )
    parser.add_argument("--minutes", type=float, help="spread the events over so long")
    parser.add_argument("--cluster", action="store_true", help="a Redis Cluster of three shards")
    parser.add_argument("--only", help="kinds of faults whose names hold one of these words")
    parser.add_argument("--model", type=Path, help="folder of a trained model")
    parser.add_argument("--product", type=Path, help="folder of another copy of the product")
    parser.add_argument("--folder", type=Path, help="where logs and data go, and stay")
    return parser.parse_args()


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    raise SystemExit(main())
