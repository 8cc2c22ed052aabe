"""FastStream: a batch subscriber, users in Redis hashes read and written in pipelines.

`python faststream_app.py BOOTSTRAP INPUT OUTPUT GROUP REDIS_URL`
https://faststream.ag2.ai/latest/kafka/Subscriber/batch_subscriber/: one batch read, one
`predict_proba`, one batch published; offsets are committed after the batch.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from typing import Any

import msgspec
from classifier import Classifier
from faststream import AckPolicy, FastStream
from faststream.kafka import KafkaBroker, KafkaMessage
from redis.asyncio import Redis
from scoring import Batch

BATCH = int(os.environ.get("PEER_BATCH", "2000"))


async def main() -> None:
    bootstrap, source, target, group, url = sys.argv[1:]
    redis = Redis.from_url(url)
    classifier = Classifier()
    # A published batch must fit; the default of 16 KiB holds some two hundred scores.
    broker = KafkaBroker(bootstrap, logger=None, max_batch_size=1024 * 1024)

    async def decoded(message: KafkaMessage) -> list[dict[str, Any]]:
        return [msgspec.json.decode(body) for body in message.body]

    @broker.subscriber(
        source,
        batch=True,
        max_records=BATCH,
        group_id=group,
        auto_offset_reset="earliest",
        ack_policy=AckPolicy.REJECT_ON_ERROR,
        decoder=decoded,
    )
    async def score(events: list[dict[str, Any]]) -> None:
        batch = Batch(events)
        async with redis.pipeline(transaction=False) as pipe:
            batch.read(pipe)
            states = await pipe.execute()
        scores = batch.scored(states, classifier)
        async with redis.pipeline(transaction=False) as pipe:
            batch.write(pipe)
            await pipe.execute()
        await broker.publish_batch(*scores, topic=target)

    await FastStream(broker, logger=None).run(log_level=logging.WARNING)


if __name__ == "__main__":
    asyncio.run(main())
