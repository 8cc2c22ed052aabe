"""The contest between candidates: walk-forward predictions, the simplest good one, its calibration.

Everything is decided on predictions for rows later than anything the estimator had seen. What is
decided is then refitted to all rows by `model.training`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from contracts.scores import DECIMALS
from contracts.times import DAY_MS, from_ms
from model.artefact import Comparison
from model.calibration import (
    NONE,
    Calibration,
    Predictions,
    fit_calibration,
    try_calibrations,
)
from model.candidates import CANDIDATES, Candidate, fitted
from model.classifier import Classifier
from model.dataset import INSTANT, PROBES, SESSION_END, STRATA, Moments, Rows
from model.evaluation import (
    by_stratum,
    check,
    difference,
    figures,
    row_losses,
    simplest_good_enough,
)
from model.features import FEATURES, PREDICT_INPUTS
from model.figures import Check, Cost, Figures, PeriodCheck, Trial
from model.split import Split

Say = Callable[[str], None]

FULL: Final = tuple(feature.direction for feature in FEATURES)
FREE: Final = (0,) * len(FEATURES)
_MORE_USE: Final = ("pages_visited", "time_spent")
_FOUR: Final = tuple(-1 if feature.name in _MORE_USE else 0 for feature in PREDICT_INPUTS)
"""More use never raises the risk. Time since sign-up is free: nobody is silent in a request."""


@dataclass(frozen=True)
class Contest:
    """How the candidates did, and what follows."""

    chosen: Candidate
    chosen_because: str
    comparisons: dict[str, Comparison]
    calibration: Calibration
    trials: dict[str, Trial]
    past: tuple[Classifier, ...]
    """The chosen candidate as it stood before each period."""
    past_calibrations: tuple[Calibration, ...]
    found: Predictions
    """The chosen candidate's walk-forward predictions, calibrated."""
    stratum: np.ndarray
    """(n,) of each prediction, index into STRATA."""
    figures: Figures
    strata: dict[str, Figures]
    silence: dict[str, Check]
    unseen_users: Figures | None
    periods: tuple[PeriodCheck, ...]
    law_of_silence: Cost
    predict: Figures


def compare(
    rows: Rows, probes: Rows, splits: Sequence[Split], *, newcomer_ms: int, seed: int, say: Say
) -> Contest:
    """Let every candidate predict each validation period from what came before it.

    probes: rows of PROBES, at which the winner's calibration is looked at.
    newcomer_ms: a user is a newcomer for this long.
    """
    moments = rows.moments
    later = [np.flatnonzero(split.validation(moments.as_of)) for split in splits]
    order = np.concatenate(later)
    label, user = moments.label[order], moments.user[order]
    period = np.repeat(np.arange(len(splits)), [len(part) for part in later])

    forecasts: dict[str, Forecast] = {}
    for candidate in CANDIDATES:
        say(f"fitting {candidate.title} to the past of {len(splits)} periods")
        forecasts[candidate.name] = forecast(candidate, FULL, rows, probes, splits, seed=seed)
    raw = {name: one.found for name, one in forecasts.items()}
    losses = {name: row_losses(label, probability) for name, probability in raw.items()}
    shipped = [candidate.name for candidate in CANDIDATES if candidate.is_shipped]
    name, behind = simplest_good_enough({n: losses[n] for n in shipped}, user, period)
    best = min(shipped, key=lambda n: float(losses[n].mean()))
    behind |= {
        n: difference(losses[n], losses[best], user, period) for n in losses if n not in behind
    }
    chosen = next(candidate for candidate in CANDIDATES if candidate.name == name)

    say("looking at calibration and at what the law of silence costs")
    uncalibrated = Predictions(label, raw[name], user, moments.as_of[order], period)
    known_until = [split.train_until for split in splits]
    calibration_name, trials = try_calibrations(uncalibrated, known_until)
    walked = _walked(uncalibrated, calibration_name, known_until)
    calibrated = np.round(_apply(uncalibrated.probability, walked, period), DECIMALS)
    found = Predictions(label, calibrated, user, uncalibrated.as_of, period)
    free = forecast(chosen, FREE, rows, None, splits, seed=seed).found
    law = difference(losses[name], row_losses(label, free), user, period)

    probed = [np.flatnonzero(split.validation(probes.moments.as_of)) for split in splits]
    probe_order = np.concatenate(probed)
    probe_period = np.repeat(np.arange(len(splits)), [len(part) for part in probed])
    stratum = moments.stratum[order]
    silence = _probed(
        probes.moments, probe_order, _apply(forecasts[name].probed, walked, probe_period), seed
    )
    new = _is_newcomer(rows.features[order], newcomer_ms)
    if new.any():
        silence["newcomers"] = check(label[new], calibrated[new], seed)
    return Contest(
        chosen=chosen,
        chosen_because=_why(name, best, behind),
        comparisons={
            candidate.name: Comparison(
                title=candidate.title,
                overall=figures(label, raw[candidate.name]),
                strata=by_stratum(label, raw[candidate.name], stratum, STRATA),
                behind_best=round(behind[candidate.name][0], DECIMALS),
                behind_best_error=round(behind[candidate.name][1], DECIMALS),
                is_shipped=candidate.is_shipped,
            )
            for candidate in CANDIDATES
        },
        calibration=fit_calibration(calibration_name, uncalibrated),
        trials=dict(trials),
        past=forecasts[name].past,
        past_calibrations=tuple(walked),
        found=found,
        stratum=stratum,
        figures=figures(label, calibrated),
        strata=by_stratum(label, calibrated, stratum, STRATA),
        silence=silence,
        unseen_users=_unseen(moments, splits, found),
        periods=tuple(_period_check(split, found, p) for p, split in enumerate(splits)),
        law_of_silence=Cost(*(round(value, DECIMALS) for value in law)),
        predict=_four_inputs(rows, splits, seed),
    )


class Forecast(NamedTuple):
    """Walk-forward churn probabilities of the validation rows, and of the probes in them, both
    split after split, and what foretold each split."""

    found: np.ndarray
    probed: np.ndarray
    past: tuple[Classifier, ...]


def forecast(
    candidate: Candidate,
    directions: Sequence[int],
    rows: Rows,
    probes: Rows | None,
    splits: Sequence[Split],
    *,
    seed: int,
) -> Forecast:
    """Predict each split's validation rows from the rows before it."""
    found, probed, past = [], [], []
    moments = rows.moments
    for split in splits:
        before, later = split.train(moments.as_of), split.validation(moments.as_of)
        estimator = fitted(
            candidate, directions, seed, rows.features[before], moments.label[before]
        )
        past.append(estimator)
        found.append(churn_of(estimator, rows.features[later]))
        if probes is not None:
            inside = split.validation(probes.moments.as_of)
            probed.append(churn_of(estimator, probes.features[inside]))
    every = np.concatenate(probed) if probed else np.empty(0)
    return Forecast(np.concatenate(found), every, tuple(past))


def churn_of(estimator: Classifier, inputs: np.ndarray) -> np.ndarray:
    """(n,) probabilities, rounded as scores are."""
    if not len(inputs):
        return np.empty(0)
    return np.asarray(np.round(estimator.predict_proba(inputs)[:, 1], DECIMALS))


def fitted_to_inputs(rows: Rows, part: np.ndarray, seed: int) -> Classifier:
    """The four-input estimator; part (n,) bool says which rows may be used.

    Callers of /predict ask about somebody who is there, so it learns from session ends alone,
    where the rows say which those are.
    """
    used = part & _present(rows.moments)
    return fitted(CANDIDATES[0], _FOUR, seed, rows.inputs[used], rows.moments.label[used])


def base_rates(moments: Moments) -> dict[str, float]:
    """Churn among active users by month of the instants."""
    instants = np.flatnonzero(moments.stratum == INSTANT)
    months = np.array([from_ms(int(ms)).strftime("%Y-%m") for ms in moments.as_of[instants]])
    return {
        str(month): round(float(moments.label[instants][months == month].mean()), DECIMALS)
        for month in np.unique(months)
    }


def _present(moments: Moments) -> np.ndarray:
    ends = moments.stratum == SESSION_END
    return ends if ends.any() else np.ones(len(moments), bool)


def _walked(found: Predictions, name: str, known_until: Sequence[int]) -> list[Calibration]:
    """The calibration as it would have stood before each period: none until it can be fitted."""
    steps = []
    for period, until in enumerate(known_until):
        known = found.part((found.as_of <= until) & (found.period < period))
        both = len(known.label) and known.label.min() < known.label.max()
        steps.append(fit_calibration(name, known) if both else NONE)
    return steps


def _apply(probability: np.ndarray, steps: Sequence[Calibration], period: np.ndarray) -> np.ndarray:
    calibrated = probability.copy()
    for number, step in enumerate(steps):
        if step.name != "none":
            calibrated[period == number] = step(probability[period == number])
    return calibrated


def _probed(
    moments: Moments, order: np.ndarray, probability: np.ndarray, seed: int
) -> dict[str, Check]:
    label, kind = moments.label[order], moments.stratum[order]
    return {
        name: check(label[kind == index], probability[kind == index], seed)
        for index, name in enumerate(PROBES)
        if (kind == index).any()
    }


def _is_newcomer(values: np.ndarray, newcomer_ms: int) -> np.ndarray:
    names = [feature.name for feature in FEATURES]
    here = values[:, names.index("tenure_days")] + values[:, names.index("silent_days")]
    return np.asarray(here <= newcomer_ms / DAY_MS)


def _unseen(moments: Moments, splits: Sequence[Split], found: Predictions) -> Figures | None:
    new = np.zeros(len(found.label), bool)
    for period, split in enumerate(splits):
        known = np.unique(moments.user[split.train(moments.as_of)])
        new |= (found.period == period) & ~np.isin(found.user, known)
    return figures(found.label[new], found.probability[new]) if new.any() else None


def _period_check(split: Split, found: Predictions, period: int) -> PeriodCheck:
    part = found.part(found.period == period)
    return PeriodCheck(
        start=_moment(split.validate_from),
        end=_moment(split.validate_until),
        fitted_until=_moment(split.train_until),
        rows=len(part.label),
        base_rate=round(float(part.label.mean()), DECIMALS),
        predicted=round(float(part.probability.mean()), DECIMALS),
        log_loss=round(float(row_losses(part.label, part.probability).mean()), DECIMALS),
    )


def _four_inputs(rows: Rows, splits: Sequence[Split], seed: int) -> Figures:
    moments = rows.moments
    present = _present(moments)
    labels, found = [], []
    for split in splits:
        four = fitted_to_inputs(rows, split.train(moments.as_of), seed)
        later = split.validation(moments.as_of) & present
        labels.append(moments.label[later])
        found.append(churn_of(four, rows.inputs[later]))
    return figures(np.concatenate(labels), np.concatenate(found))


def _why(name: str, best: str, behind: dict[str, tuple[float, float]]) -> str:
    if name == best:
        return "lowest log loss on the walk-forward periods"
    mean, error = behind[name]
    return (
        f"the simplest candidate within one standard error of the lowest log loss: behind {best} "
        f"by {mean:.6f}, standard error {error:.6f}"
    )


def _moment(ms: int) -> str:
    return from_ms(ms).isoformat(timespec="seconds").replace("+00:00", "Z")
