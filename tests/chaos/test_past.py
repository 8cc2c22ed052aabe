"""The oracle notices what the history and the timeline should hold, and do not."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from contracts import history
from contracts.activity import FoldRules
from contracts.partition import home
from contracts.population import Closing, unpack
from contracts.record import blank_records
from contracts.scores import ChurnScore, encode_score
from contracts.times import DAY_MS, HOUR_MS, to_ms
from contracts.topics import CLOCK_HEADER
from model.fold import fold
from runtime import keys
from runtime.timeline import pack
from tests.chaos import timelines
from tests.chaos.past import Keeping, Kept, checks, undisturbed
from tests.chaos.tap import Tapped
from tests.chaos.wire import read_log, read_scores
from tests.churn_scores import NOON, churn_score

KEEPING = Keeping(points=12, retention_days=20, timeline_events=4)
USERS = ("ada", "bob", "cyd")
POINTS = "each user's history shows the scores it is to keep"
BANDS = "users by band"
FIELDS = "trails"


def wire(*entries: ChurnScore | str | int, log: int = 1) -> list[Tapped]:
    """Records of the one partition: scores, erased users, moments without a score."""
    records: list[Tapped] = []
    moment = NOON
    for offset, entry in enumerate(entries):
        if isinstance(entry, ChurnScore):
            moment = to_ms(entry.scored_at)
            key, value = entry.user_id.encode(), encode_score(entry)
            records.append(Tapped(log, 0, offset, moment, key, value, ()))
        elif isinstance(entry, str):
            records.append(Tapped(log, 0, offset, moment, entry.encode(), None, ()))
        else:
            records.append(Tapped(log, 0, offset, entry, b"", b"", ((CLOCK_HEADER, b""),)))
    return records


def a_month(days: int = 30) -> list[Tapped]:
    """Scores of three users on each day, some twice; one is erased, one away for long."""
    chance = random.Random(3)
    told: list[ChurnScore] = []
    entries: list[ChurnScore | str | int] = []
    for number in range(240):
        day, user_id = number * days / 240, USERS[number % 3]
        if user_id == "cyd" and 0.1 < day / days < 0.9:
            continue
        told.append(
            churn_score(
                chance.choice((0.05, 0.2, 0.4, 0.6, 0.9)),
                day,
                user_id=user_id,
                offset=number,
                trigger=chance.choice(("activity", "silence")),
                last_seen_day=int(day),
                usual_gap_hours=chance.choice((None, 20.0)),
                cancelled=chance.random() < 0.1,
            )
        )
        entries.append(told[-1])
        if chance.random() < 0.1:
            entries.append(chance.choice(told))
        if number == 100:
            entries.append("bob")
    later = wire(NOON + (days + 1) * DAY_MS, churn_score(0.5, days + 2, offset=999), log=2)
    return [*wire(*entries), *later]


def kept_from(records: list[Tapped], keeping: Keeping = KEEPING) -> Kept:
    """What a worker leaves that reads all of them."""
    state = asyncio.run(undisturbed(records, 1, keeping))
    trails = {name.split(":", 3)[3]: value for name, value in state.strings.items()}
    counts = {
        name: fields for name, fields in state.hashes.items() if name.split(":")[2] in ("ht", "hp")
    }
    return Kept(trails, counts)


def differing(records: list[Tapped], kept: Kept, keeping: Keeping = KEEPING) -> dict[str, int]:
    """Words of the checks that found a difference, and how many."""
    found = checks(records, read_scores(records), kept, 1, keeping)
    return {check.promise.split(",")[0]: check.differences for check in found if check.differences}


def test_what_a_worker_keeps_is_what_is_promised() -> None:
    """Counted from the scores alone, points, bands, hours and days are those in the store."""
    records = a_month()

    assert {} == differing(records, kept_from(records))


def test_who_lapses_and_comes_back_is_told_apart_meanwhile() -> None:
    """In half a year somebody is away for longer than the model's knowledge reaches."""
    records = a_month(days=180)
    keeping = replace(KEEPING, retention_days=730)

    kept = kept_from(records, keeping)

    assert {} == differing(records, kept, keeping)
    closings = [
        unpack(value, Closing)
        for name, value in kept.counts[keys.population(0)].items()
        if name[0] == "d"
    ]
    assert {0, 1} == {sum(closing.lapsed) for closing in closings}


def twice(kept: Kept) -> Kept:
    trail = history.decode(kept.trails["ada"])
    trail.last += trail.last[-history.POINT_BYTES :]
    return replace(kept, trails={**kept.trails, "ada": history.encode(trail)})


def gone(kept: Kept) -> Kept:
    return replace(kept, trails={name: kept.trails[name] for name in ("bob", "cyd")})


def strange(kept: Kept) -> Kept:
    return replace(kept, trails={**kept.trails, "eve": kept.trails["ada"]})


def later(kept: Kept) -> Kept:
    """An hour closes with what the next one knew."""
    name = keys.population(0)
    fields = dict(kept.counts[name])
    hour = (NOON + 28 * DAY_MS) // HOUR_MS
    while fields[f"h{hour}"] == fields[f"h{hour + 1}"]:
        hour += 1
    fields[f"h{hour}"] = fields[f"h{hour + 1}"]
    return replace(kept, counts={**kept.counts, name: fields})


@pytest.mark.parametrize(
    ("broken", "noticed"),
    [
        (twice, {POINTS: 1, FIELDS: 1}),
        (gone, {POINTS: 1, FIELDS: 1}),
        (strange, {POINTS: 1, FIELDS: 1}),
        (later, {BANDS: 1, FIELDS: 1}),
    ],
)
def test_one_thing_that_is_otherwise_is_noticed(
    broken: Callable[[Kept], Kept], noticed: dict[str, int]
) -> None:
    """A point too many, a history too few or too many, an hour of another moment."""
    records = a_month()

    assert noticed == differing(records, broken(kept_from(records)))


def test_a_batch_that_is_lost_is_noticed() -> None:
    """By users, by bands and by fields."""
    records = a_month()

    found = differing(records, kept_from([*records[:150], *records[170:]]))

    assert {POINTS, BANDS, FIELDS} == set(found)


def test_on_a_cluster_hours_may_differ_and_counts_may_not() -> None:
    """Where a save may fail in part, the users by band are still exact."""
    records = a_month()
    cluster = replace(KEEPING, whole_hours=False)

    assert {} == differing(records, later(kept_from(records)), cluster)
    assert {} != differing(records, kept_from(records[:-1]), cluster)


def events_of(*told: tuple[str, str | None]) -> list[Tapped]:
    """A record a second at its user's home: (user, event id, None to erase them)."""
    ends = [0, 0]
    records = []
    for second, (user_id, event_id) in enumerate(told):
        partition, at = home(user_id, 2), NOON + 1000 * second
        fields = {"user_id": user_id, "type": "login", "occurred_at": at, "event_id": event_id}
        value = None if event_id is None else json.dumps(fields).encode()
        records.append(Tapped(1, partition, ends[partition], at, user_id.encode(), value, ()))
        ends[partition] += 1
    return records


def timeline_differences(
    records: list[Tapped], change: Callable[[list[bytes]], list[bytes]], keep: int = 4
) -> tuple[int, int]:
    """Differences in what is kept and in what is shown when ada's list is changed."""
    rules = FoldRules()
    log = read_log(records, rules, 2)
    stored = blank_records(len(log.user_ids))
    counts = np.ones(len(log.rows), bool)
    window: dict[int, set[int]] = {}
    for i, row in enumerate(log.rows):
        before = window.setdefault(int(log.user[i]), set())
        counts[i] = int(row["id"]) not in before
        before.add(int(row["id"]))
    stored["facts"] = fold(stored["facts"], log.rows, log.user, rules)
    there = {user: [pack(e) for e in each] for user, each in timelines.entries_of(log).items()}
    there["ada"] = change(there["ada"])
    kept, shown = timelines.checks(
        log, counts, dict(zip(log.user_ids, stored, strict=True)), there, rules, keep
    )
    return kept.differences, shown.differences


SIX = events_of(*[("ada", str(n)) for n in range(6)], ("bob", "b"))


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        (lambda values: values[2:], 0),
        (lambda values: values[3:], 1),
        (lambda values: values, 1),
        (lambda values: [*values[:2], *values[4:]], 1),
        (lambda values: [*values[2:], values[-1]], 1),
        (lambda values: [], 1),
    ],
)
def test_a_timeline_is_the_end_of_what_its_user_did(
    change: Callable[[list[bytes]], list[bytes]], kept: int
) -> None:
    """Too short, too long, with a gap, with an event twice, or not there at all is noticed."""
    assert kept == timeline_differences(SIX, change)[0]


def test_what_is_shown_are_the_events_that_count() -> None:
    """A repeated id is kept and not shown; a list that lacks what counts is noticed."""
    records = events_of(("ada", "1"), ("ada", "2"), ("ada", "1"), ("bob", "b"))

    assert (0, 0) == timeline_differences(records, lambda values: values)
    assert (1, 1) == timeline_differences(records, lambda values: [values[1], *values[1:]])


def test_of_an_erased_user_only_what_came_after_is_kept() -> None:
    """What was there before is a difference."""
    records = events_of(("ada", "1"), ("ada", None), ("ada", "2"))
    before = [
        pack(each) for each in timelines.entries_of(read_log(records[:1], FoldRules(), 2))["ada"]
    ]

    assert (0, 0) == timeline_differences(records, lambda values: values)
    assert 1 == timeline_differences(records, lambda values: before + values)[0]
