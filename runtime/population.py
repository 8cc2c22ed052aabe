"""The population over time, read as the history worker leaves it, partition by partition."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import cast

from redis.asyncio import Redis

from contracts import population as stored
from contracts.population import (
    COHORT_DAYS_KEPT,
    MODELS,
    NOW,
    Closing,
    Cohort,
    ModelMark,
    PopulationNow,
    cohort_field,
    day_field,
    hour_field,
)
from contracts.times import DAY_MS, HOUR_MS
from contracts.topics import SCORES
from runtime import keys
from runtime.redis_errors import redis_errors


@dataclass(slots=True)
class Course:
    """One partition: now, what its hours and days ended with, its cohorts, its models."""

    now: PopulationNow
    models: list[ModelMark]
    hours: dict[int, Closing] = field(default_factory=dict)
    """By hour since 1970."""
    days: dict[int, Closing] = field(default_factory=dict)
    cohorts: dict[int, list[Cohort]] = field(default_factory=dict)
    """By the day they stood."""


async def read(redis: Redis, *, hours: int, days: int) -> list[Course]:
    """Every partition that was counted, with its last `hours` and `days`; [] where none was.

    Raises StoreUnavailable.
    """
    with redis_errors("reading the population"):
        count = cast("bytes | None", await redis.hget(keys.log(SCORES), "partitions"))
        names = [keys.population(partition) for partition in range(int(count or 0))]
        async with redis.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.hmget(name, [NOW, MODELS])
            answers = await pipe.execute()
        courses: dict[str, Course] = {}
        for name, (now, models) in zip(names, answers, strict=True):
            if now is not None:
                courses[name] = Course(
                    stored.unpack(now, PopulationNow),
                    [] if models is None else stored.unpack(models, list[ModelMark]),
                )
        if not courses:
            return []
        clock = max(course.now.clock for course in courses.values())
        wanted = _Wanted.at(clock, hours=hours, days=days)
        async with redis.pipeline(transaction=False) as pipe:
            for name in courses:
                pipe.hmget(name, wanted.fields())
            answers = await pipe.execute()
    for course, values in zip(courses.values(), answers, strict=True):
        wanted.fill(course, values)
    return list(courses.values())


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Which hours and days are asked for."""

    hours: Sequence[int]
    days: Sequence[int]
    cohorts: Sequence[int]

    @classmethod
    def at(cls, clock: int, *, hours: int, days: int) -> _Wanted:
        hour, day = clock // HOUR_MS, clock // DAY_MS
        return cls(
            range(hour - hours, hour),
            range(day - days, day),
            range(day - COHORT_DAYS_KEPT, day),
        )

    def fields(self) -> list[str]:
        return [
            *map(hour_field, self.hours),
            *map(day_field, self.days),
            *map(cohort_field, self.cohorts),
        ]

    def fill(self, course: Course, values: Iterable[bytes | None]) -> None:
        answers = iter(values)
        for numbers, closings in ((self.hours, course.hours), (self.days, course.days)):
            for number, value in zip(numbers, answers, strict=False):
                if value is not None:
                    closings[number] = stored.unpack(value, Closing)
        for number, value in zip(self.cohorts, answers, strict=False):
            if value is not None:
                course.cohorts[number] = stored.unpack(value, list[Cohort])
