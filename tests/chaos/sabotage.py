"""Break the product on purpose, one way at a time, and see that the chaos run notices.

    python -m tests.chaos.sabotage [--only WORD]

Every breakage is made in a copy of the product in a temporary folder; driver, taps and oracle stay
whole. A run of the unbroken copy comes first and has to be without differences. Exits with 1 when
a breakage goes unnoticed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.chaos.__main__ import model_in
from tests.chaos.faults import faults
from tests.chaos.run import Order, Report, run

ROOT: Final = Path(__file__).parents[2]
PRODUCT: Final = (
    "contracts", "model", "runtime", "ingest_api", "scorer", "alerts", "history", "ebbtide",
)  # fmt: skip


@dataclass(frozen=True)
class Patch:
    """Text of a file, and what it becomes."""

    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Sabotage:
    """A promise of the architecture that is broken, and faults under which that does harm."""

    name: str
    patches: tuple[Patch, ...]
    under: str
    """Words of the kinds of faults."""
    events: int = 30_000
    faults: int = 8
    minutes: float | None = None
    """Spread the events over so long, where people need time to answer."""


_PUBLISH_THEN_SAVE: Final = (
    Patch(
        "scorer/handler.py",
        """\
            await self._publish(verdict)
            self._keep(effects, reading.user_ids, verdict.after, verdict.erased)
""",
        """\
            self._keep(effects, reading.user_ids, verdict.after, verdict.erased)
            await self._save(effects, max(self.log_time, reading.log_time))
            await self._publish(verdict)
            effects = Effects()
""",
    ),
)

SABOTAGES: Final = (
    Sabotage(
        "scores are saved before they are published",
        _PUBLISH_THEN_SAVE,
        under="killed as it publishes",
    ),
    Sabotage(
        "reading starts at committed offsets, not at watermarks",
        (
            Patch(
                "runtime/partition_loop.py",
                "start = marks.start(log.number, beginning)",
                "start = await around.source.committed(tp) or beginning",
            ),
        ),
        under="rolled back,promoted",
    ),
    Sabotage(
        "a save does not compare watermarks",
        (
            Patch("runtime/save.lua", "if stored ~= expected then", "if false then"),
            Patch("runtime/ledger.py", "if not stored.like(marks):", "if False:"),
        ),
        under="rolled back,frozen as it publishes",
    ),
    Sabotage(
        "timers fire by the wall clock, not by the partition's",
        (
            Patch(
                "runtime/partition_loop.py",
                "partition_clock(log_time=handler.log_time, caught_up_at=None)",
                "partition_clock(log_time=wall_ms(), caught_up_at=None)",
            ),
        ),
        under="scorer killed",
        events=10_000,
        faults=1,
    ),
    Sabotage(
        "money is summed in floats",
        (
            Patch(
                "model/visits.py",
                'facts["value_cents"] += _sum(run.at[stated], cents, len(facts))',
                'facts["value_cents"] = 100 * np.bincount(\n'
                '        run.at[stated], (cents / 100).astype("f4"), len(facts)\n'
                '    ).astype("f4") + facts["value_cents"]',
            ),
        ),
        under="scorer killed",
        events=10_000,
        faults=1,
    ),
    Sabotage(
        "a delivery is settled before it is sent",
        (
            Patch(
                "alerts/delivery/dispatch.py",
                "await self._settle(slip, channel, await self._sent(channel, row))",
                "await self._settle(slip, channel, Delivered())\n"
                "            await self._sent(channel, row)",
            ),
        ),
        under="delivery killed",
        events=8_000,
        faults=2,
    ),
    Sabotage(
        "the first delivery of each batch is forgotten",
        (
            Patch(
                "alerts/delivery/intake.py",
                "_shelve(new, effects)",
                "_shelve(new[1:], effects)",
            ),
        ),
        under="delivery killed",
        events=8_000,
        faults=1,
    ),
    Sabotage(
        "the control is told, too",
        (Patch("alerts/delivery/intake.py", 'alert.arm == "control"', "False"),),
        under="delivery killed",
        events=8_000,
        faults=1,
    ),
    Sabotage(
        "commands to snooze are lost on their way",
        (Patch("alerts/inbox.py", 'command.kind == "verdict"', 'command.kind != "acknowledge"'),),
        under="alerts killed",
        events=12_000,
        faults=1,
        minutes=0.35,
    ),
    Sabotage(
        "a score that is told twice counts twice in the history",
        (
            Patch(
                "history/fold.py",
                "trail is not None and order <= trail.order",
                "trail is not None and order < trail.order",
            ),
        ),
        under="rolled back,promoted",
        events=20_000,
        faults=4,
    ),
    Sabotage(
        "hours of the history end with a batch, not with a record",
        (Patch("history/handler.py", "course.advance(item.clock)", "course.now.clock"),),
        under="history killed",
        events=10_000,
        faults=1,
    ),
    Sabotage(
        "the timeline counts what was sent home twice",
        (Patch("history/timeline.py", "arrivals.is_repeat(user_id, record.headers)", "False"),),
        under="scorer killed,rolled back",
        events=20_000,
        faults=4,
    ),
)


def main() -> int:
    """Run all; 1 when something goes unnoticed or the whole product shows a difference."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--only", default="", help="breakages whose names hold this word")
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--without-control", action="store_true")
    args = parser.parse_args()
    os.environ.setdefault("EBBTIDE_TEST_SERVERS", "embedded")
    rows, fine = [], True
    with tempfile.TemporaryDirectory(prefix="ebbtide-sabotage-") as name:
        folder = Path(name)
        model = model_in(folder / "model")
        whole = Sabotage("nothing", (), under="", events=30_000)
        chosen = [sabotage for sabotage in SABOTAGES if args.only in sabotage.name]
        for sabotage in chosen if args.without_control else [whole, *chosen]:
            report = _tried(sabotage, folder, model, args.seed)
            noticed = [check for check in report.verdict.checks if check.differences]
            fine = fine and (bool(noticed) if sabotage.patches else report.good)
            by = "; ".join(f"{check.promise} ({check.differences:,})" for check in noticed)
            rows.append(f"| {sabotage.name} | {by or 'nobody'} |")
            _say(rows[-1])
    head = ["| broken on purpose | noticed by (differences) |", "|---|---|"]
    sys.stdout.write("\n".join([*head, *rows, ""]))
    return 0 if fine else 1


def _tried(sabotage: Sabotage, folder: Path, model: Path, seed: int) -> Report:
    product = Path(tempfile.mkdtemp(dir=folder))
    for package in PRODUCT:
        shutil.copytree(
            ROOT / package, product / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    for patch in sabotage.patches:
        file = product / patch.file
        text = file.read_text()
        if text.count(patch.old) != 1:
            raise RuntimeError(f"{sabotage.name}: {patch.file} has changed, mend this file")
        file.write_text(text.replace(patch.old, patch.new))
    kinds = tuple(
        fault for fault in faults() if any(word in fault.name for word in sabotage.under.split(","))
    )
    _say(f"--- {sabotage.name}")
    logs = product / "logs"
    logs.mkdir()
    order = Order(
        seed=seed,
        events=sabotage.events,
        faults=sabotage.faults,
        minutes=sabotage.minutes,
        model_dir=model,
        folder=logs,
        kinds=kinds,
        product=product,
        patience_s=150.0,
    )
    return asyncio.run(run(order, _say))


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    raise SystemExit(main())
