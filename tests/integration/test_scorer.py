"""The scorer on real servers: facts once, in log order, whatever happens to log and store."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contracts.errors import ArtefactMismatch
from contracts.events import decode
from contracts.partition import home
from contracts.record import FACTS
from contracts.scores import ChurnScore, decode_score
from contracts.times import DAY_MS, HOUR_MS, MINUTE_MS, from_ms
from contracts.topics import ACTIVITY, CLOCK_HEADER, CLOCK_KEY, SCORES, dead_letter
from runtime.clock import wall_ms
from scorer.main import serve
from tests.integration.pipeline import (
    NOON,
    PARTITIONS,
    agreement,
    create_topic,
    delete_topic,
    eventually,
    producer,
    scorer,
    scorer_settings,
    send,
    stored,
    whole_log,
)
from tests.servers import KafkaServer, RedisServer, source


def history(users: int, events: int, seed: int = 1) -> list[dict[str, Any]]:
    """A mixed history: late events, duplicates, snapshots, statements, money."""
    random = np.random.default_rng(seed)
    kinds = ["page_view", "page_view", "login", "purchase", "return", "email_open", "snapshot"]
    made: list[dict[str, Any]] = []
    for number in range(events):
        at = NOON + number * 10 * MINUTE_MS
        event: dict[str, Any] = {
            "user_id": f"user-{random.integers(users)}",
            "type": str(random.choice(kinds)),
            "occurred_at": at - int(random.choice([0, 0, 0, HOUR_MS, 3 * DAY_MS, 40 * DAY_MS])),
            "log_time": at,
            "pages_visited": int(random.integers(0, 30)),
            "time_spent": float(random.integers(0, 600)) / 10,
            "value": float(random.integers(0, 9999)) / 100,
            "location": str(random.choice(["DE", "FR", "UK"])),
        }
        if random.random() < 0.5:
            event["event_id"] = f"id-{number}"
        made.append(event)
        if made[-1].get("event_id") and random.random() < 0.2:
            made.append(dict(event))
    return made


async def scores(kafka: KafkaServer) -> list[ChurnScore]:
    records = await whole_log(kafka, SCORES)
    return [decode_score(record.value) for record in records if record.value]


async def test_a_history_through_kafka_and_redis_equals_the_offline_fold(
    clean_kafka: KafkaServer, clean_redis: RedisServer
) -> None:
    """Duplicates, late events, snapshots and a foreign partitioner included, byte for byte."""
    settings = scorer_settings(clean_kafka, clean_redis)
    await create_topic(clean_kafka)
    async with scorer(settings), producer(clean_kafka) as client:
        events = history(users=60, events=1500)
        await send(client, events[:1000])
        await send(client, events[1000:], partition_of=lambda user_id: len(user_id) % PARTITIONS)

        facts = await agreement(clean_kafka, clean_redis, settings)

    assert 60 == len(facts)


async def test_a_foreign_partitioners_record_reaches_home_and_counts_once(
    clean_kafka: KafkaServer, clean_redis: RedisServer
) -> None:
    """A record on the wrong partition is republished at home with an id, and is counted there."""
    settings = scorer_settings(clean_kafka, clean_redis)
    await create_topic(clean_kafka)
    wrong = (home("ada", PARTITIONS) + 1) % PARTITIONS
    async with scorer(settings), producer(clean_kafka) as client:
        event = {"user_id": "ada", "type": "page_view", "occurred_at": NOON, "pages_visited": 3}
        await send(client, [event], partition_of=lambda _: wrong)

        await agreement(clean_kafka, clean_redis, settings)

        async def counted() -> bool:
            return 3 == np.frombuffer((await stored(clean_redis, ["ada"]))["ada"], FACTS)["pages"]

        await eventually(counted)
    at_home = [r for r in await whole_log(clean_kafka) if r.partition != wrong]
    assert [(f"1:{wrong}:0", NOON)] == [(decode(r.value).event_id, r.timestamp) for r in at_home]


async def test_a_topic_recreated_under_a_running_scorer_is_a_new_log(
    clean_kafka: KafkaServer, clean_redis: RedisServer
) -> None:
    """Refilled past the old offsets, its records count in full: they are not repeats."""
    settings = scorer_settings(clean_kafka, clean_redis)
    await create_topic(clean_kafka)
    async with scorer(settings):
        async with producer(clean_kafka) as client:
            await send(client, visits("ada", 5))
            await eventually(lambda: pages(clean_redis, "ada", 5))

        await delete_topic(clean_kafka)
        await create_topic(clean_kafka)
        async with producer(clean_kafka) as client:
            await send(client, visits("ada", 9, since=NOON + HOUR_MS))

            await eventually(lambda: pages(clean_redis, "ada", 14))
    facts = np.frombuffer((await stored(clean_redis, ["ada"]))["ada"], FACTS)
    assert (2, 8) == (facts["log_number"], facts["offset"])


async def test_a_store_restored_to_an_older_copy_loses_nothing(
    clean_kafka: KafkaServer, clean_redis: RedisServer
) -> None:
    """Under a live scorer Redis goes back some batches; the facts come back by themselves."""
    if source() == "external":
        pytest.fail("this promise cannot be checked on external servers")
    settings = scorer_settings(clean_kafka, clean_redis)
    await create_topic(clean_kafka)
    events = history(users=20, events=600, seed=2)
    async with scorer(settings), producer(clean_kafka) as client:
        await send(client, events[:200])
        await agreement(clean_kafka, clean_redis, settings)
        older = clean_redis.data.with_name("older-copy")
        shutil.copytree(clean_redis.data, older)
        await send(client, events[200:400])
        await agreement(clean_kafka, clean_redis, settings)

        clean_redis.stop()
        shutil.rmtree(clean_redis.data)
        shutil.move(older, clean_redis.data)
        clean_redis.start()
        await send(client, events[400:])

        await agreement(clean_kafka, clean_redis, settings)


async def test_an_idle_scorer_notices_a_store_that_went_back(
    clean_kafka: KafkaServer, clean_redis: RedisServer
) -> None:
    """No new event is needed: the scorer looks, and rereads what Redis forgot."""
    settings = scorer_settings(clean_kafka, clean_redis)
    await create_topic(clean_kafka)
    async with scorer(settings), producer(clean_kafka) as client:
        await send(client, visits("ada", 5))
        await agreement(clean_kafka, clean_redis, settings)

        clean_redis.wipe()

        await agreement(clean_kafka, clean_redis, settings)


async def test_two_scorers_share_partitions_and_take_over(
    clean_kafka: KafkaServer, clean_redis: RedisServer
) -> None:
    """Scorers join and leave under load; nobody's event counts twice or not at all."""
    settings = scorer_settings(clean_kafka, clean_redis)
    other = scorer_settings(clean_kafka, clean_redis)
    await create_topic(clean_kafka)
    events = history(users=50, events=900, seed=3)
    async with producer(clean_kafka) as client:
        async with scorer(settings):
            await send(client, events[:300])
            async with scorer(other):
                await send(client, events[300:600])
            await send(client, events[600:800])
        async with scorer(other):
            await send(client, events[800:])
            await agreement(clean_kafka, clean_redis, settings)


async def test_a_scorer_that_was_down_does_not_accuse_users_whose_return_is_unread(
    clean_kafka: KafkaServer, clean_redis: RedisServer
) -> None:
    """Timers due meanwhile wait until the backlog is read, on a wall clock too."""
    settings = scorer_settings(clean_kafka, clean_redis, clock="wall")
    await create_topic(clean_kafka)
    now = wall_ms() - 2 * HOUR_MS
    async with producer(clean_kafka) as client:
        async with scorer(settings):
            await send(client, visits("ada", 3, since=now - 20 * DAY_MS))
            await send(client, visits("bob", 1, since=now - 19 * DAY_MS))
            await agreement(clean_kafka, clean_redis, settings)
        before = len(await scores(clean_kafka))
        await send(client, visits("ada", 2, since=now))
        await send(client, visits("bob", 1, since=now))
        async with scorer(settings):
            await agreement(clean_kafka, clean_redis, settings)
            await eventually(lambda: silent_scores(clean_kafka, "bob"))

    after = [s for s in (await scores(clean_kafka))[before:] if s.user_id == "ada"]
    returned = from_ms(now)
    assert all(s.last_seen_at is not None and s.last_seen_at >= returned for s in after)


async def test_silence_is_noticed_on_a_stream_clock(
    clean_kafka: KafkaServer, clean_redis: RedisServer
) -> None:
    """A clock record, and nobody's event, makes the silent user's score rise."""
    settings = scorer_settings(clean_kafka, clean_redis)
    await create_topic(clean_kafka)
    async with scorer(settings), producer(clean_kafka) as client:
        await send(client, visits("ada", 3))
        await client.send_and_wait(
            ACTIVITY, b"", key=CLOCK_KEY, partition=home("ada", PARTITIONS),
            timestamp_ms=NOON + 9 * DAY_MS, headers=[(CLOCK_HEADER, b"")],
        )  # fmt: skip

        async def rose() -> bool:
            return any(s.churn_probability > 0.8 for s in await scores(clean_kafka))

        await eventually(rose)
    told = [s.churn_probability for s in await scores(clean_kafka) if s.trigger == "silence"]
    assert sorted(told) == told


async def test_a_model_of_other_fold_rules_is_refused(
    clean_kafka: KafkaServer, clean_redis: RedisServer, demo_model: Path
) -> None:
    """What it learned from was folded otherwise than what it would score."""
    settings = scorer_settings(clean_kafka, clean_redis, model_dir=demo_model, retention_days=100)

    with pytest.raises(ArtefactMismatch, match="fold"):
        await serve(settings, asyncio.Event())


async def test_records_that_do_not_decode_are_parked_with_their_bytes(
    clean_kafka: KafkaServer, clean_redis: RedisServer
) -> None:
    """Garbage stops nobody; it lies in the dead letters as it came, with the reason."""
    settings = scorer_settings(clean_kafka, clean_redis)
    await create_topic(clean_kafka)
    garbage = [
        b"\xff\xfe",
        b"[" * 5000,
        b'{"user_id": 7}',
        b"",
        b'{"user_id":"a","type":"x","x":1}',
    ]
    async with scorer(settings), producer(clean_kafka) as client:
        for value in garbage:
            await client.send_and_wait(ACTIVITY, value, key=b"k", partition=1, timestamp_ms=NOON)
        await send(client, visits("ada", 2))
        await eventually(lambda: pages(clean_redis, "ada", 2))

        async def parked() -> bool:
            return len(garbage) == len(await whole_log(clean_kafka, dead_letter(ACTIVITY)))

        await eventually(parked)
    letters = await whole_log(clean_kafka, dead_letter(ACTIVITY))
    assert sorted(garbage) == sorted(letter.value for letter in letters)
    assert all(dict(letter.headers)["ebbtide-reason"] for letter in letters)


def visits(user_id: str, count: int, since: int = NOON) -> list[dict[str, Any]]:
    """One page a minute."""
    return [
        {
            "user_id": user_id,
            "type": "page_view",
            "occurred_at": since + i * MINUTE_MS,
            "pages_visited": 1,
        }
        for i in range(count)
    ]


async def pages(redis: RedisServer, user_id: str, count: int) -> bool:
    facts = np.frombuffer((await stored(redis, [user_id]))[user_id], FACTS)
    return bool(facts["pages"] == count)


async def silent_scores(kafka: KafkaServer, user_id: str) -> bool:
    told = await scores(kafka)
    return any(score.user_id == user_id and score.trigger == "silence" for score in told)
