"""Alerts that went out, read back: from a file, or from `churn-alert` itself."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from contracts.alerts import AlertKind, Arm
from contracts.errors import BadRecord, LogUnavailable, Misconfigured
from contracts.scores import Moment
from contracts.times import to_ms
from contracts.topics import ALERTS
from model.effect import Alerted
from model.event_log import EventLog
from runtime.kafka import at_end
from runtime.settings import ServiceSettings
from runtime.topic_id import TopicIds

_MANY_MS: Final = 500


class _Alert(msgspec.Struct, frozen=True):
    """What of a `churn-alert` message matters here."""

    user_id: str
    kind: AlertKind
    occurred_at: Moment
    arm: Arm = "treated"
    horizon_days: float | None = None


@dataclass(frozen=True)
class Found:
    """Opened alerts about users of a log."""

    alerted: Alerted
    unknown: int
    """How many were about users the log does not know."""
    horizon_days: float | None
    """What the latest of them foresees."""


Line = tuple[str, bytes]
"""Where it stands, for a person, and the JSON."""


def lines_of(path: Path) -> Iterator[Line]:
    """The lines of a file; raises Misconfigured when it cannot be read."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Misconfigured(f"cannot read {path}: {error.strerror or error}") from error
    for number, line in enumerate(content.splitlines(), start=1):
        if line.strip():
            yield f"{path}, line {number}", line


def lines_on(settings: ServiceSettings) -> list[Line]:
    """Everything on `churn-alert` at present; raises LogUnavailable."""
    return asyncio.run(_read(settings))


def opened(lines: Iterable[Line], log: EventLog, since: int | None = None) -> Found:
    """The `opened` alerts among the lines, from `since` (epoch ms) on.

    Raises BadRecord naming the place of what is no alert.
    """
    index = {name: number for number, name in enumerate(log.user_ids)}
    decoder = msgspec.json.Decoder(_Alert)
    user, at, treated = [], [], []
    unknown, horizon, latest = 0, None, None
    for place, line in lines:
        try:
            alert = decoder.decode(line)
        except msgspec.MsgspecError as error:
            raise BadRecord(f"{place}: not a churn alert: {error}") from None
        moment = to_ms(alert.occurred_at)
        if alert.kind != "opened" or (since is not None and moment < since):
            continue
        if latest is None or moment >= latest:
            latest, horizon = moment, alert.horizon_days
        if alert.user_id not in index:
            unknown += 1
            continue
        user.append(index[alert.user_id])
        at.append(moment)
        treated.append(alert.arm == "treated")
    alerted = Alerted(np.array(user, np.int64), np.array(at, np.int64), np.array(treated, bool))
    return Found(alerted, unknown, horizon)


async def _read(settings: ServiceSettings) -> list[Line]:
    servers = settings.kafka_bootstrap_servers
    ids = TopicIds(servers)
    try:
        topic = await ids.incarnation(ALERTS)
    finally:
        await ids.close()
    partitions = [TopicPartition(ALERTS, n) for n in range(topic.partitions if topic else 0)]
    if not partitions:
        return []
    consumer = AIOKafkaConsumer(
        bootstrap_servers=servers, auto_offset_reset="none", isolation_level="read_committed"
    )
    found: list[Line] = []
    try:
        await consumer.start()
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        while not await at_end(consumer, partitions):
            for tp, batch in (await consumer.getmany(timeout_ms=_MANY_MS)).items():
                found += [
                    (f"{ALERTS} {tp.partition}:{record.offset}", record.value)
                    for record in batch
                    # Tombstones and clock records say nothing of anybody.
                    if record.value
                ]
    except (KafkaError, OSError, TimeoutError) as error:
        raise LogUnavailable(f"Kafka at {servers}, reading {ALERTS}: {error!r}") from error
    finally:
        await consumer.stop()
    return found
