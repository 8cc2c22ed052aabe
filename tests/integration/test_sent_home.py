"""Records that another partitioner put elsewhere count once, however often they are sent home."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from contracts.partition import home
from contracts.record import FACTS
from ebbtide.commands.rebuild import rebuild
from runtime.arrivals import source_of
from tests.integration.pipeline import (
    NOON,
    PARTITIONS,
    agreement,
    create_topic,
    eventually,
    producer,
    scorer,
    scorer_settings,
    send,
    stored,
    whole_log,
)
from tests.integration.test_scorer import visits
from tests.servers import KafkaServer, RedisServer, source

EVENTS, SAVES = 90, 6
MINUTES = 60_000


async def test_a_store_that_forgot_many_saves_counts_what_was_sent_home_once(
    clean_kafka: KafkaServer, clean_redis: RedisServer
) -> None:
    """More go home again than the duplicate window holds; then the store forgets everything."""
    if source() == "external":
        pytest.fail("this promise cannot be checked on external servers")
    settings = scorer_settings(clean_kafka, clean_redis)
    await create_topic(clean_kafka)
    wrong = (home("ada", PARTITIONS) + 1) % PARTITIONS
    size = EVENTS // SAVES

    async def counted(events: int) -> bool:
        facts = np.frombuffer((await stored(clean_redis, ["ada"]))["ada"], FACTS)
        return bool(facts["events"] == events == facts["pages"])

    async def copies() -> int:
        records = await whole_log(clean_kafka)
        return sum(source_of(record.headers) is not None for record in records)

    async def copied(at_least: int) -> bool:
        return await copies() >= at_least

    older = clean_redis.data.with_name("older-copy")
    async with scorer(settings), producer(clean_kafka) as client:
        for save in range(SAVES):
            chunk = visits("ada", size, since=NOON + save * size * MINUTES)
            await send(client, chunk, partition_of=lambda _: wrong)
            await eventually(lambda done=(save + 1) * size: counted(done))  # type: ignore[misc]
            if save == 0:
                shutil.copytree(clean_redis.data, older)

        clean_redis.stop()
        shutil.rmtree(clean_redis.data)
        shutil.move(older, clean_redis.data)
        clean_redis.start()
        await eventually(lambda: copied(2 * EVENTS - size))
        await agreement(clean_kafka, clean_redis, settings)
        assert await counted(EVENTS)

        before = await stored(clean_redis, ["ada"])
        assert len(await whole_log(clean_kafka)) == (await rebuild(settings)).events
        assert before == await stored(clean_redis, ["ada"])

        clean_redis.wipe()
        await eventually(lambda: copied(3 * EVENTS - size))
        await agreement(clean_kafka, clean_redis, settings)
        assert await counted(EVENTS)
