"""`GET /alerts/effect`: whether users come back because of alerts, by rule.

The alerts worker keeps the sums (`contracts.trials`); here they are added up and compared by the
arithmetic of `ebbtide alerts effect` (`model.effect`).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final, Literal

import msgspec
from fastapi import APIRouter
from starlette.responses import Response

from contracts.policies import PolicyInForce
from contracts.times import DAY_MS, from_ms
from contracts.trials import Cell, Sums, Tally
from ingest_api import openapi
from ingest_api.alert_desk import AlertDesk
from ingest_api.kept import Kept
from model.effect import PACE_DAYS, WORTHWHILE, Arm, compare, levels

KEPT_SECONDS: Final = 30.0


class ArmFigures(msgspec.Struct, frozen=True):
    """Users of one arm whose outcome is known."""

    users: int
    retained: int
    """Those who did something within the horizon of their first alert."""
    retention: float | None


class Interval(msgspec.Struct, frozen=True):
    """Where the difference lies."""

    low: float
    high: float


class RuleEffect(msgspec.Struct, frozen=True):
    """What the experiment shows of one rule, or of all together."""

    rule: str | None
    """Of users' first alerts; null: all rules together."""
    verdict: Literal["not yet known", "alerts help", "alerts harm"]
    """`not yet known` until the interval excludes zero."""
    treated: ArmFigures
    control: ArmFigures
    waiting: int
    """Users whose outcome is not known yet."""
    difference: float | None
    """Retention of treated minus control; null while an arm is empty."""
    interval: Interval | None
    """Of the difference, at `confidence`."""
    confidence: float
    """Of the interval, and so of the verdict: .95 of one rule. Of several it is more, so that all
    intervals of the answer hold at once with 95 %."""
    smallest: float | None
    """The least rise that so many users show, with 80 % power."""
    planned_lift: float
    alerts_needed: int | None
    """Users, in both arms together, to show `planned_lift` with 80 % power."""
    alerts_per_day: float
    """Users who join a day, over the last 28 days."""
    days_needed: float | None
    """Until `alerts_needed` are known, at that pace; null where it never comes to it."""


class Effects(msgspec.Struct, frozen=True):
    """What the holdout shows so far."""

    rules: tuple[RuleEffect, ...]
    """All together first, then each; empty while nobody takes part."""
    epoch: str | None
    """The experiment: the policy's, else the latest."""
    share: float | None
    """Held out by the policy in force; null: no worker has told its policy."""
    horizon_days: int | None
    """Of the latest alerts."""
    since: datetime | None
    """The day of the first user's first alert."""
    computed_at: datetime
    """At most half a minute ago."""


_DESCRIPTION = """Users somebody was told about against the held-out, by intention to treat and by
each user's first alert in the experiment; a user counts for the rule of that alert. Retained is who
does something within the model's horizon. The day of an alert counts once the horizon has passed
since its end, so that the outcome of all its users is known.

The alerts worker keeps the sums as it reads scores: exact, except that a return is seen only with
the next score, so somebody heard of for the first time after the horizon counts as not retained,
whatever they did before. It begins when a policy with a holdout is first in force; alerts of before
that are for `ebbtide alerts effect`, which reads the log.

The intervals hold for one look at a number of users stated before (`ebbtide alerts holdout`).
Several rules make them wider (Bonferroni): of experiments in which no rule does anything, 5 % or
fewer call any verdict here."""


def router(*, desk: AlertDesk, now: Callable[[], int]) -> APIRouter:
    """The route, over what is stored. now: epoch ms."""
    routes = APIRouter(tags=["alerts"])

    async def ask() -> Effects:
        return effects(await desk.trials(), await desk.policy(), now())

    kept = Kept(ask, KEPT_SECONDS)

    @routes.get(
        "/alerts/effect",
        summary="Whether users come back because of alerts",
        description=_DESCRIPTION,
        responses=openapi.responses({200: openapi.of(Effects, "What is known so far.")}, 503),
    )
    async def get_effect() -> Response:
        return openapi.reply(await kept.answer())

    return routes


def effects(sums: Sums, policy: PolicyInForce | None, now_ms: int) -> Effects:
    """What the sums show by `now_ms`."""
    latest = max(sums, key=lambda cell: cell.day, default=None)
    epoch = None if latest is None else latest.epoch
    if policy is not None and policy.holdout.share:
        epoch = policy.holdout.epoch
    of_epoch = {cell: tally for cell, tally in sums.items() if cell.epoch == epoch}
    newest = max(of_epoch, key=lambda cell: cell.day, default=None)
    return Effects(
        rules=_rules(of_epoch, now_ms),
        epoch=epoch,
        share=None if policy is None else policy.holdout.share,
        horizon_days=None if newest is None else newest.horizon_days,
        since=None if newest is None else from_ms(min(cell.day for cell in of_epoch) * DAY_MS),
        computed_at=from_ms(now_ms),
    )


def _rules(sums: Sums, now_ms: int) -> tuple[RuleEffect, ...]:
    rules = sorted({cell.rule for cell in sums})
    if not rules:
        return ()
    level = levels(len(rules))
    return (
        _effect(None, sums, now_ms, level.together),
        *(_effect(rule, sums, now_ms, level.each) for rule in rules),
    )


def _effect(rule: str | None, sums: Sums, now_ms: int, confidence: float) -> RuleEffect:
    cells = {cell: tally for cell, tally in sums.items() if rule in (None, cell.rule)}
    settled = {cell: tally for cell, tally in cells.items() if _is_settled(cell, now_ms)}
    arms = {
        arm: sum((tally for cell, tally in settled.items() if cell.arm == arm), Tally())
        for arm in ("treated", "control")
    }
    treated, control = (Arm(arms[arm].users, arms[arm].retained) for arm in ("treated", "control"))
    everybody = sum(tally.users for tally in cells.values())
    found = compare(
        treated,
        control,
        waiting=everybody - treated.users - control.users,
        per_day=_pace(cells, now_ms),
        planned_lift=WORTHWHILE,
        confidence=confidence,
    )
    return RuleEffect(
        rule=rule,
        verdict=found.verdict,
        treated=_figures(found.treated),
        control=_figures(found.control),
        waiting=found.waiting,
        difference=found.difference,
        interval=None if found.interval is None else Interval(*found.interval),
        confidence=found.confidence,
        smallest=found.smallest,
        planned_lift=found.planned_lift,
        alerts_needed=found.alerts_needed,
        alerts_per_day=found.alerts_per_day,
        days_needed=found.days_needed,
    )


def _is_settled(cell: Cell, now_ms: int) -> bool:
    """Whether the outcome of all users of the cell is known."""
    return (cell.day + 1 + cell.horizon_days) * DAY_MS <= now_ms


def _pace(cells: Sums, now_ms: int) -> float:
    """Users a day over the last PACE_DAYS, or since the first if that is less."""
    if not cells:
        return 0.0
    today = now_ms // DAY_MS
    days = min(max(today - min(cell.day for cell in cells) + 1, 1), PACE_DAYS)
    return sum(tally.users for cell, tally in cells.items() if cell.day > today - days) / days


def _figures(arm: Arm) -> ArmFigures:
    return ArmFigures(arm.users, arm.retained, arm.retention)
