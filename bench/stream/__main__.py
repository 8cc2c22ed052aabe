"""The scorer over a preloaded topic and at a fixed rate, beside consumers that do less.

    python -m bench.stream [--quick] [--rounds 3] [--json FILE]

Broker, store and workers are processes of their own, started here; rounds are interleaved, so that
a noisy machine is noisy to everybody: compare the ratios, and the events per CPU-second.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench.machine import machine
from bench.page import stream_tables
from bench.serving import model as bench_model
from bench.stream.growth import QUICK, Size, growth
from bench.stream.known import fill
from bench.stream.latency import latencies
from bench.stream.load import Crowd, events, preload
from bench.stream.stand import TITLES, Broker, Stand, kafka_missing, running
from bench.stream.steps import steps
from bench.stream.throughput import PARTITIONS, Rate, rival_rate, scorer_rate
from model.artefact import Model

RIVALS: Final = {
    "decode": "decode only",
    "ceiling": "decode, group, fold in memory, commit",
    "naive": "naive: Redis and scikit-learn per event",
}
SCORER: Final = "Ebbtide's scorer, everything on"
NAIVE_EVENTS: Final = 2_000


def main() -> int:
    """Print the tables; 1 when an event was not heard of again."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="small sizes and one round")
    parser.add_argument("--rounds", type=int, help="default 3, or 1 with --quick")
    parser.add_argument("--rate", type=float, default=2_000.0, help="events/s for the latencies")
    parser.add_argument("--only", choices=["throughput", "latency", "growth", "steps"])
    parser.add_argument("--broker", choices=list(TITLES), help="one of the two")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    args = parser.parse_args()
    figures = measured(args)
    print(stream_tables(figures))
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(figures, indent=1) + "\n")
    lost = sum(w["missing"] for told in figures["latency"].values() for w in told.values())
    return int(lost > 0)


def measured(args: argparse.Namespace) -> dict[str, Any]:
    """All figures, as they go into the JSON file."""
    size = QUICK if args.quick else Size()
    rounds = args.rounds or (1 if args.quick else 3)
    count, seconds, users = (30_000, 2.0, 10_000) if args.quick else (200_000, 4.0, 100_000)
    brokers: list[Broker] = [args.broker] if args.broker else list(TITLES)
    without = {}
    if "kafka" in brokers and (why := kafka_missing()):
        brokers.remove("kafka")
        without["kafka"] = why
        print(f"Without Apache Kafka: {why}", file=sys.stderr)
    figures: dict[str, Any] = {
        "machine": machine(),
        "command": " ".join(["python -m bench.stream", *sys.argv[1:]]),
        "events": count,
        "users": users,
        "rate": args.rate,
        "rounds": rounds,
        "without": without,
        "throughput": {},
        "stages": {},
        "latency": {},
        "growth": {},
        "steps": [],
    }
    with tempfile.TemporaryDirectory() as folder:
        model = bench_model.write(Path(folder) / "model")
        if args.only in (None, "steps"):
            figures["steps"] = steps(model)
        if args.only == "steps":
            return figures
        for broker in brokers:
            with running(broker, Path(folder)) as stand:
                if args.only in (None, "throughput"):
                    rates = _throughput(
                        stand, model, rounds=rounds, count=count, users=users, seconds=seconds
                    )
                    figures["throughput"][broker] = {t: _summed(r) for t, r in rates.items()}
                    figures["stages"][broker] = _stages(rates[SCORER])
                if args.only in (None, "latency"):
                    figures["latency"][broker] = _latency(stand, model, users, args.rate, seconds)
                if args.only in (None, "growth") and broker == brokers[0]:
                    figures["growth"] = growth(stand, model, size)
    return figures


def _throughput(
    stand: Stand, model: Model, *, rounds: int, count: int, users: int, seconds: float
) -> dict[str, list[Rate]]:
    now_ms = int(time.time() * 1000)
    made = events(Crowd(users), count, until_ms=now_ms)
    asyncio.run(preload(stand, made, partitions=PARTITIONS))
    rates: dict[str, list[Rate]] = {title: [] for title in (*RIVALS.values(), SCORER)}
    for _ in range(rounds):
        for name, title in RIVALS.items():
            most = NAIVE_EVENTS if name == "naive" else count
            rates[title].append(rival_rate(stand, name, most, seconds=seconds))
        fill(stand, users, model, partitions=PARTITIONS, now_ms=now_ms)
        rates[SCORER].append(scorer_rate(stand, count, keep=True))
    return rates


def _summed(runs: list[Rate]) -> dict[str, float]:
    rates = [run.per_second for run in runs]
    return {
        "events_per_second": median(rates),
        "slowest": min(rates),
        "fastest": max(rates),
        "per_cpu_second": median(run.per_cpu_second for run in runs),
    }


def _stages(runs: list[Rate]) -> dict[str, float]:
    """Microseconds an event spends in each stage; partitions overlap, so they add up to more."""
    return {
        stage: median(run.stages.get(stage, 0.0) / run.events * 1e6 for run in runs)
        for stage in runs[0].stages
    }


def _latency(
    stand: Stand, model: Model, users: int, rate: float, seconds: float
) -> dict[str, dict[str, float]]:
    fill(stand, users, model, partitions=PARTITIONS, now_ms=int(time.time() * 1000))
    waits = latencies(
        stand, users=users, per_second=rate, seconds=2 * seconds, seed=1, partitions=PARTITIONS
    )
    return {what: asdict(told) for what, told in waits.items()}


if __name__ == "__main__":
    sys.exit(main())
