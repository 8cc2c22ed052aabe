"""Longer silence never lowers the risk: every kind of estimator, with every calibration."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest

from contracts.activity import FoldRules
from contracts.record import blank_facts
from contracts.times import DAY_MS, HOUR_MS, NEVER, SESSION_GAP_MS
from model.calibration import NONE, Calibration, apply
from model.candidates import CANDIDATES, Candidate, fitted
from model.classifier import Classifier
from model.dataset import Rows, draw_moments, facts_at, replay
from model.event_log import EventLog, event_log
from model.features import FEATURES, features
from model.simulator import Population, simulate
from model.training import TrainingSettings, usable_window

RULES = FoldRules()
POPULATION = Population(users=200, days=120, seed=4)
SETTINGS = TrainingSettings(horizon_days=10, active_days=20)
USERS = 10
LAWFUL = tuple(feature.direction for feature in FEATURES)
CALIBRATIONS = (
    NONE,
    Calibration("shrunk intercept", 1.0, -0.4),
    Calibration("sigmoid", 1.7, 0.3),
)


@pytest.fixture(scope="module")
def log() -> EventLog:
    return event_log(simulate(POPULATION), RULES)


@pytest.fixture(scope="module")
def rows(log: EventLog) -> Rows:
    return replay(log, draw_moments(log, usable_window(log, SETTINGS), 2_000, seed=0), RULES)


@pytest.fixture(scope="module")
def futures(log: EventLog) -> np.ndarray:
    """(users, moments, features) of silence to the end of the grid: every hour, the end of the
    session, and a ms before, at and after every midnight."""
    everybody = np.arange(USERS)
    facts = blank_facts(USERS)
    for which, part in facts_at(log, everybody, np.full(USERS, POPULATION.end_ms), RULES):
        facts[which] = part
    facts = facts[facts["last_seen"] != NEVER]
    seen = facts["last_seen"][:, None]
    days = SETTINGS.silence_days
    hours = seen + np.arange(24 * days + 1) * HOUR_MS
    midnights = (seen // DAY_MS + 1 + np.arange(days)) * DAY_MS
    moments = [hours, midnights - 1, midnights, midnights + 1, seen + SESSION_GAP_MS]
    ordered = np.sort(np.concatenate(moments, axis=1), axis=1)
    inputs = features(np.repeat(facts, ordered.shape[1]), ordered.ravel())
    return inputs.reshape(*ordered.shape, -1)


def falls(estimator: Classifier, futures: np.ndarray) -> int:
    """How often a score, rounded as published, lies below the one before."""
    churn = estimator.predict_proba(futures.reshape(-1, futures.shape[2]))[:, 1]
    return int((np.diff(np.round(churn, 6).reshape(futures.shape[:2]), axis=1) < 0).sum())


@pytest.mark.parametrize("says", ["as it is", "the contrary"])
@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda candidate: candidate.name)
def test_longer_silence_never_lowers_the_risk(
    rows: Rows, futures: np.ndarray, candidate: Candidate, says: str
) -> None:
    """
    On no path of any user, whichever candidate is chosen, however it is calibrated, and even if
    the log said that silence keeps people.
    """
    label = rows.moments.label if says == "as it is" else 1 - rows.moments.label
    estimator = fitted(candidate, LAWFUL, 0, rows.features, label)

    found = {
        calibration.name: falls(apply(deepcopy(estimator), calibration), futures)
        for calibration in (CALIBRATIONS if candidate.is_shipped else (NONE,))
    }

    assert {0} == set(found.values())


@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda candidate: candidate.name)
def test_the_law_is_not_kept_by_chance(
    rows: Rows, futures: np.ndarray, candidate: Candidate
) -> None:
    """
    Without the directions of the features the same estimators follow such a log: the search finds
    what there is.
    """
    free = fitted(candidate, (0,) * len(FEATURES), 0, rows.features, 1 - rows.moments.label)

    assert falls(free, futures) > 0
