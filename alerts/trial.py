"""What a holdout's experiment learns from a user: who takes part, and who came back in time.

Pure. A user takes part from their first alert in an experiment (its epoch), whatever becomes of the
alert and of later ones: `model.effect` says why. Each step returns what it adds to the sums.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from alerts.episode import Trial
from alerts.rules import Holdout
from contracts.alerts import ChurnAlert
from contracts.scores import ChurnScore
from contracts.times import DAY_MS, to_ms
from contracts.trials import Cell, Tally

Change = tuple[Cell, Tally]


def seen(trial: Trial | None, score: ChurnScore) -> tuple[Trial | None, tuple[Change, ...]]:
    """The trial after a score, which may show that the user is back.

    What counts is the latest activity the score knows of; a user whose return is only heard of
    together with something they did after the horizon counts as late.
    """
    if trial is None or trial.back or score.last_seen_at is None:
        return trial, ()
    last_seen = to_ms(score.last_seen_at)
    if last_seen <= trial.at:
        return trial, ()
    in_time = last_seen <= trial.at + trial.horizon_days * DAY_MS
    after = replace(trial, back=True, retained=in_time)
    return after, ((_cell(trial), Tally(0, 1)),) if in_time else ()


def alerted(
    trial: Trial | None, alerts: Iterable[ChurnAlert], holdout: Holdout
) -> tuple[Trial | None, tuple[Change, ...]]:
    """The trial after alerts about its user: the first opening of an experiment begins it."""
    if not holdout.share or (trial is not None and trial.epoch == holdout.epoch):
        return trial, ()
    opened = next((alert for alert in alerts if alert.kind == "opened"), None)
    if opened is None:
        return trial, ()
    begun = Trial(
        holdout.epoch, opened.rule, opened.arm, to_ms(opened.occurred_at), opened.horizon_days
    )
    return begun, ((_cell(begun), Tally(1, 0)),)


def erased(trial: Trial | None) -> tuple[Change, ...]:
    """What takes an erased user out of the sums."""
    return () if trial is None else ((_cell(trial), Tally(-1, -int(trial.retained))),)


def _cell(trial: Trial) -> Cell:
    return Cell(trial.epoch, trial.rule, trial.arm, trial.horizon_days, trial.at // DAY_MS)
