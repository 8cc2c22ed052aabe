"""Scores in, trails and counts out: one partition of the history worker on in-memory doubles."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.bands import CELLS, band_of, cell_of, standing_of
from contracts.errors import Refused, StoreUnavailable
from contracts.history import points
from contracts.partition import SHARDS
from contracts.partition import shard as shard_of
from contracts.population import HOURS_KEPT
from contracts.scores import ChurnScore, Evidence, encode_score
from contracts.times import DAY_MS, HOUR_MS, to_ms
from contracts.topics import CLOCK_HEADER, SCORES
from history import fold
from runtime import keys
from runtime.history import history_of, read
from runtime.ledger import Mark
from runtime.testing import record
from tests.churn_scores import NOON, churn_score
from tests.unit.history.bench import PARTITION, RETENTION_DAYS, Bench, cuts, kept, log_of

TODAY = NOON // DAY_MS


def cell(probability: float, standing: int = 0) -> int:
    return cell_of(band_of(probability), standing)


def users(**of_band: int) -> list[int]:
    """Counts of cells whose users are all counted: b0=2, b4=1."""
    counts = [0] * CELLS
    for name, number in of_band.items():
        counts[int(name[1:])] = number
    return counts


async def test_users_are_counted_where_they_stand() -> None:
    """A later score moves its user; who there is little evidence of, and whom a simulated model
    judges, are counted apart."""
    bench = Bench()
    simulated = msgspec.structs.replace(churn_score(0.8, user_id="sim"), origin="simulator")

    await (await bench.opened()).handle(
        log_of(
            churn_score(0.05, 0.1, user_id="bob"),
            churn_score(0.8, 0.2),
            churn_score(0.4, 0.3),
            churn_score(0.9, 0.4, user_id="new", usual_gap_hours=None),
            churn_score(0.9, 0.5, user_id="left", cancelled=True),
            simulated,
        )
    )

    expected = users(b0=1, b2=1)
    for standing, probability in ((1, 0.9), (2, 0.9), (3, 0.8)):
        expected[cell(probability, standing)] += 1
    assert expected == bench.now().counts


async def test_marks_and_counts_move_together() -> None:
    """After a batch every shard's mark is past it, and an idle sweep leaves it there."""
    bench = Bench()
    handler = await bench.opened()

    await handler.handle(log_of(churn_score(0.8)))
    await handler.sweep(NOON + 3 * DAY_MS)

    assert (Mark(1, 1),) * SHARDS == (await bench.ledger.marks(PARTITION)).stored
    assert 1_000 == bench.redis.state.lifetimes_ms[keys.trail("ada")]


@pytest.mark.parametrize("after_the_write", [False, True])
async def test_a_crash_around_the_save_changes_nothing(after_the_write: bool) -> None:
    """Whether the save was lost or only its answer, whoever goes on counts everything once."""
    entries = log_of(churn_score(0.2, 0.1), churn_score(0.8, 0.2), churn_score(0.9, 0.3))
    bench, whole = Bench(), Bench()
    handler = await bench.opened()
    await handler.handle(entries[:1])
    if after_the_write:
        bench.ledger.fails_after = StoreUnavailable("gone")
    else:
        bench.ledger.fails_before = StoreUnavailable("gone")
    with pytest.raises(StoreUnavailable):
        await handler.handle(entries[1:])

    await (await bench.opened()).handle(entries[1:])
    await (await whole.opened()).handle(entries)

    assert kept(whole.redis.state) == kept(bench.redis.state)


async def test_of_two_owners_the_second_is_refused() -> None:
    """A zombie's batch is not counted beside its successor's."""
    bench = Bench()
    zombie, owner = await bench.opened(), await bench.opened()
    await owner.handle(log_of(churn_score(0.8)))

    with pytest.raises(Refused):
        await zombie.handle(log_of(churn_score(0.8)))

    assert users(b4=1) == bench.now().counts


async def test_a_save_that_reached_only_some_shards_changes_nothing() -> None:
    """Where the sums of a partition did not get what its shards did, they are made up for."""
    entries = log_of(churn_score(0.2, 0.1), churn_score(0.8, 0.2), "bob")
    bench, whole = Bench(), Bench()
    handler = await bench.opened()
    await handler.handle(entries[:1])
    before = bench.redis.backup()
    await handler.handle(entries[1:2])
    tag = keys.population(PARTITION)[: len("ebb:{00}:")]
    assert shard_of("ada") != keys.shard_in(tag)
    for name, fields in before.hashes.items():
        if name.startswith(tag):
            bench.redis.state.hashes[name] = fields

    await (await bench.opened()).handle(entries[1:])
    await (await whole.opened()).handle(entries)

    assert (whole.now().counts, whole.cohorts()) == (bench.now().counts, bench.cohorts())


async def test_an_erased_user_leaves_nothing() -> None:
    """Trail, count and the open standing go."""
    bench = Bench()

    await (await bench.opened()).handle(log_of(churn_score(0.8), "ada"))

    assert {} == bench.trails()
    assert users() == bench.now().counts
    assert Counter() == bench.cohorts()
    assert await read(bench.redis.client, "ada") is None


async def test_who_is_away_for_longer_than_the_retention_is_counted_no_more() -> None:
    """They leave the counts when the day after has begun, once, and start anew when they return."""
    bench = Bench()
    handler = await bench.opened()
    await handler.handle(log_of(churn_score(0.8)))
    last_day = NOON + RETENTION_DAYS * DAY_MS

    await handler.sweep(last_day)
    before = bench.now().counts
    await handler.sweep(last_day + DAY_MS)
    gone = bench.now().counts
    back = churn_score(0.1, RETENTION_DAYS + 2, last_seen_day=RETENTION_DAYS + 2)
    await (await bench.opened()).handle(log_of(back, start=1))

    assert (users(b4=1), users(), users(b1=1)) == (before, gone, bench.now().counts)
    assert 1 == len(list(points(bench.trails()["ada"].last)))


async def test_who_is_silent_for_too_long_has_lapsed() -> None:
    """With the first UTC day that begins after 60 days they are told apart, until they return."""
    bench = Bench()
    handler = await bench.opened()
    await handler.handle(log_of(churn_score(0.8)))
    first = (TODAY + 61) * DAY_MS

    await handler.sweep(first - 1)
    before = bench.now().lapsed
    await handler.sweep(first)
    after = bench.now().lapsed
    again = await bench.opened()
    await again.sweep(first + HOUR_MS)
    reopened = bench.now().lapsed
    await again.handle(log_of(churn_score(0.2, 61.5, last_seen_day=61.5, offset=1), start=1))

    assert (users(), users(b4=1), users(b4=1)) == (before, after, reopened)
    assert (users(b1=1), users()) == (bench.now().counts, bench.now().lapsed)
    assert users(b4=1) == bench.closings("h")[first // HOUR_MS].lapsed


async def test_a_user_who_comes_back_in_time_has_not_stayed_away() -> None:
    """Of two who stood in a band when a day ended, the one seen within the horizon came back."""
    bench = Bench()
    await (await bench.opened()).handle(
        log_of(
            churn_score(0.8, 1.0),
            churn_score(0.8, 1.0, user_id="bob"),
            churn_score(0.2, 14.0, last_seen_day=14.0, active_days=10),
            churn_score(0.2, 16.0, user_id="bob", last_seen_day=16.0, active_days=10),
        )
    )

    found = bench.cohorts()
    assert 2 == found[TODAY + 1, 14, 4, "users"]
    assert 1 == found[TODAY + 1, 14, 4, "returned"]


async def test_where_an_earlier_return_may_be_hidden_nothing_is_claimed() -> None:
    """A score that tells of several new active days, the last too late, leaves the outcome open."""
    bench = Bench()
    await (await bench.opened()).handle(
        log_of(churn_score(0.8, 1.0), churn_score(0.2, 16.0, last_seen_day=16.0, active_days=12))
    )

    found = bench.cohorts()
    assert (1, 0, 1) == tuple(
        found[TODAY + 1, 14, 4, what] for what in ("users", "returned", "unknown")
    )


async def test_hours_and_days_end_with_what_was_known_then() -> None:
    """Each hour closes with the counts before the first record after it, also the quiet ones."""
    bench = Bench()
    hour = 1 / 24
    handler = await bench.opened()
    await handler.handle(
        log_of(
            churn_score(0.2, 0.0, trigger="activity"),
            churn_score(0.8, 3 * hour),
            churn_score(0.4, 3.2 * hour, user_id="bob", trigger="activity"),
        )
    )
    await handler.sweep(NOON + 14 * HOUR_MS)

    first = NOON // HOUR_MS
    closings = bench.closings("h")
    assert list(range(first, first + 14)) == sorted(closings)
    assert (users(b1=1), 1, 1, users()) == msgspec.structs.astuple(closings[first])
    assert (users(b1=1), 0, 0, users()) == msgspec.structs.astuple(closings[first + 1])
    assert (users(b4=1, b2=1), 1, 2, users()) == msgspec.structs.astuple(closings[first + 3])
    assert {TODAY: (users(b1=1), 1, 1, users())} == {
        day: msgspec.structs.astuple(each) for day, each in bench.closings("d").items()
    }


async def test_hours_are_bounded() -> None:
    """After a year only the last hours are there."""
    bench = Bench()
    handler = await bench.opened()
    await handler.handle(log_of(churn_score(0.2)))
    for day in range(2, 40):
        await handler.sweep(NOON + day * DAY_MS)
    await handler.sweep(NOON + 400 * DAY_MS)

    last = (NOON + 400 * DAY_MS) // HOUR_MS
    assert list(range(last - HOURS_KEPT, last)) == sorted(bench.closings("h"))
    assert 399 == len(bench.closings("d"))


async def test_what_cannot_be_read_is_passed_over() -> None:
    """No key, no JSON, another user's score, an impossible probability, time only."""
    bench = Bench()
    good = churn_score(0.8)
    odd = msgspec.structs.replace(good, churn_probability=1.5)
    bad = [
        record(b"{", key="ada", partition=PARTITION, offset=0),
        record(encode_score(good), key=None, partition=PARTITION, offset=1),
        record(encode_score(good), key="eve", partition=PARTITION, offset=2),
        record(encode_score(odd), key="ada", partition=PARTITION, offset=3),
        record(b"", key="k", partition=PARTITION, offset=4, headers=[(CLOCK_HEADER, b"")]),
    ]
    handler = await bench.opened()

    await handler.handle(bad)
    await handler.handle(log_of(good, start=5))

    assert users(b4=1) == bench.now().counts
    assert 4 == bench.metrics.skipped.labels(SCORES)._value.get()
    assert not await handler.held()


async def test_models_that_change_are_noted_once() -> None:
    """A rollout during which both models' scores arrive is one change."""
    bench = Bench()
    names = ["m1", "m2", "m1", "m2", "m1"]
    days = [0.0, 0.01, 0.011, 0.02, 2.0]
    await (await bench.opened()).handle(
        log_of(
            *(
                msgspec.structs.replace(churn_score(0.2, day, offset=n), model_version=name)
                for n, (name, day) in enumerate(zip(names, days, strict=True))
            )
        )
    )

    fields = bench.redis.state.hashes[keys.population(PARTITION)]
    told = msgspec.msgpack.decode(fields["models"])
    assert [("m1", NOON), ("m2", NOON + 864_000), ("m1", NOON + 2 * DAY_MS)] == [
        (version, at) for at, version, _, _ in told
    ]
    trail = history_of(bench.trails()["ada"])
    assert trail is not None
    assert [False, True, True, True, True] == [point.new_model for point in trail.points]


# Laws.

HORIZON = 3


@dataclass(frozen=True)
class Said:
    """A score before it is one."""

    user_id: str
    moment: int
    """Quarters of a day after NOON."""
    seen: int
    """Quarters of a day before that the user was seen."""
    probability: float
    more_days: int
    model: str
    little: bool


def said() -> st.SearchStrategy[Said]:
    return st.builds(
        Said,
        user_id=st.sampled_from(["ada", "bob", "eve"]),
        moment=st.integers(0, 60),
        seen=st.integers(0, 20),
        probability=st.sampled_from([0.0, 0.05, 0.1, 0.3, 0.69, 0.7, 1.0]),
        more_days=st.sampled_from([0, 1, 1, 1, 2]),
        model=st.sampled_from(["m1", "m2"]),
        little=st.booleans(),
    )


@st.composite
def logs(draw: st.DrawFn) -> list[ChurnScore | str]:
    """Scores of a few users as time goes on, with erasures, repeats, and some out of order."""
    told: list[ChurnScore] = []
    active: defaultdict[str, int] = defaultdict(int)
    seen: defaultdict[str, int] = defaultdict(lambda: -1_000)
    for position, one in enumerate(
        sorted(draw(st.lists(said(), max_size=25)), key=lambda each: each.moment)
    ):
        active[one.user_id] += one.more_days
        seen[one.user_id] = max(seen[one.user_id], one.moment - one.seen)
        score = churn_score(
            one.probability,
            one.moment / 4,
            user_id=one.user_id,
            offset=position,
            last_seen_day=seen[one.user_id] / 4,
            usual_gap_hours=None if one.little else 20.0,
        )
        told.append(
            msgspec.structs.replace(
                score,
                model_version=one.model,
                horizon_days=HORIZON,
                evidence=Evidence(9, active[one.user_id], score.evidence.usual_gap_hours, ()),
            )
        )
    entries: list[ChurnScore | str] = list(told)
    for repeated, at in draw(
        st.lists(st.tuples(st.integers(0, 24), st.integers(0, 30)), max_size=5)
    ):
        if repeated < len(told):
            entries.insert(at, told[repeated])
    for user_id, at in draw(
        st.lists(st.tuples(st.sampled_from(["ada", "bob"]), st.integers(0, 30)), max_size=2)
    ):
        entries.insert(at, user_id)
    return entries


def order(score: ChurnScore) -> tuple[int, int, int]:
    return score.position.log, score.position.offset, to_ms(score.scored_at)


def cell_said(score: ChurnScore) -> int:
    standing = standing_of(score.origin, score.cancelled, score.evidence.usual_gap_hours)
    return cell_of(band_of(score.churn_probability), standing)


Told = tuple[ChurnScore, int]
"""With how far time had come when it was told."""


def news(entries: list[ChurnScore | str]) -> list[tuple[list[Told], int | None]]:
    """The scores that count of every life of a user, with when it was erased, if it was."""
    living: dict[str, list[Told]] = {}
    lives: list[tuple[list[Told], int | None]] = []
    clock = 0
    for entry in entries:
        if isinstance(entry, str):
            if entry in living:
                lives.append((living.pop(entry), clock))
            continue
        clock = max(clock, to_ms(entry.scored_at))
        life = living.setdefault(entry.user_id, [])
        if not life or order(entry) > order(life[-1][0]):
            life.append((entry, clock))
    return lives + [(life, None) for life in living.values()]


def cohorts_said(entries: list[ChurnScore | str]) -> Counter[tuple[int, int, int, str]]:
    """What mature cohorts show, from whole lives and looking ahead."""
    found: Counter[tuple[int, int, int, str]] = Counter()
    for told, erased_at in news(entries):
        life = [score for score, _ in told]
        of_day: dict[int, ChurnScore] = {}
        for score, clock in told:
            day = to_ms(score.scored_at) // DAY_MS
            if clock < (day + 1) * DAY_MS:
                of_day[day] = score
            else:
                found[day, HORIZON, cell_said(score), "late"] += 1
        for day, standing in of_day.items():
            midnight = (day + 1) * DAY_MS
            mature = midnight + HORIZON * DAY_MS
            later = life[life.index(standing) :]
            verdict = None
            for before, score in pairwise(later):
                assert score.last_seen_at is not None
                seen = to_ms(score.last_seen_at)
                if seen >= midnight:
                    grown = score.evidence.active_days - before.evidence.active_days
                    known = grown in (0, 1)
                    verdict = "returned" if seen < mature else "stayed" if known else "unknown"
                    break
                if to_ms(score.scored_at) >= mature:
                    break
            open_still = verdict is None and to_ms(life[-1].scored_at) < mature
            if open_still and erased_at is not None and erased_at < mature:
                continue
            key = (day, HORIZON, cell_said(standing))
            found[*key, "users"] += 1
            found[*key, "returned"] += verdict == "returned"
            found[*key, "unknown"] += verdict == "unknown"
    return +found


@settings(max_examples=50)
@given(logs(), st.lists(st.integers(0, 30), max_size=3))
async def test_counts_are_a_recount(entries: list[ChurnScore | str], at: list[int]) -> None:
    """Whatever came, in whatever order, how often: the counts are those of the trails."""
    bench = Bench()
    for batch in cuts(log_of(*entries), at):
        await (await bench.opened()).handle(batch)
        recount = [0] * CELLS
        for trail in bench.trails().values():
            recount[trail.cell] += fold.seen_day(trail) > bench.gone()

        assert recount == bench.now().counts
        assert recount == [sum(each) for each in zip(*bench.counted(), strict=True)]
    assert {
        life[-1][0].user_id: cell_said(life[-1][0]) for life, gone in news(entries) if gone is None
    } == {user_id: trail.cell for user_id, trail in bench.trails().items()}


@given(logs())
async def test_cohorts_are_what_became_of_their_users(entries: list[ChurnScore | str]) -> None:
    """Folded score by score, they equal what looking back at whole lives says."""
    bench = Bench()
    if entries:
        await (await bench.opened()).handle(log_of(*entries))

    assert cohorts_said(entries) == bench.cohorts()


@settings(max_examples=40)
@given(logs(), st.lists(st.integers(0, 30), max_size=4), st.integers(0, 9))
async def test_where_a_batch_is_cut_makes_no_difference(
    entries: list[ChurnScore | str], at: list[int], kept_points: int
) -> None:
    """In batches, by handlers that go on for one another, everything stored is the same."""
    one, many = Bench(points=kept_points), Bench(points=kept_points)
    if entries:
        await (await one.opened()).handle(log_of(*entries))
    for batch in cuts(log_of(*entries), at):
        await (await many.opened()).handle(batch)

    assert kept(one.redis.state) == kept(many.redis.state)


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 100)), min_size=1, max_size=60),
    st.integers(1, 20),
)
async def test_a_trail_keeps_the_last_points_and_of_each_day_the_highest_and_the_last(
    moments: list[tuple[int, int]], most: int
) -> None:
    """As stated: a quarter are the last ones; what lies before is thinned by day, then cut."""
    moments.sort(key=lambda each: each[0])
    scores = [
        churn_score(risk / 100, quarter / 4, offset=n) for n, (quarter, risk) in enumerate(moments)
    ]
    bench = Bench(points=most)
    await (await bench.opened()).handle(log_of(*scores))

    last = -(-most // 4)
    told = [(to_ms(s.scored_at) // 1000, round(s.churn_probability * 1_000_000)) for s in scores]
    before = told[:-last]
    days: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
    for point in before:
        days[point[0] * 1000 // DAY_MS].append(point)
    thinned: list[tuple[int, int]] = []
    for of_day in days.values():
        highest = max(of_day[:-1], key=lambda each: each[1], default=of_day[-1])
        thinned += [highest, of_day[-1]] if highest[1] >= of_day[-1][1] else [of_day[-1]]
        if len(of_day) == 1:
            thinned.pop()
    trail = bench.trails()["ada"]
    assert told[-last:] == [(point.at, point.millionths) for point in points(trail.last)]
    of_days = [(point.at, point.millionths) for point in points(trail.days)]
    assert thinned[len(thinned) - len(of_days) :] == of_days
    # A day's second point may have pushed out the oldest before a third took its place.
    assert min(len(thinned), most - last - 1) <= len(of_days) <= most - last
