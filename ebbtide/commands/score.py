"""`ebbtide score`: score everybody in a recorded log, as of one moment."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from contracts.activity import FoldRules
from contracts.errors import Misconfigured
from contracts.scores import DECIMALS
from contracts.times import EARLIEST_MS, LATEST_MS, to_ms
from ebbtide.cli import COMMANDS
from ebbtide.commands.train import reading, say
from model.artefact import Model, load, require_rules
from model.dataset import facts_at
from model.event_log import EventLog, load_event_log
from runtime.settings import ServiceSettings

COLUMNS: Final = (
    "user_id", "prediction", "confidence", "churn_probability", "model_version", "origin",
)  # fmt: skip


@dataclass(frozen=True)
class Scores:
    """One row per user, in order of first appearance in the log."""

    user_id: list[str]
    prediction: list[str]
    confidence: np.ndarray
    churn_probability: np.ndarray
    model_version: list[str]
    origin: list[str]

    def __len__(self) -> int:
        return len(self.user_id)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe `score` to the command line."""
    parser = subparsers.add_parser(
        "score",
        help=COMMANDS["score"],
        description="Score every user who has an event at or before --as-of, from what was known "
        "by then. Who has been silent beyond the model's silence grid keeps the score of its end.",
    )
    parser.add_argument(
        "--events", nargs="+", type=Path, required=True, metavar="FILE",
        help="event logs: .csv, .jsonl or .parquet in the shape of activity events",
    )  # fmt: skip
    parser.add_argument(
        "--as-of", type=_instant, required=True, metavar="TIME",
        help="ISO 8601 with a zone (2026-01-31T12:00:00Z), or epoch milliseconds",
    )  # fmt: skip
    parser.add_argument("--model", type=Path, required=True, metavar="DIR", help="from train")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="a .csv or .parquet file"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the scores; progress goes to stderr.

    Raises ArtefactMismatch (model does not fit), BadRecord (file and line) and Misconfigured.
    """
    write = _writer(args.out)
    rules = ServiceSettings().fold_rules
    model = load(args.model)
    require_rules(model, rules)
    say(f"reading {', '.join(str(path) for path in args.events)}")
    log = load_event_log(args.events, rules, progress=reading())
    say(f"{len(log):,} events, in the order of {log.order}")
    scores = score_log(log, args.as_of, model, rules)
    write(scores, args.out)
    say(f"{len(scores):,} users scored by {model.version} into {args.out}")
    return 0


def score_log(log: EventLog, as_of: int, model: Model, rules: FoldRules) -> Scores:
    """Score the users with an event at or before `as_of` (ms); later events are not looked at."""
    user = np.flatnonzero(
        np.bincount(log.user[log.rows["log_time"] <= as_of], minlength=len(log.user_ids))
    )
    moments = np.full(len(user), as_of, np.int64)
    churn = np.empty(len(user))
    for which, facts in facts_at(log, user, moments, rules):
        churn[which] = model.score(facts, moments[which])
    predicted = churn >= model.class_cutoff
    return Scores(
        user_id=[log.user_ids[index] for index in user],
        prediction=np.where(predicted, "1", "0").tolist(),
        confidence=np.round(np.where(predicted, churn, 1.0 - churn), DECIMALS),
        churn_probability=churn,
        model_version=[model.version] * len(user),
        origin=[model.origin] * len(user),
    )


def _writer(path: Path) -> Callable[[Scores, Path], None]:
    write = {".csv": _write_csv, ".parquet": _write_parquet}.get(path.suffix.lower())
    if write is None:
        raise Misconfigured(f"--out {path}: name a .csv or a .parquet file")

    def whole(scores: Scores, path: Path) -> None:
        # Under its own name only once it is complete.
        part = path.with_name(f".{path.name}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write(scores, part)
            part.replace(path)
        except OSError as error:
            raise Misconfigured(f"cannot write {path}: {error.strerror or error}") from error
        finally:
            part.unlink(missing_ok=True)

    return whole


def _write_csv(scores: Scores, path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(COLUMNS)
        out.writerows(
            zip(
                scores.user_id,
                scores.prediction,
                scores.confidence.tolist(),
                scores.churn_probability.tolist(),
                scores.model_version,
                scores.origin,
                strict=True,
            )
        )


def _write_parquet(scores: Scores, path: Path) -> None:
    pq.write_table(pa.table({name: getattr(scores, name) for name in COLUMNS}), path)


def _instant(text: str) -> int:
    try:
        if text.lstrip("-").isdigit():
            moment = int(text)
        else:
            stated = datetime.fromisoformat(text)
            if stated.tzinfo is None:
                raise argparse.ArgumentTypeError(
                    f"{text}: needs a time zone, for example 2026-01-31T12:00:00Z"
                )
            moment = to_ms(stated)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text}: neither ISO 8601 nor epoch milliseconds"
        ) from None
    if not EARLIEST_MS <= moment < LATEST_MS:
        raise argparse.ArgumentTypeError(f"{text}: must lie between 1970 and 2100")
    return moment
