"""Reading the latest alerts."""

from __future__ import annotations

from alerts.policy import judge
from alerts.rules import DEFAULT
from contracts.alerts import ChurnAlert, encode_alert
from contracts.partition import shard
from contracts.times import to_ms
from runtime import keys
from runtime.recent_alerts import RecentAlerts
from runtime.testing import FakeRedis
from tests.churn_scores import churn_score


def opened(user_id: str, day: float) -> ChurnAlert:
    _, (alert,) = judge(None, churn_score(0.9, day, user_id=user_id), DEFAULT)
    return alert


async def stored(*alerts: ChurnAlert) -> FakeRedis:
    redis = FakeRedis()
    for alert in alerts:
        key = keys.recent_alerts(shard(alert.user_id))
        await redis.zadd(key, {encode_alert(alert): to_ms(alert.occurred_at)})
    return redis


async def test_the_newest_come_first_over_all_shards() -> None:
    """The limit counts over all shards together."""
    alerts = [opened(name, day) for day, name in enumerate("fancyhelloworld"[:9], start=1)]
    redis = await stored(*alerts)

    assert alerts[:3:-1] == await RecentAlerts(redis.client).latest(5)
    assert alerts[::-1] == await RecentAlerts(redis.client).latest(100)
    assert [] == await RecentAlerts(redis.client).latest(0)


async def test_an_alert_is_shown_once() -> None:
    """Two stored forms of one alert_id (of two releases, say) are one alert."""
    alert = opened("ada", 1)
    redis = await stored(alert)
    key = keys.recent_alerts(shard("ada"))
    await redis.zadd(key, {encode_alert(alert) + b" ": to_ms(alert.occurred_at)})

    assert [alert] == await RecentAlerts(redis.client).latest(10)


async def test_what_cannot_be_read_is_passed() -> None:
    """An alert no longer understood does not hide the others."""
    alert = opened("ada", 1)
    redis = await stored(alert)
    await redis.zadd(keys.recent_alerts(3), {b"{}": 1.0})

    assert [alert] == await RecentAlerts(redis.client).latest(10)
