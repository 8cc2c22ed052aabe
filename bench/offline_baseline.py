"""What an afternoon with the whole history gives: features no fixed-size record could hold.

33 counts, recencies and gap statistics over everything a user ever did, windows up to 180 days,
and scikit-learn with its defaults. It is the bar Ebbtide's record is held against.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from contracts.times import DAY_MS, HOUR_MS
from model.event_log import EventLog

EVENT_WINDOWS: Final = (1, 3, 7, 14, 28, 60, 90, 180)
DAY_WINDOWS: Final = (7, 14, 28, 60, 90, 180)
LONG_AGO: Final = 9_999.0
"""Days that stand for "never", where a statistic needs more visits than there were."""

HISTORY_PARTS: Final[dict[str, list[int]]] = {
    "windows of events": list(range(8)),
    "windows of days": list(range(8, 14)),
    "totals and rates": [14, 15, 26, 27, 28],
    "first, last and the time between": [16, 17, 18],
    "gaps": list(range(19, 26)),
    "money": [29, 30],
    "hour and weekday": [31, 32],
}
"""Columns of `history_features` by what they tell."""


def history_features(log: EventLog, user: np.ndarray, as_of: np.ndarray) -> np.ndarray:
    """(n, 33) float64 of user[i] as of as_of[i] (epoch ms), from all activity up to then."""
    time, who = log.rows["occurred_at"][log.active], log.user[log.active]
    order = np.lexsort((time, who))
    time = time[order]
    begins = np.searchsorted(who[order], np.arange(len(log.user_ids) + 1))
    kinds = log.rows["type_slot"][log.active][order]
    money = np.where(log.rows["cents"] > 0, log.rows["cents"], 0)[log.active][order] / 100
    return np.array(
        [
            _one(
                *(column[begins[u] : begins[u + 1]] for column in (time, kinds, money)),
                int(moment),
            )
            for u, moment in zip(user, as_of, strict=True)
        ]
    )


def _one(time: np.ndarray, kinds: np.ndarray, money: np.ndarray, as_of: int) -> list[float]:
    n = int(np.searchsorted(time, as_of, side="right"))
    age = (as_of - time[:n]) / DAY_MS
    days = np.unique(time[:n] // DAY_MS)
    day_age = as_of / DAY_MS - days
    gaps = np.diff(days)
    recency = float(age[-1])
    several = len(gaps) > 0
    mean_gap = float(gaps.mean()) if several else LONG_AGO
    busiest = np.bincount(kinds[:n]).max() / n
    return [
        *(float((age <= window).sum()) for window in EVENT_WINDOWS),
        *(float((day_age <= window).sum()) for window in DAY_WINDOWS),
        float(n),
        float(len(days)),
        recency,
        float(age[0]),
        float(age[0]) - recency,
        mean_gap,
        float(np.median(gaps)) if several else LONG_AGO,
        float(gaps.std()) if several else LONG_AGO,
        float(gaps.max()) if several else LONG_AGO,
        float(gaps[-1]) if several else LONG_AGO,
        float(gaps[-3:].mean()) if several else LONG_AGO,
        recency / max(mean_gap, 0.1),
        n / len(days),
        float(len(days) / (age[0] + 1)),
        float(busiest),
        float(money[:n].sum()),
        float(money[:n][age <= 90].sum()),
        float(time[n - 1] % DAY_MS / HOUR_MS),
        float((time[n - 1] // DAY_MS + 3) % 7),
    ]


def baselines(seed: int) -> dict[str, Any]:
    """Untuned estimators by title, unfitted."""
    return {
        "logistic regression": make_pipeline(
            FunctionTransformer(np.log1p), StandardScaler(), LogisticRegression(max_iter=5_000)
        ),
        "random forest": RandomForestClassifier(
            300, min_samples_leaf=20, random_state=seed, n_jobs=2
        ),
        "boosting": HistGradientBoostingClassifier(random_state=seed),
    }
