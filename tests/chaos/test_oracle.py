"""The oracle notices: each check sees the one thing it is there for."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np

from alerts.rules import DEFAULT
from contracts.activity import FoldRules
from contracts.partition import home
from contracts.record import RECORD, blank_records
from contracts.times import DAY_MS, HOUR_MS
from model.fold import fold
from runtime.timeline import pack
from tests.chaos.driver import MOST_OF_ONE_USER, chunks
from tests.chaos.history import Plan, history
from tests.chaos.oracle import Evidence, Verdict, judge_run
from tests.chaos.past import Keeping, Kept
from tests.chaos.tap import Tapped
from tests.chaos.timelines import entries_of
from tests.chaos.wire import read_log
from tests.fading_model import FadingModel

NOON = 1_750_000_000_000
PARTITIONS = 2
KEEPING = Keeping(points=40, retention_days=730, timeline_events=40)


def event(user_id: str, at: int, event_id: str) -> bytes:
    fields = {"user_id": user_id, "type": "page_view", "occurred_at": at, "event_id": event_id}
    return json.dumps(fields).encode()


def log_of(*values: tuple[str, int, str]) -> list[Tapped]:
    """One record per (user, ms after NOON, event_id), each at its user's home."""
    ends = [0] * PARTITIONS
    records = []
    for user_id, after, event_id in values:
        partition = home(user_id, PARTITIONS)
        value = event(user_id, NOON + after, event_id)
        records.append(
            Tapped(1, partition, ends[partition], NOON + after, user_id.encode(), value, ())
        )
        ends[partition] += 1
    return records


def evidence_of(records: list[Tapped]) -> Evidence:
    """A run that folded everything and, unlike a true one, published no score."""
    rules = FoldRules()
    log = read_log(records, rules, PARTITIONS)
    stored = blank_records(len(log.user_ids))
    stored["facts"] = fold(stored["facts"], log.rows, log.user, rules)
    return Evidence(
        activity=records,
        scores=[],
        alerts=[],
        dead_letters=[],
        records=dict(zip(log.user_ids, stored, strict=True)),
        timers={},
        accepted_ids=set(log.ids_at_home),
        accepted_places=set(),
        kept=Kept(timelines={u: list(map(pack, each)) for u, each in entries_of(log).items()}),
    )


def differing(evidence: Evidence) -> dict[str, int]:
    """Words of the checks that found a difference, and how many."""
    verdict: Verdict = judge_run(evidence, FoldRules(), DEFAULT, FadingModel(), PARTITIONS, KEEPING)
    return {
        check.promise.split(",")[0]: check.differences
        for check in verdict.checks
        if check.differences
    }


NO_SCORE = "each user's highest score knows all they did"


def test_a_fold_that_was_not_told_lacks_its_scores() -> None:
    """Facts that are right but for which no score was published are no success."""
    evidence = evidence_of(log_of(("ada", 0, "1"), ("bob", 5, "2")))

    found = differing(evidence)

    assert {NO_SCORE} == set(found)


def test_one_changed_byte_of_facts_is_noticed() -> None:
    """A record that counts one page more differs."""
    evidence = evidence_of(log_of(("ada", 0, "1"), ("bob", 5, "2")))
    record = np.array(evidence.records["ada"], RECORD)
    record["facts"]["pages"] += 1
    changed = replace(evidence, records={**evidence.records, "ada": record.reshape(1)[0]})

    assert 1 == differing(changed)["facts equal the offline fold"]


def test_an_accepted_event_that_is_not_in_the_log_is_noticed() -> None:
    """The ledger is what servers acknowledged, whatever the log holds."""
    evidence = evidence_of(log_of(("ada", 0, "1")))
    promised = replace(evidence, accepted_ids={"1", "lost"}, accepted_places={(1, 0, 99)})

    assert 2 == differing(promised)["every accepted event is in the log"]


def test_a_timer_beside_the_record_is_noticed() -> None:
    """An entry of the index that no record asks for is a difference."""
    evidence = evidence_of(log_of(("ada", 0, "1")))
    astray = replace(evidence, timers={"ada": [(0, float(NOON))]})

    assert 1 == differing(astray)["the timer index equals the records' due times"]


def test_an_id_that_counts_twice_is_noticed() -> None:
    """A repeat beyond the duplicate window counts again, and the run says so."""
    between = [("ada", 2 + i, f"between-{i}") for i in range(16)]
    evidence = evidence_of(log_of(("ada", 0, "1"), *between, ("ada", HOUR_MS, "1")))

    assert 1 == differing(evidence)["every event counts once"]


def test_a_repeat_within_the_window_is_none() -> None:
    """A repeat that the fold drops is no difference."""
    evidence = evidence_of(log_of(("ada", 0, "1"), ("ada", DAY_MS, "1")))

    assert {NO_SCORE} == set(differing(evidence))


def test_the_history_is_a_pure_function_of_its_seed() -> None:
    """The same plan gives the same records; another seed gives others."""
    plan = Plan(seed=3, events=2_000, partitions=8)

    assert list(history(plan)) == list(history(plan))
    assert list(history(plan)) != list(history(replace(plan, seed=4)))


def test_the_history_holds_everything_that_makes_it_hard() -> None:
    """Repeats, nameless events, erasures, garbage, other partitioners and both lanes occur."""
    items = list(history(Plan(seed=3, events=20_000, partitions=8)))
    ids = [item.event_id for item in items if item.event_id]

    assert len(set(ids)) < len(ids)
    assert any(item.event_id is None and item.valid for item in items)
    assert any(item.value is None for item in items)
    assert any(not item.valid for item in items)
    assert any(item.partition != home(item.user_id, 8) for item in items)
    assert {"http", "kafka"} == {item.lane for item in items}


def test_a_chunk_holds_few_events_of_one_user_and_loses_none() -> None:
    """A chunk that is sent again stays inside the duplicate window, and all items are sent."""
    items = list(history(Plan(seed=3, events=5_000, partitions=8)))

    sent = list(chunks(iter(items)))

    for lane in ("http", "kafka"):
        assert [i for i in items if i.lane == lane] == [
            item for where, chunk in sent if where == lane for item in chunk
        ]
    for _, chunk in sent:
        users = [item.user_id for item in chunk]
        assert max(map(users.count, users)) <= MOST_OF_ONE_USER
