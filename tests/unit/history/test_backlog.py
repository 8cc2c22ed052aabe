"""What cohorts show does not depend on whether scores were told live or from a backlog.

A scorer that reads a batch scores each user once, as of their last event in it, and fires timers
when all of it is folded. So scores from within a batch are of users who did nothing more until it
ended: of those who came back meanwhile there are none.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import cache
from heapq import heappop, heappush
from itertools import groupby

import msgspec
import pytest

from contracts.bands import BANDS, band_of, cell_of
from contracts.partition import home
from contracts.scores import Evidence, Position, Trigger
from contracts.times import DAY_MS, SESSION_GAP_MS, from_ms
from contracts.topics import SCORES
from ingest_api.population import COHORT_DAYS, became
from runtime import keys, population
from tests.churn_scores import churn_score
from tests.unit.history.bench import Bench, log_of
from tests.unit.scorer.stand import NOON, PARTITIONS, Stand, settle

MIDNIGHT = NOON // DAY_MS * DAY_MS
HORIZON = 5
DAYS = COHORT_DAYS + HORIZON + 1
END = MIDNIGHT + DAYS * DAY_MS
LEVELS = (0.2, 0.4, 0.6, 0.8)
Event = tuple[int, str]
"""Epoch ms, user."""
FEW = 160
"""Events that the scorer itself is shown."""
Told = tuple[int, str, Trigger, int, float]
"""When and of whom a score is, why, when they were last seen, and the risk."""


@cache
def visits(users: int = 400) -> tuple[Event, ...]:
    """Who came when: everybody at a pace of their own, until they come no more."""
    chance = random.Random(7)
    found: list[Event] = []
    for user in range(users):
        pace = chance.choice((0.7, 1.5, 3.0, 6.0)) * DAY_MS
        at = MIDNIGHT + chance.random() * 8 * DAY_MS
        while at < END:
            found.append((int(at), f"{int(pace)}:{user}"))
            if chance.random() < 0.06:
                break
            at += SESSION_GAP_MS + chance.expovariate(1 / pace)
    return tuple(sorted(found))


def risk(user: str, silent: float) -> float:
    """After so many ms of silence: of the user's pace, and of nothing else."""
    return 1 - 0.9 * math.exp(-silent / (3 * int(user.split(":", 1)[0])))


def rungs(user: str) -> list[int]:
    """The ms of silence at which risk reaches each level."""
    pace = int(user.split(":", 1)[0])
    return [int(-3 * pace * math.log((1 - level) / 0.9)) + 1 for level in LEVELS]


def scores_of(log: Sequence[Event], step: int) -> list[Told]:
    """What a scorer tells that reads the log in batches of so many events and sweeps after each.

    Live, which is a step of 0, timers fire when they are due and events are read one by one.
    """
    told: list[Told] = []
    seen: dict[str, int] = {}
    timers: list[tuple[int, str, int]] = []

    def sweep(clock: int) -> None:
        while timers and timers[0][0] <= clock:
            at, user, last = heappop(timers)
            if last == seen[user]:
                told.append((at, user, "silence", last, risk(user, at - last)))

    for start in range(0, len(log), step or 1):
        batch = log[start : start + (step or 1)]
        last = {user: at for at, user in batch}
        if not step:
            sweep(batch[0][0] - 1)
        for user, at in last.items():
            seen[user] = at
            told.append((at, user, "activity", at, risk(user, 0)))
            for after in rungs(user):
                heappush(timers, (at + after, user, at))
        sweep(batch[-1][0])
    sweep(END)
    return told


def days_of(log: Iterable[Event]) -> dict[str, list[int]]:
    """User to the UTC days of their visits, ascending, each once."""
    found: defaultdict[str, dict[int, None]] = defaultdict(dict)
    for at, user in log:
        found[user][at // DAY_MS] = None
    return {user: list(days) for user, days in found.items()}


async def shown(told: Sequence[Told]) -> dict[int, tuple[int, int]]:
    """By band, user-days and how many of them came back, as the gateway tells them."""
    days = days_of(visits())
    bench = Bench()
    await bench.redis.client.hset(keys.log(SCORES), "partitions", 8)
    entries = []
    for offset, (at, user, trigger, seen, probability) in enumerate(told):
        active = bisect_right(days[user], seen // DAY_MS)
        score = churn_score(probability, user_id=user, trigger=trigger)
        entries.append(
            msgspec.structs.replace(
                score,
                scored_at=from_ms(at),
                last_seen_at=from_ms(seen),
                horizon_days=HORIZON,
                evidence=Evidence(9, active, 20.0, ()),
                position=Position(1, offset, 0),
            )
        )
    handler = await bench.opened()
    await handler.handle(log_of(*entries))
    await handler.sweep(END)
    found = became(await population.read(bench.redis.client, hours=0, days=0), END, HORIZON)
    return {band: found[cell_of(band, 0)] for band in range(BANDS) if cell_of(band, 0) in found}


@cache
def live() -> dict[int, tuple[int, int]]:
    """By band, user-days and how many came back, of live scores, counted from the visits.

    Those whose last score of a day was in the band, and who of them came within the horizon.
    """
    days = days_of(visits())
    standing = {(user, at // DAY_MS): told for at, user, _, _, told in scores_of(visits(), 0)}
    last = END // DAY_MS - HORIZON - 1
    users: Counter[int] = Counter()
    returned: Counter[int] = Counter()
    for (user, day), probability in standing.items():
        if last - COHORT_DAYS < day <= last:
            of = days[user]
            after = bisect_right(of, day)
            users[band_of(probability)] += 1
            returned[band_of(probability)] += after < len(of) and of[after] <= day + HORIZON
    return {band: (users[band], returned[band]) for band in range(BANDS)}


async def test_live_cohorts_are_a_count_over_the_log() -> None:
    """Told event by event, they are what the visits themselves say, to the user."""
    assert live() == await shown(scores_of(visits(), 0))
    assert min(users for users, _ in live().values()) > 100


@pytest.mark.parametrize("hours", [3, 12, 60, 100, 200])
async def test_a_backlog_shows_no_other_cohorts(hours: int) -> None:
    """Read in steps of any length, each band stays away as it does live, or nothing is said."""
    log = visits()

    found = await shown(scores_of(log, len(log) * hours // (DAYS * 24)))

    assert found or hours > 24
    for band, (users, returned) in found.items():
        share = live()[band][1] / live()[band][0]
        # Three standard errors, and two users for bands with hardly any.
        assert abs(returned - share * users) <= 3 * math.sqrt(share * (1 - share) * users) + 2


async def test_the_scorer_reads_batches_as_is_said_here() -> None:
    """Of a batch it scores each user once, as of their last event, and then those who are silent
    at its end."""
    log = [(at, user) for at, user in visits() if home(user, PARTITIONS) == 0][:FEW]
    stand = Stand()
    scorer = await stand.opened()
    records = [stand.event(at, user_id=user) for at, user in log]

    for start in range(0, FEW, FEW // 4):
        await scorer.handle(records[start : start + FEW // 4])
        await settle(scorer, scorer.log_time)

    told = scores_of(log, FEW // 4)
    found = [(each.scored_at, each.user_id, each.trigger) for each in stand.scores()]
    assert [(from_ms(at), user) for at, user, trigger, _, _ in told if trigger == "activity"] == [
        (at, user) for at, user, trigger in found if trigger == "activity"
    ]
    turns = [trigger for (trigger, _) in groupby(trigger for _, _, trigger in found)]
    assert ["activity", "silence"] * 4 == turns
