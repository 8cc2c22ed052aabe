"""The two public churn tasks everything is measured on, and their rows.

Population at a cut-off: users with activity in the last A days. Label 1: no activity in the next H
days. Cut-offs are first days of months, midnight UTC; the last training cut-off lies at least H
days before the first test cut-off. Ebbtide reads users' facts from a replay through `fold`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from contracts.activity import FoldRules
from contracts.record import FACTS, blank_facts
from contracts.times import DAY_MS, to_ms
from model.dataset import facts_at
from model.event_log import EventLog

Month = tuple[int, int]


@dataclass(frozen=True)
class Task:
    """What to predict on which log, and at which cut-offs."""

    name: str
    title: str
    file: str
    horizon_days: int
    active_days: int
    train_months: tuple[Month, Month]
    test_months: tuple[Month, Month]
    targets: dict[str, float]
    """What Ebbtide has to reach: at least this AUC, at most the others."""
    is_buying: bool = False
    """Whether activity is purchases, as BG/NBD supposes."""

    @property
    def train(self) -> np.ndarray:
        """Training cut-offs, epoch ms."""
        return _months(*self.train_months)

    @property
    def test(self) -> np.ndarray:
        """Test cut-offs, epoch ms."""
        return _months(*self.test_months)


TASKS = (
    Task(
        "mathoverflow-28", "MathOverflow, H 28, A 28", "mathoverflow.parquet", 28, 28,
        ((2012, 1), (2014, 6)), ((2015, 1), (2015, 12)), {"auc": 0.855, "brier": 0.153},
    ),
    Task(
        "mathoverflow-90", "MathOverflow, H 90, A 90", "mathoverflow.parquet", 90, 90,
        ((2012, 1), (2014, 6)), ((2015, 1), (2015, 12)), {},
    ),
    Task(
        "retail-90", "Online Retail II, H 90, A 180", "online_retail.parquet", 90, 180,
        ((2010, 6), (2011, 3)), ((2011, 6), (2011, 9)), {"auc": 0.777, "brier": 0.192, "ece": 0.05},
        is_buying=True,
    ),
)  # fmt: skip


@dataclass(frozen=True)
class TaskRows:
    """Users active at cut-offs: (n,) user, as_of (epoch ms), label, and (n,) FACTS."""

    user: np.ndarray
    as_of: np.ndarray
    label: np.ndarray
    facts: np.ndarray

    def __len__(self) -> int:
        return len(self.user)


def task_rows(log: EventLog, cut_offs: np.ndarray, task: Task, rules: FoldRules) -> TaskRows:
    """The population at every cut-off, with its labels and what the record knew of it."""
    time, who = log.rows["occurred_at"][log.active], log.user[log.active]
    users, labels = [], []
    for cut_off in cut_offs:
        past = (time > cut_off - task.active_days * DAY_MS) & (time <= cut_off)
        future = (time > cut_off) & (time <= cut_off + task.horizon_days * DAY_MS)
        active = np.unique(who[past])
        users.append(active)
        labels.append(~np.isin(active, who[future]))
    user = np.concatenate(users)
    as_of = np.repeat(cut_offs, [len(found) for found in users])
    facts = blank_facts(len(user)).astype(FACTS, copy=False)
    for which, found in facts_at(log, user, as_of, rules):
        facts[which] = found
    return TaskRows(user, as_of, np.concatenate(labels).astype(np.uint8), facts)


def until(log: EventLog, end: int) -> EventLog:
    """The log as it stood at `end` (epoch ms, included); user numbers stay."""
    known = log.rows["log_time"] <= end
    return EventLog(log.user_ids, log.rows[known], log.user[known])


def _months(first: Month, last: Month) -> np.ndarray:
    count = (last[0] - first[0]) * 12 + last[1] - first[1] + 1
    numbers = first[0] * 12 + first[1] - 1 + np.arange(count)
    return np.array([to_ms(datetime(n // 12, n % 12 + 1, 1, tzinfo=UTC)) for n in numbers.tolist()])
