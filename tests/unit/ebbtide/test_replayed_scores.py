"""Replayed scores are those the scorer publishes."""

from __future__ import annotations

import numpy as np

from contracts.events import ActivityEvent
from contracts.scores import ChurnScore
from contracts.times import DAY_MS, HOUR_MS, MINUTE_MS, from_ms, to_ms
from ebbtide.replayed_scores import Speaker, Step, batches, replayed
from model.event_log import EventLog, event_log
from tests.fading_model import FadingModel
from tests.unit.scorer.stand import NOON, RULES, Stand, settle, user_at

ADA, BO = user_at(0), user_at(0, 1)
END = NOON + 40 * DAY_MS

Visit = tuple[str, list[tuple[int, str]]]
"""A user, and when they did what."""


def visit(user: str, at: int, *types: str) -> Visit:
    return user, [(at + i * 7 * MINUTE_MS, kind) for i, kind in enumerate(types)]


VISITS: list[Visit] = sorted(
    [
        *(visit(ADA, NOON + day * DAY_MS, "page_view", "page_view") for day in (0, 1, 3, 4, 9)),
        visit(ADA, NOON + 30 * DAY_MS, "page_view"),
        *(visit(BO, NOON + day * DAY_MS + 3 * HOUR_MS, "login", "page_view") for day in (0, 2, 15)),
        visit(BO, NOON + 18 * DAY_MS, "return"),
        visit(BO, NOON + 20 * DAY_MS, "subscription_cancelled"),
        visit(BO, NOON + 27 * DAY_MS, "page_view"),
    ],
    key=lambda one: one[1][0],
)


def recorded(visits: list[Visit]) -> EventLog:
    return event_log(
        (
            ActivityEvent(user_id=user, type=kind, occurred_at=from_ms(at))
            for user, happened in visits
            for at, kind in happened
        ),
        RULES,
    )


async def published(visits: list[Visit]) -> list[ChurnScore]:
    """What a scorer says that takes each visit as a batch and sweeps in between."""
    stand = Stand()
    scorer = await stand.opened()
    for user, happened in visits:
        await settle(scorer, happened[0][0] - 1)
        await scorer.handle([stand.event(at, user_id=user, type=kind) for at, kind in happened])
    await settle(scorer, END - 1)
    return in_order(stand.scores())


def scored(visits: list[Visit], *steps: Step) -> list[ChurnScore]:
    log = recorded(visits)
    found = batches(log, np.arange(len(log.user_ids)), steps[0].begins, RULES)
    speaker = Speaker(log, found, 0.7)
    return [
        score
        for part in replayed(found, steps, len(log.user_ids), RULES)
        for score in speaker.messages(part)
    ]


def in_order(scores: list[ChurnScore]) -> list[ChurnScore]:
    return sorted(scores, key=lambda score: (score.scored_at, score.user_id))


async def test_replayed_scores_are_those_of_the_scorer() -> None:
    """
    Every score of a replayed log, of visits, silences and a cancellation, is the scorer's, to the
    id.
    """
    scores = in_order(scored(VISITS, Step(0, END, FadingModel())))

    assert await published(VISITS) == scores
    assert {"activity", "silence"} == {score.trigger for score in scores}
    assert any(score.cancelled for score in scores)


def test_scores_come_in_the_order_of_time() -> None:
    """
    Scores are told in the order of the moments they are of, and once each.
    """
    scores = scored(VISITS, Step(0, END, FadingModel()))

    moments = [score.scored_at for score in scores]
    assert sorted(moments) == moments
    assert len(scores) == len({score.score_id for score in scores})


def test_where_steps_are_cut_changes_only_the_rescoring() -> None:
    """
    A step more, with the same model, adds one score of everybody who is silent then, and nothing
    else.
    """
    cut = NOON + 11 * DAY_MS
    model = FadingModel()

    whole = scored(VISITS, Step(0, END, model))
    parts = scored(VISITS, Step(0, cut, model), Step(cut, END, model))

    again = [score for score in parts if score.trigger == "model"]
    assert [cut, cut] == [to_ms(score.scored_at) for score in again]
    assert {ADA, BO} == {score.user_id for score in again}
    kept = [(score.user_id, score.scored_at, score.churn_probability) for score in whole]
    assert kept == [
        (score.user_id, score.scored_at, score.churn_probability)
        for score in parts
        if score.trigger != "model"
    ]


def test_a_replay_that_begins_later_knows_what_came_before() -> None:
    """
    Sessions from the beginning of the replay on are scored as if everything had been replayed.
    """
    begins = NOON + 10 * DAY_MS

    whole = scored(VISITS, Step(0, END, FadingModel()))
    late = scored(VISITS, Step(begins, END, FadingModel()))

    seen = {score.last_seen_at for score in late}
    assert [s.churn_probability for s in late] == [
        s.churn_probability for s in whole if s.last_seen_at in seen
    ]
    assert all(to_ms(score.last_seen_at or score.scored_at) >= begins for score in late)


def test_what_changes_nothing_moves_nothing() -> None:
    """
    A session that only repeats an event disturbs no silence.
    """
    first = ActivityEvent(user_id=ADA, type="page_view", event_id="one", occurred_at=from_ms(NOON))
    again = ActivityEvent(
        user_id=ADA, type="page_view", event_id="one", occurred_at=from_ms(NOON + 2 * DAY_MS)
    )
    told = []
    for events in ([first], [first, again]):
        log = event_log(events, RULES)
        found = batches(log, np.array([0]), 0, RULES)
        (part,) = replayed(found, [Step(0, END, FadingModel())], 1, RULES)
        told.append((part.scored_at.tolist(), part.probability.tolist()))

    assert told[0] == told[1]
    assert len(told[0][0]) > 1


def test_only_chosen_users_are_replayed() -> None:
    """
    Whoever is not chosen has no scores, and the others have theirs.
    """
    log = recorded(VISITS)
    chosen = np.array([log.user_ids.index(BO)])
    found = batches(log, chosen, 0, RULES)
    (part,) = replayed(found, [Step(0, END, FadingModel())], len(log.user_ids), RULES)

    told = list(Speaker(log, found, 0.7).messages(part))

    everybody = scored(VISITS, Step(0, END, FadingModel()))
    assert [score for score in everybody if score.user_id == BO] == told
