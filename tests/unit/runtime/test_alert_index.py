"""From an alert's id to its user."""

from __future__ import annotations

import pytest

from contracts.alerts import ChurnAlert
from contracts.topics import SCORES
from runtime import alert_index, keys
from runtime.alert_index import KEPT_IDS, KEPT_MS, Found
from runtime.ledger import Effects, Mark
from runtime.testing import FakeLedger, FakeRedis
from tests.churn_alerts import churn_alert


@pytest.fixture
def redis() -> FakeRedis:
    return FakeRedis()


async def save(redis: FakeRedis, effects: Effects) -> None:
    ledger = FakeLedger(redis, SCORES)
    marks = await ledger.marks(0)
    await ledger.save(marks, Mark(1, marks.start(1, 0) + 1), 0, effects)


async def remembered(redis: FakeRedis, *alerts: ChurnAlert) -> None:
    effects = Effects()
    for alert in alerts:
        alert_index.remember(alert, effects)
    await save(redis, effects)


@pytest.mark.parametrize("user_id", ["ada", "grace", "bø:b"])
async def test_both_ids_lead_to_user_and_episode(redis: FakeRedis, user_id: str) -> None:
    """
    Whichever shard the user lives in, alert_id and dedup_key name them.
    """
    alert = churn_alert(user_id=user_id)
    await remembered(redis, alert, churn_alert(user_id="somebody else"))

    for known in (alert.alert_id, alert.dedup_key):
        assert Found(user_id, alert.dedup_key) == await alert_index.find(redis.client, known)
    assert await alert_index.find(redis.client, "5f0c") is None


async def test_ids_are_kept_for_a_while(redis: FakeRedis) -> None:
    """
    Every entry has a lifetime, and a user's list of them a bound.
    """
    await remembered(
        redis, *(churn_alert(user_id="ada", offset=day) for day in range(1, KEPT_IDS + 1))
    )

    entries = [key for key in redis.state.strings if ":a:" in key]
    assert {KEPT_MS} == {redis.state.lifetimes_ms[key] for key in entries}
    assert KEPT_IDS == len(redis.state.zsets[keys.alert_ids("ada")])


async def test_nothing_leads_to_an_erased_user(redis: FakeRedis) -> None:
    """
    Forgetting takes every id of the user, and nobody else's.
    """
    gone, kept = churn_alert(user_id="ada"), churn_alert(user_id="grace")
    await remembered(redis, gone, churn_alert(user_id="ada", offset=2), kept)

    effects = Effects()
    await alert_index.forget(redis.client, "ada", effects)
    await save(redis, effects)

    assert await alert_index.find(redis.client, gone.alert_id) is None
    assert await alert_index.find(redis.client, kept.alert_id) is not None
    assert not [key for key in [*redis.state.strings, *redis.state.zsets] if key.endswith(":ada")]


async def test_an_entry_of_another_release_is_none(redis: FakeRedis) -> None:
    """
    What cannot be read counts as not there.
    """
    await redis.set(keys.alert_of("ada", "5f0c"), b"\xc1")

    assert await alert_index.find(redis.client, "5f0c") is None
