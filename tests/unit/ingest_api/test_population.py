"""Users by risk band, as the gateway sums up what the history worker stored."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from contracts.scores import ChurnScore
from contracts.times import DAY_MS, HOUR_MS, from_ms
from contracts.topics import SCORES
from contracts.workers import Beat
from ingest_api.population import Step, gaps
from runtime import heartbeat, keys
from tests.churn_scores import NOON, churn_score
from tests.unit.history.bench import Bench, log_of
from tests.unit.ingest_api.stand import Stand

MIDNIGHT = NOON // DAY_MS * DAY_MS
HORIZON = 2


async def counted(gateway: Stand, *entries: ChurnScore | str, until: int | None = None) -> None:
    """Let the history worker count scores, and time come to a moment."""
    await gateway.redis.hset(keys.log(SCORES), "partitions", 8)
    handler = await Bench(redis=gateway.redis).opened()
    await handler.handle(log_of(*entries))
    if until is not None:
        await handler.sweep(until)


async def asked(gateway: Stand, span: str = "week") -> Any:
    answer = await gateway.http.get("/population", params={"range": span})
    assert 200 == answer.status_code
    return answer.json()


def of_day(
    risk: float, day: float, user_id: str, *, seen: float = 0.0, active_days: int = 9
) -> ChurnScore:
    """A score of a model whose horizon is short."""
    score = churn_score(risk, day, user_id=user_id, last_seen_day=seen, active_days=active_days)
    return msgspec.structs.replace(score, horizon_days=HORIZON)


async def test_nothing_counted_is_no_trend(gateway: Stand) -> None:
    """
    Before the first score there are bands without users, and no moment.
    """
    told = await asked(gateway)

    assert (None, [], 5) == (told["as_of"], told["trend"], len(told["bands"]))


async def test_who_may_not_be_believed_is_apart(gateway: Stand) -> None:
    """
    Little evidence, cancellations and simulated models are in no total.
    """
    simulated = churn_score(0.8, user_id="sim")
    await counted(
        gateway,
        churn_score(0.8, 0.1),
        churn_score(0.8, 0.2, user_id="new", usual_gap_hours=None),
        churn_score(0.8, 0.3, user_id="left", cancelled=True),
        msgspec.structs.replace(simulated, origin="simulator"),
    )

    told = await asked(gateway)

    top = told["bands"][-1]
    assert (0.7, 1.0) == (top["low"], top["high"])
    assert {"counted": 1, "little_evidence": 1, "cancelled": 1} == top["users"]
    assert {"counted": 1, "little_evidence": 0, "cancelled": 0} == top["simulated"]
    last = told["trend"][-1]
    assert ([0, 0, 0, 0, 1], [0, 0, 0, 0, 1], 2) == (
        last["counted"], last["simulated"], last["left_out"],
    )  # fmt: skip


async def test_the_trend_is_hour_by_hour_until_now(gateway: Stand) -> None:
    """
    Every hour that ended is there with what was known then, quiet ones too, and now is the last.
    """
    hour = 1 / 24
    await counted(
        gateway,
        churn_score(0.2, 0.0),
        churn_score(0.6, 2 * hour),
        until=NOON // HOUR_MS * HOUR_MS + 4 * HOUR_MS,
    )

    trend = (await asked(gateway, "day"))["trend"]

    first = NOON // HOUR_MS
    assert [from_ms((first + n) * HOUR_MS).isoformat()[:19] for n in (1, 2, 3, 4, 4)] == [
        point["at"][:19] for point in trend
    ]
    assert [1, 1, 3, 3, 3] == [point["counted"].index(1) for point in trend]


async def test_days_come_from_closings_of_days(gateway: Stand) -> None:
    """
    A month is shown by the days that ended.
    """
    await counted(gateway, churn_score(0.2, 0.0), until=NOON + 3 * DAY_MS)

    told = await asked(gateway, "month")

    assert (86_400, 4) == (told["step_seconds"], len(told["trend"]))


async def test_a_change_of_the_model_is_marked_and_the_first_model_is_none(gateway: Stand) -> None:
    """
    The trend says from when on another model made the scores.
    """
    later = msgspec.structs.replace(churn_score(0.2, 1.0), model_version="m2")
    await counted(gateway, churn_score(0.2, 0.0), later)

    told = await asked(gateway)

    assert [("m2", to_second(NOON + DAY_MS))] == [
        (mark["model_version"], mark["at"][:19]) for mark in told["models"]
    ]


def to_second(ms: int) -> str:
    return from_ms(ms).isoformat()[:19]


async def test_what_mature_cohorts_showed_is_a_share_of_user_days(gateway: Stand) -> None:
    """
    Of four who stood in a band when a day ended, one came back within the horizon.
    """
    stood = [of_day(0.8, 1.0, name) for name in ("ada", "bob", "cy", "dee")]
    back = of_day(0.1, 2.5, "bob", seen=2.5, active_days=10)
    await counted(gateway, *stood, back, until=MIDNIGHT + 5 * DAY_MS)

    told = await asked(gateway)

    assert {"user_days": 4, "stayed_away": 3, "share": 0.75} == told["bands"][-1]["stayed"]
    assert told["bands"][-1]["stayed_simulated"] is None
    assert HORIZON == told["cohorts"]["horizon_days"]


@pytest.mark.parametrize(("late", "days"), [(10, 100), (11, None)])
async def test_a_day_told_after_its_end_says_nothing(
    gateway: Stand, late: int, days: int | None
) -> None:
    """
    Scores from within a step of a backlog are of users who did nothing more in it: where there are
    many of them, the day is not told by the few whose scores came before.
    """
    await counted(
        gateway,
        *(of_day(0.8, 1.0, f"u{n}") for n in range(100)),
        of_day(0.1, 4.0, "zoe", seen=4.0),
        *(of_day(0.8, 1.02, f"late-{n}") for n in range(late)),
        until=MIDNIGHT + 5 * DAY_MS,
    )

    told = (await asked(gateway))["bands"][-1]["stayed"]

    assert days == (None if told is None else told["user_days"])


async def test_who_has_lapsed_is_in_no_band(gateway: Stand) -> None:
    """
    They are counted beside the bands, with the days that it takes; the hours before stay as told.
    """
    await counted(
        gateway,
        churn_score(0.8),
        churn_score(0.8, user_id="bob", usual_gap_hours=None),
        until=MIDNIGHT + 61 * DAY_MS,
    )

    told = await asked(gateway)

    assert {"after_days": 60, "users": 1, "simulated": 0} == told["lapsed"]
    assert (0, 1) == (
        told["bands"][-1]["users"]["counted"], told["bands"][-1]["users"]["little_evidence"],
    )  # fmt: skip
    now, before = told["trend"][-1], told["trend"][-3]
    assert (0, 1, 1) == (now["counted"][-1], now["lapsed"], now["left_out"])
    assert (1, 0, 1) == (before["counted"][-1], before["lapsed"], before["left_out"])


async def test_no_share_is_told_before_the_horizon_has_passed(gateway: Stand) -> None:
    """
    Whoever has not come back yet may still do so.
    """
    await counted(gateway, of_day(0.8, 1.0, "ada"), until=MIDNIGHT + 4 * DAY_MS - 1)

    told = await asked(gateway)

    assert (None, None) == (told["bands"][-1]["stayed"], told["cohorts"])


async def test_a_day_read_in_large_steps_says_nothing(gateway: Stand) -> None:
    """
    Where returns may be hidden, those who stayed away are not told as if they were all.
    """
    stood = [of_day(0.8, 1.0, "ada"), of_day(0.8, 1.0, "bob")]
    back = of_day(0.1, 9.0, "bob", seen=9.0, active_days=14)
    await counted(gateway, *stood, back, until=NOON + 10 * DAY_MS)

    assert (await asked(gateway))["bands"][-1]["stayed"] is None


@pytest.mark.parametrize(
    ("activity", "expected"),
    [
        ([30] * 72, []),
        ([30] * 50 + [0, 0] + [30] * 20, [(50, 52)]),
        ([0] * 72, []),
        # Nights are quiet every night.
        (([30] * 16 + [0] * 8) * 3, []),
        # None comes by chance where few do.
        ([9] * 50 + [0, 0] + [9] * 20, []),
        # A backlog was read at once.
        ([0] * 72 + [30] * 48, []),
        # Too little is known to miss anything.
        ([30] * 20 + [0] * 20, []),
    ],
)
def test_a_gap_is_silence_where_activity_is_usual(
    activity: list[int], expected: list[tuple[int, int]]
) -> None:
    """
    An hour is compared with the same hour of other days, of which there must be two.
    """
    steps = [Step(number, [], [], each, each) for number, each in enumerate(activity)]

    assert expected == gaps(steps, 24)


async def test_rates_are_what_the_scorers_tell(gateway: Stand) -> None:
    """
    Those of all scorers together; null where none is there.
    """
    nobody = (await gateway.http.get("/population/rates")).json()
    for number in range(2):
        await heartbeat.write(gateway.redis.client, beat(f"scorer-{number}", "scorer"))
    await heartbeat.write(gateway.redis.client, beat("alerts-1", "alerts"))

    told = (await gateway.http.get("/population/rates")).json()

    assert (None, 0) == (nobody["events_per_second"], nobody["scorers"])
    assert (20.0, 8.0, 2) == (told["events_per_second"], told["scores_per_second"], told["scorers"])


def beat(name: str, service: str) -> Beat:
    return Beat(
        id=name, service=service, host="h", pid=1, version="0", since=0, at=1, reasons={},
        partitions=(), totals={}, rates={"events": 10.0, "scores": 4.0}, grew_at={},
    )  # fmt: skip


async def test_without_redis_it_is_said(gateway: Stand) -> None:
    """
    No counts are made up while they cannot be read.
    """
    gateway.redis.away = True

    assert 503 == (await gateway.http.get("/population")).status_code


async def test_a_range_there_is_none_of_is_refused(gateway: Stand) -> None:
    """
    Another range is refused with the field's name.
    """
    answer = await gateway.http.get("/population", params={"range": "decade"})

    assert (422, "range") == (answer.status_code, answer.json()["errors"][0]["field"])
