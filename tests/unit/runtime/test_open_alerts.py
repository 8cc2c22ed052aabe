"""Open alerts, as readers see them."""

from __future__ import annotations

import pytest

from alerts import episode as episodes
from alerts.episode import Episode, OpenEpisode, Pending
from runtime import keys, open_alerts
from runtime.testing import FakeRedis

OPEN = OpenEpisode(
    dedup_key=b"\x01" * 16, opened_at=5, probability=0.75, escalated_at=6, rule="vip",
    severity="critical", arm="control", acknowledged_at=7, snoozed_until=8, commanded_at=9,
    threshold=0.5,
)  # fmt: skip


async def test_a_reader_sees_what_the_alerts_worker_stored() -> None:
    """Field by field, in the order of the users; nothing where no episode is open or known."""
    redis = FakeRedis()
    await keep(redis, "ada", OPEN)
    await keep(redis, "bob", None)

    ada, bob, nobody = await open_alerts.of_users(redis.client, ["ada", "bob", "nobody"])

    assert ada is not None
    assert {name: getattr(OPEN, name) for name in ada.__struct_fields__} == {
        name: getattr(ada, name) for name in ada.__struct_fields__
    }
    assert (None, None) == (bob, nobody)


async def test_an_episode_without_a_rule_is_of_the_default_one() -> None:
    """A release that knew one rule only named none."""
    redis = FakeRedis()
    await keep(redis, "ada", OpenEpisode(b"\x01" * 16, 5, 0.75, None))

    [ada] = await open_alerts.of_users(redis.client, ["ada"])

    assert ada is not None
    assert ("default", "treated") == (ada.rule, ada.arm)


@pytest.mark.parametrize("stored", [b"", b"\x09\x95", b"\x02\xff", b"\x02\x01"])
async def test_what_cannot_be_read_is_no_alert(stored: bytes) -> None:
    """A list is not the place to fail for an episode of another release."""
    redis = FakeRedis()
    await redis.set(keys.episode("ada"), stored)  # type: ignore[arg-type]

    assert [None] == await open_alerts.of_users(redis.client, ["ada"])


async def keep(redis: FakeRedis, user_id: str, opened: OpenEpisode | None) -> None:
    """Store an episode as the worker does."""
    state = Episode(
        log=1, offset=2, scored_at=3, alerted_at=4, open=opened, churned=False,
        pending=(Pending("default", 4),),
    )  # fmt: skip
    await redis.set(keys.episode(user_id), episodes.encode(state))
