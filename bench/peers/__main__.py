"""Ebbtide beside BentoML, LitServe and MLServer; and Quix Streams, FastStream and arroyo.

    python -m bench.peers [--rounds 2] [--seconds 3] [--only NAME ...] [--json FILE] [--write]

Some ten minutes. Rounds are interleaved, so that a noisy machine is noisy to everybody; compare the
ratios. A peer
that cannot be installed or started is told in a line and left out. --write puts the tables into
docs/performance.md, between its markers.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from bench.peers import export, report, serving, streams
from bench.serving.load import require_wrk
from bench.stream.stand import kafka_missing

ONLY = ("bentoml", "litserve", "mlserver", "quixstreams", "faststream", "arroyo")


def main() -> int:
    """Print the tables; 1 when a request failed or nothing could be measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each load")
    parser.add_argument("--events", type=int, default=400_000, help="on the topic")
    parser.add_argument("--broker", choices=("embedded", "kafka"), default="embedded")
    parser.add_argument("--only", action="append", choices=ONLY, help="this peer; may repeat")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/")
    args = parser.parse_args()
    require_wrk()
    wanted = set(args.only or ONLY)
    if args.broker == "kafka" and (reason := kafka_missing()):
        parser.error(f"no Apache Kafka here: {reason}")
    servers = [s for s in serving.SERVERS if s.peer is None or s.peer in wanted]
    consumers = [c for c in streams.CONSUMERS if c.peer is None or c.peer in wanted]
    served: dict[str, dict[str, float]] = {}
    streamed: dict[str, dict[str, float]] = {}
    missing: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = export.write(folder)
        if any(server.peer for server in servers):
            runs, absent = serving.measure(
                files, folder, servers, rounds=args.rounds, seconds=args.seconds
            )
            served, missing = serving.figures(runs), missing + absent
        if any(consumer.peer for consumer in consumers):
            rates, absent = streams.measure(
                files, folder, consumers, broker=args.broker, rounds=args.rounds,
                seconds=args.seconds, count=args.events,
            )  # fmt: skip
            streamed, missing = streams.figures(rates), missing + absent
    text = report.page(served, streamed, missing, broker=args.broker, rounds=args.rounds)
    print(text)
    if args.json:
        told = {"serving": served, "stream": streamed, "missing": missing}
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(told, indent=1))
    if args.write:
        report.write(report.drawings(served, streamed) + text)
    return int((not served and not streamed) or any(told["errors"] for told in served.values()))


if __name__ == "__main__":
    sys.exit(main())
