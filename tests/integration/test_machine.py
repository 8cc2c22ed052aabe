"""What is told of the machine, on real servers: who works, how far behind, what was parked."""

from __future__ import annotations

import asyncio
import json
from functools import partial

import numpy as np

from contracts.partition import home
from contracts.times import MINUTE_MS
from contracts.topics import ACTIVITY, dead_letter
from ingest_api.log import KafkaLog
from ingest_api.system import Look, Machine, SystemPage, TopicLag
from runtime.letter_box import LetterBox
from runtime.letter_log import LetterLog
from runtime.log_ends import LogEnds
from runtime.store import connect
from runtime.user_sample import draw
from tests.integration.pipeline import (
    NOON,
    PARTITIONS,
    create_topic,
    eventually,
    producer,
    scorer,
    scorer_settings,
)
from tests.servers import KafkaServer, RedisServer

USERS = [f"user-{number}" for number in range(20)]


def visit(user: str) -> bytes:
    return json.dumps({"user_id": user, "type": "page_view"}).encode()


def activity(page: SystemPage) -> TopicLag:
    return next(topic for topic in page.topics if topic.topic == ACTIVITY)


async def test_the_machine_is_told_as_it_is(
    clean_kafka: KafkaServer, clean_redis: RedisServer
) -> None:
    """A scorer at work, what it could not read, and to the record what it leaves unread."""
    settings = scorer_settings(clean_kafka, clean_redis)
    await create_topic(clean_kafka)
    redis, ends, letters = connect(settings.redis_url), LogEnds(settings), LetterLog(settings)
    log = KafkaLog(settings)
    connecting = asyncio.create_task(log.run())

    async def page() -> SystemPage:
        look = Look(
            Machine(redis, ends, letters, partial(LetterBox, settings)),
            ping_kafka=log.ping, clock="stream", model_version="m",
        )  # fmt: skip
        return await look.page()

    async def is_caught_up() -> bool:
        found = await page()
        return (
            activity(found).lag == 0
            and found.newest_event is not None
            and [20] == [worker.totals.get("events", 0) - 1 for worker in found.workers or ()]
        )

    try:
        async with producer(clean_kafka) as client:
            send = partial(client.send_and_wait, ACTIVITY)
            async with scorer(settings):
                for user in USERS:
                    await send(
                        visit(user), key=user.encode(), partition=home(user, PARTITIONS),
                        timestamp_ms=NOON,
                    )  # fmt: skip
                await send(b"\xff", key=b"ada", partition=0, timestamp_ms=NOON)
                await eventually(is_caught_up)
                told = await page()
                assert ("ok", "ok", ()) == (told.kafka.state, told.redis.state, told.troubles)
                assert "scorer" not in told.missing
                [worker] = told.workers or ()
                assert {worker.id} == {one.worker for one in activity(told).partitions}
                assert 20 == sum(timers.waiting for timers in told.timers or ())

            # In one batch: the embedded broker names its beginning as the end.
            batch = client.create_batch()
            for number in range(3):
                batch.append(
                    key=USERS[0].encode(), value=visit(USERS[0]),
                    timestamp=NOON + number * MINUTE_MS,
                )  # fmt: skip
            await (await client.send_batch(batch, ACTIVITY, partition=home(USERS[0], PARTITIONS)))
        left = await page()
        assert (3, True) == (activity(left).lag, "scorer" in left.missing)
        assert () == left.workers

        parked = (await ends.of([dead_letter(ACTIVITY)]))[dead_letter(ACTIVITY)].partitions
        newest = await letters.newest(ACTIVITY, parked, 100)
        assert [b"\xff"] == [letter.original.value for letter in newest.letters]
        assert newest.letters == tuple([letter async for letter in letters.every(ACTIVITY)])

        drawn = await draw(redis, 7, np.random.default_rng(1))
        assert (20, 7) == (drawn.population, len(set(drawn.user_ids) & set(USERS)))
    finally:
        connecting.cancel()
        await asyncio.gather(connecting, return_exceptions=True)
        await ends.close()
        await redis.aclose()
