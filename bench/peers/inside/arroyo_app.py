"""arroyo (sentry-arroyo): batch, score, unbatch, produce, commit.

`python arroyo_app.py BOOTSTRAP INPUT OUTPUT GROUP REDIS_URL IDEMPOTENT`
https://getsentry.github.io/arroyo/strategies/index.html
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

import msgspec
from arroyo.backends.kafka import KafkaConsumer, KafkaPayload, KafkaProducer
from arroyo.backends.kafka.configuration import (
    build_kafka_configuration,
    build_kafka_consumer_configuration,
)
from arroyo.processing import StreamProcessor
from arroyo.processing.strategies import (
    BatchStep,
    CommitOffsets,
    ProcessingStrategy,
    ProcessingStrategyFactory,
    Produce,
    RunTask,
    UnbatchStep,
)
from arroyo.processing.strategies.batching import ValuesBatch
from arroyo.types import Commit, Message, Partition, Topic
from classifier import Classifier
from redis import Redis
from scoring import Batch

BATCH = int(os.environ.get("PEER_BATCH", "2000"))
SECONDS = 0.1


class Scoring(ProcessingStrategyFactory[KafkaPayload]):
    """The steps for the partitions at hand."""

    def __init__(self, bootstrap: str, target: str, url: str, idempotent: bool) -> None:
        self._redis = Redis.from_url(url)
        self._classifier = Classifier()
        self._target = Topic(target)
        self._producer = KafkaProducer(
            build_kafka_configuration(
                {"enable.idempotence": idempotent, "queue.buffering.max.messages": 500_000},
                bootstrap_servers=[bootstrap],
            )
        )

    def create_with_partitions(
        self, commit: Commit, partitions: Mapping[Partition, int]
    ) -> ProcessingStrategy[KafkaPayload]:
        produce = Produce(self._producer, self._target, CommitOffsets(commit), 100_000)
        unbatch: Any = UnbatchStep(produce)
        return BatchStep(BATCH, SECONDS, RunTask(self._score, unbatch))

    def _score(self, message: Message[ValuesBatch[KafkaPayload]]) -> ValuesBatch[KafkaPayload]:
        values = message.payload
        batch = Batch([msgspec.json.decode(value.payload.value) for value in values])
        with self._redis.pipeline(transaction=False) as pipe:
            batch.read(pipe)
            scores = batch.scored(pipe.execute(), self._classifier)
        with self._redis.pipeline(transaction=False) as pipe:
            batch.write(pipe)
            pipe.execute()
        return [
            value.replace(KafkaPayload(value.payload.key, score, []))
            for value, score in zip(values, scores, strict=True)
        ]


def main() -> None:
    bootstrap, source, target, group, url, idempotent = sys.argv[1:]
    consumer = KafkaConsumer(
        build_kafka_consumer_configuration(
            {}, bootstrap_servers=[bootstrap], auto_offset_reset="earliest", group_id=group
        )
    )
    factory = Scoring(bootstrap, target, url, idempotent == "true")
    processor = StreamProcessor(consumer, Topic(source), factory)
    signal.signal(signal.SIGTERM, lambda *_: processor.signal_shutdown())
    processor.run()


if __name__ == "__main__":
    main()
