"""`GET /population`: how many users stand in each risk band, how that went, and who was right.

What the history worker stored per partition is summed up here; nothing is estimated. Users of whom
little is known, who have cancelled or lapsed, or whom a simulated model judges are counted apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median_low
from typing import Annotated, Final, Literal

import msgspec
from fastapi import APIRouter, Query
from redis.asyncio import Redis
from starlette.responses import Response

from contracts.bands import BANDS, CELLS, KINDS, bounds, cell_of
from contracts.lapse import lapsed_after_days
from contracts.population import Closing, ModelMark
from contracts.times import DAY_MS, HOUR_MS, from_ms, from_ms_or_none
from contracts.workers import BEAT_SECONDS, SILENT_SECONDS
from ingest_api import openapi
from runtime import heartbeat, population
from runtime.population import Course
from runtime.shared_answers import SharedAnswers

Range = Literal["day", "week", "month", "year"]

_STEPS: Final[Mapping[Range, tuple[int, int]]] = {
    "day": (HOUR_MS, 24),
    "week": (HOUR_MS, 7 * 24),
    "month": (DAY_MS, 30),
    "year": (DAY_MS, 365),
}
"""Length of a step and how many of them."""
_LOOKED_BACK: Final = 14 * 24
"""Hours that say what an hour of the day usually brings."""
EXPECTED: Final = 10
"""A step without activity is a gap if so many scores because of activity were usual."""
COHORT_DAYS: Final = 28
"""Days whose cohorts are shown together, the last mature ones."""
MOST_UNKNOWN: Final = 0.01
"""Of a day's users, may have come back at a time that is not known: a backlog read in large steps
hides when."""
MOST_LATE: Final = 0.1
"""Scores of a day told after its end, for each user of its cohorts: of a day that was read in large
steps the beginning is known, or nothing."""
SAME_CHANGE_MS: Final = DAY_MS
"""Partitions meet a new model at different times: within this it is one change."""


class BandUsers(msgspec.Struct, frozen=True):
    """Users of a band."""

    counted: int
    little_evidence: int
    """Without a rhythm of their own there is little to judge them by."""
    cancelled: int
    """They have cancelled, and done nothing since."""


class Lapsed(msgspec.Struct, frozen=True):
    """Users silent for so long that no risk is told of them any more, whatever it was; in no band.

    Neither those who have cancelled nor those with little evidence, who are left out anyway.
    """

    after_days: int
    """Of silence; a user lapses with the first UTC day that begins later."""
    users: int
    simulated: int
    """The same, judged by a simulated model."""


class Stayed(msgspec.Struct, frozen=True):
    """What became of users who stood in a band when a day ended on which they were scored."""

    user_days: int
    """A user counts once for each such day."""
    stayed_away: int
    """Of those, with no activity in the horizon that followed."""
    share: float


class RiskBand(msgspec.Struct, frozen=True, kw_only=True):
    """Users whose risk lies from `low` up to, without it, `high`."""

    low: float
    high: float
    users: BandUsers
    simulated: BandUsers
    """Judged by a model that has seen no real user; in no total."""
    stayed: Stayed | None
    """null: no cohort is mature. Of `users.counted`."""
    stayed_simulated: Stayed | None
    """Of `simulated.counted`."""


class TrendPoint(msgspec.Struct, frozen=True):
    """How an hour or a day ended."""

    at: datetime
    counted: tuple[int, ...]
    """Users by band."""
    simulated: tuple[int, ...]
    """The same, judged by a simulated model."""
    left_out: int
    """Users with little evidence, and those who have cancelled."""
    lapsed: int
    """In none of these."""
    activity: int
    """Scores in that time because somebody did something."""
    scores: int


class ModelChange(msgspec.Struct, frozen=True):
    """From when on another model made the scores; the first of all is no change."""

    at: datetime
    model_version: str
    origin: str
    horizon_days: int


class IngestGap(msgspec.Struct, frozen=True):
    """Whole hours (or days) in which nobody's activity was scored although that is usual: none came
    in, or a backlog was read in large steps."""

    start: datetime
    end: datetime


class Cohorts(msgspec.Struct, frozen=True):
    """Which days `stayed` is about."""

    first_day: datetime
    last_day: datetime
    horizon_days: int


class Population(msgspec.Struct, frozen=True, kw_only=True):
    """Users by risk band."""

    as_of: datetime | None
    """How far time has come where it has come furthest; null: nothing was counted yet."""
    scored_at: datetime | None
    """The latest moment of a score that is counted."""
    bands: tuple[RiskBand, ...]
    lapsed: Lapsed | None
    """null: no model was met yet."""
    range: Range
    step_seconds: int
    trend: tuple[TrendPoint, ...]
    """Oldest first; the last is now."""
    models: tuple[ModelChange, ...]
    """Changes within the range."""
    gaps: tuple[IngestGap, ...]
    cohorts: Cohorts | None
    """null: none is mature."""


class Rates(msgspec.Struct, frozen=True):
    """What the workers do, by their own word; null where none that tells is there."""

    events_per_second: float | None
    """Read and folded."""
    scores_per_second: float | None
    """Published."""
    scorers: int
    over_seconds: float
    """What the rates are an average of."""


@dataclass(frozen=True, slots=True)
class Step:
    """All partitions together at the end of a step."""

    number: int
    counts: list[int]
    lapsed: list[int]
    """Of `counts`."""
    activity: int
    scores: int

    def standing(self, cell: int) -> int:
        """Users of a cell who have not lapsed."""
        return self.counts[cell] - self.lapsed[cell]

    def all_lapsed(self, first_standing: int) -> int:
        """Those who would be counted else, of all bands."""
        return sum(self.lapsed[cell_of(band, first_standing)] for band in range(BANDS))


def of_courses(courses: Sequence[Course], span: Range) -> Population:
    """What the partitions come to."""
    size, count = _STEPS[span]
    if not courses:
        empty = Step(0, [0] * CELLS, [0] * CELLS, 0, 0)
        bands = tuple(_band(band, empty, {}) for band in range(BANDS))
        return Population(
            as_of=None, scored_at=None, bands=bands, lapsed=None, range=span,
            step_seconds=size // 1000, trend=(), models=(), gaps=(), cohorts=None,
        )  # fmt: skip
    clock = max(course.now.clock for course in courses)
    steps = summed(courses, clock // size, size)
    shown = steps[-count:]
    now = Step(
        clock // size,
        _added(course.now.counts for course in courses),
        _added(_or_none(course.now.lapsed) for course in courses),
        sum(_since(course, size)[0] for course in courses),
        sum(_since(course, size)[1] for course in courses),
    )
    models = changes([mark for course in courses for mark in course.models])
    horizon = models[-1].horizon if models else None
    mature = {} if horizon is None else became(courses, clock, horizon)
    began = shown[0].number * size if shown else clock
    return Population(
        as_of=from_ms(clock),
        scored_at=from_ms_or_none(max(course.now.scored_at for course in courses)),
        bands=tuple(_band(band, now, mature) for band in range(BANDS)),
        lapsed=None
        if horizon is None
        else Lapsed(lapsed_after_days(horizon), now.all_lapsed(0), now.all_lapsed(len(KINDS))),
        range=span,
        step_seconds=size // 1000,
        trend=(
            *(_point((step.number + 1) * size, step) for step in shown),
            _point(clock, now),
        ),
        models=tuple(
            ModelChange(from_ms(mark.at), mark.version, mark.origin, mark.horizon)
            for mark in models[1:]
            if mark.at >= began
        ),
        gaps=tuple(
            IngestGap(from_ms(start * size), from_ms(end * size))
            for start, end in gaps(steps, 24 if size == HOUR_MS else 1)
            if end * size > began
        ),
        cohorts=_cohorts(clock, horizon) if mature and horizon is not None else None,
    )


def summed(courses: Sequence[Course], until: int, size: int) -> list[Step]:
    """The steps before `until`, from the first that any partition has.

    A partition whose time has not come so far stands as it stands.
    """
    closings = [course.hours if size == HOUR_MS else course.days for course in courses]
    known = [min(each) for each in closings if each]
    if not known:
        return []
    first = min(known)
    nobody = ([0] * CELLS, [0] * CELLS)
    last = [
        (course.now.counts, _or_none(course.now.lapsed))
        if course.now.clock // size < first
        else nobody
        for course in courses
    ]
    steps = []
    for number in range(first, until):
        activity = scores = 0
        for i, course in enumerate(courses):
            closing: Closing | None = closings[i].get(number)
            if closing is not None:
                last[i] = closing.counts, _or_none(closing.lapsed)
                activity += closing.activity
                scores += closing.scores
            elif number == course.now.clock // size:
                last[i] = course.now.counts, _or_none(course.now.lapsed)
                so_far = _since(course, size)
                activity += so_far[0]
                scores += so_far[1]
        counts, lapsed = (_added(each) for each in zip(*last, strict=True))
        steps.append(Step(number, counts, lapsed, activity, scores))
    return steps


def gaps(steps: Sequence[Step], period: int) -> list[tuple[int, int]]:
    """First and last (exclusive) numbers of runs of steps without activity where some was usual.

    Usual is the median over the other steps of the same hour of the day (`period` 24; of all days
    for 1), for a backlog that was read at once leaves hours out; two of them at least have to be.
    """
    by_phase: dict[int, list[int]] = {}
    for step in steps:
        by_phase.setdefault(step.number % period, []).append(step.activity)
    found: list[tuple[int, int]] = []
    for step in steps:
        if step.activity:
            continue
        # One step without activity among them is this one.
        others = sorted(by_phase[step.number % period])[1:]
        if len(others) < 2 or median_low(others) < EXPECTED:
            continue
        if found and found[-1][1] == step.number:
            found[-1] = found[-1][0], step.number + 1
        else:
            found.append((step.number, step.number + 1))
    return found


def changes(marks: Iterable[ModelMark]) -> list[ModelMark]:
    """When each model took over, oldest first, the first of all included."""
    kept: list[ModelMark] = []
    for mark in sorted(marks, key=lambda each: (each.at, each.version)):
        if not any(
            known.version == mark.version and mark.at - known.at < SAME_CHANGE_MS for known in kept
        ):
            kept.append(mark)
    # Partitions that never met another model say nothing new later on.
    return [mark for i, mark in enumerate(kept) if i == 0 or mark.version != kept[i - 1].version]


def became(courses: Sequence[Course], clock: int, horizon: int) -> dict[int, tuple[int, int]]:
    """Cell to user-days and how many of them came back, of the last COHORT_DAYS mature days.

    A partition whose own time has not come so far is left out of a day. A day is left out
    altogether of which too much is unknown (only of those who came back can it be unknown when),
    or too much was told when it was over.
    """
    last = _last_mature(clock, horizon)
    found: dict[int, tuple[int, int]] = {}
    for day in range(last - COHORT_DAYS + 1, last + 1):
        cohorts = [
            cohort
            for course in courses
            if day <= _last_mature(course.now.clock, horizon)
            for cohort in course.cohorts.get(day, ())
            if cohort.horizon == horizon
        ]
        users = sum(cohort.users for cohort in cohorts)
        unknown = sum(cohort.unknown for cohort in cohorts)
        late = sum(cohort.late for cohort in cohorts)
        if unknown > MOST_UNKNOWN * users or late > MOST_LATE * users:
            continue
        for cohort in cohorts:
            users, returned = found.get(cohort.cell, (0, 0))
            found[cohort.cell] = users + cohort.users - cohort.unknown, returned + cohort.returned
    return found


def _last_mature(clock: int, horizon: int) -> int:
    """The last day after whose end the horizon has passed."""
    return clock // DAY_MS - horizon - 1


def _cohorts(clock: int, horizon: int) -> Cohorts:
    last = _last_mature(clock, horizon)
    return Cohorts(from_ms((last - COHORT_DAYS + 1) * DAY_MS), from_ms(last * DAY_MS), horizon)


def _since(course: Course, size: int) -> tuple[int, int]:
    """Activity and scores in the step under way."""
    now = course.now
    return (now.activity, now.scores) if size == HOUR_MS else (now.day_activity, now.day_scores)


def _added(counts: Iterable[Sequence[int]]) -> list[int]:
    return [sum(cell) for cell in zip(*counts, strict=True)]


def _or_none(lapsed: list[int]) -> list[int]:
    return lapsed or [0] * CELLS


def _users(band: int, now: Step, first_standing: int) -> BandUsers:
    counted, *others = (cell_of(band, first_standing + kind) for kind in range(len(KINDS)))
    return BandUsers(now.standing(counted), *(now.counts[cell] for cell in others))


def _stayed(cell: int, mature: Mapping[int, tuple[int, int]]) -> Stayed | None:
    users, returned = mature.get(cell, (0, 0))
    if users <= 0:
        return None
    return Stayed(users, users - returned, round((users - returned) / users, 6))


def _band(band: int, now: Step, mature: Mapping[int, tuple[int, int]]) -> RiskBand:
    low, high = bounds(band)
    return RiskBand(
        low=low,
        high=high,
        users=_users(band, now, 0),
        simulated=_users(band, now, len(KINDS)),
        stayed=_stayed(cell_of(band, 0), mature),
        stayed_simulated=_stayed(cell_of(band, len(KINDS)), mature),
    )


def _point(at: int, step: Step) -> TrendPoint:
    counted = tuple(step.standing(cell_of(band, 0)) for band in range(BANDS))
    simulated = tuple(step.standing(cell_of(band, len(KINDS))) for band in range(BANDS))
    lapsed = step.all_lapsed(0) + step.all_lapsed(len(KINDS))
    return TrendPoint(
        at=from_ms(at),
        counted=counted,
        simulated=simulated,
        left_out=sum(step.counts) - sum(counted) - sum(simulated) - lapsed,
        lapsed=lapsed,
        activity=step.activity,
        scores=step.scores,
    )


def router(*, redis: Redis) -> APIRouter:
    """The routes, over what the history worker writes and the workers tell."""
    routes = APIRouter(tags=["population"])

    async def look(span: Range) -> Population:
        size, count = _STEPS[span]
        hourly = size == HOUR_MS
        courses = await population.read(
            redis, hours=max(count, _LOOKED_BACK) if hourly else 0, days=0 if hourly else count
        )
        return of_courses(courses, span)

    answers = SharedAnswers(look)

    @routes.get(
        "/population",
        summary="Users by risk band, now and over time",
        description="Counted by the history worker, exactly: see docs/dashboard.md.",
        responses=openapi.responses(
            {200: openapi.of(Population, "Bands from the lowest risk to the highest.")}, 422, 503
        ),
    )
    async def get_population(
        range: Annotated[  # noqa: A002 - the query's name
            Range, Query(description="Hours of a day or a week, days of a month or a year.")
        ] = "week",
    ) -> Response:
        return openapi.reply(await answers.ask(range))

    @routes.get(
        "/population/rates",
        summary="Events and scores a second",
        responses=openapi.responses({200: openapi.of(Rates, "Of all scorers together.")}, 503),
    )
    async def get_rates() -> Response:
        heard = [
            each.beat.rates
            for each in await heartbeat.read(redis)
            if each.beat.service == "scorer" and each.seconds_ago < SILENT_SECONDS
        ]
        told = [rates for rates in heard if rates]
        return openapi.reply(
            Rates(
                sum(rates.get("events", 0.0) for rates in told) if told else None,
                sum(rates.get("scores", 0.0) for rates in told) if told else None,
                len(heard),
                BEAT_SECONDS,
            )
        )

    return routes
