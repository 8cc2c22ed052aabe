"""Bad input through Kafka, on real servers: each record ends where docs/ingest.md says."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.record.util import calc_crc32c

from contracts.partition import home
from contracts.record import FACTS
from contracts.times import DAY_MS, HOUR_MS, MINUTE_MS
from contracts.topics import ACTIVITY, CLOCK_HEADER, dead_letter
from runtime.letters import Letter, Original, unpack
from tests.integration.pipeline import (
    NOON,
    PARTITIONS,
    agreement,
    create_topic,
    eventually,
    scorer,
    scorer_settings,
    stored,
    whole_log,
)
from tests.servers import KafkaServer, RedisServer

DOCS = Path(__file__).parents[2] / "docs" / "ingest.md"
COUNTED, PASSED_OVER, ERASED = "counted", "passed over", "erased"


@dataclass(frozen=True)
class Case:
    """A record, and what comes of it: COUNTED, PASSED_OVER, ERASED, or why it is parked."""

    outcome: str
    value: bytes | None
    key: bytes | None = b"{user}"
    headers: tuple[tuple[str, bytes | None], ...] = ()
    timestamp: int = NOON + HOUR_MS
    compression: str | None = None
    spoil: tuple[bytes, bytes] | None = None
    """Bytes of the batch to be replaced by others, behind the back of the client."""


def event(**fields: Any) -> bytes:
    return json.dumps({"user_id": "{user}", "type": "page_view", **fields}).encode()


def tail(text: str) -> bytes:
    """An event whose JSON ends with the text."""
    return event().removesuffix(b"}") + f",{text}}}".encode()


LARGE = 65_537
CASES = {
    "garbage bytes": Case("not a JSON event", b"\x00\xff\xfegarbage"),
    "zero-length value": Case("not a JSON event", b""),
    "invalid UTF-8": Case("not a JSON event", event(plan="?").replace(b"?", b"\xff")),
    "half a surrogate pair": Case("not a JSON event", tail(r'"plan": "\ud800"')),
    "deep nesting": Case("nested more than 64", tail('"properties": {"a": ' + "[" * 5_000)),
    "NaN or Infinity": Case("not a JSON event", tail('"value": NaN')),
    "wrong types": Case("pages_visited: Expected `int", event(pages_visited="12")),
    "a number without end": Case("pages_visited: Expected", tail('"pages_visited": ' + "9" * 400)),
    "such a number in properties": Case(
        "Integer value", tail('"properties": {"n": ' + "9" * 5_000 + "}")
    ),
    "unknown field": Case("colour: not a field", event(colour="red")),
    "missing field": Case("type: required", b'{"user_id": "{user}"}'),
    "newer schema version": Case("upgrade Ebbtide", event(schema_version=2)),
    "more than 64 KiB": Case("at most 65536", event(properties={"text": "a" * LARGE})),
    "huge value, compressed": Case("at most 65536", b"0" * 20_000_000, compression="gzip"),
    "enormous headers": Case(
        "not a JSON event", b"{", headers=tuple(("h", b"%d" % i) for i in range(60_000)),
        compression="gzip",
    ),
    "huge key": Case("not a JSON event", b"{", key=b"k" * 500_000),
    "headers without value": Case(
        "not a JSON event", b"{", headers=(("a", None), ("a", b""), ("b", b"1"))
    ),
    "later than its log time": Case("a day later", event(occurred_at=NOON + 3 * DAY_MS)),
    "no user_id": Case("user_id: Expected `str` of length >= 1", event(user_id="")),
    "user_id with control characters": Case("control characters", event(user_id="a\nb")),
    "null value, null key": Case("needs the user_id as its key", None, key=None),
    "null value, key no text": Case("the key is not UTF-8", None, key=b"\xff\xfe"),
    "null value, key too long": Case("1 to 256 characters", None, key=b"k" * 257),
    "null value": Case(ERASED, None),
    "null key": Case(COUNTED, event(), key=None),
    "key of somebody else": Case(COUNTED, event(), key=b"somebody-else"),
    "duplicate JSON keys": Case(COUNTED, tail('"pages_visited": 7, "pages_visited": 1')),
    "header name no text": Case(
        COUNTED, event(), headers=(("HHHH", b"x"),), spoil=(b"HHHH", b"H\xff\xfeH")
    ),
    "occurred long ago": Case(COUNTED, event(occurred_at=0)),
    "clock header": Case(PASSED_OVER, event(), headers=((CLOCK_HEADER, b""),)),
    "compressed": Case(COUNTED, event(), compression="lz4"),
}  # fmt: skip


def user_of(name: str) -> str:
    return name.replace(" ", "-").replace(",", "")


def filled(data: bytes | None, name: str) -> bytes | None:
    return data and data.replace(b"{user}", user_of(name).encode())


def wanted(name: str) -> Original:
    case = CASES[name]
    return Original(filled(case.key, name), filled(case.value, name), case.headers, case.timestamp)


async def put(kafka: KafkaServer, name: str, partition: int) -> None:
    """Produce the record of a case, as a client of a kind would."""
    case, record = CASES[name], wanted(name)
    client = AIOKafkaProducer(
        bootstrap_servers=kafka.bootstrap,
        compression_type=case.compression,
        max_request_size=2**30,
        max_batch_size=2**30,
    )
    await client.start()
    try:
        batch = client.create_batch()
        batch.append(
            key=record.key,
            value=record.value,
            timestamp=record.timestamp,
            headers=list(record.headers),
        )
        batch.close()
        if case.spoil is not None:
            made = bytearray(bytes(batch._build()).replace(*case.spoil))
            struct.pack_into(">I", made, 17, calc_crc32c(bytes(made[21:])))
            batch._buffer = made
        await (await client.send_batch(batch, ACTIVITY, partition=partition))
    finally:
        await client.stop()


async def letters(kafka: KafkaServer, topic: str = ACTIVITY) -> list[Letter]:
    found: list[Letter] = []
    records = await whole_log(kafka, dead_letter(topic))
    for partition in range(PARTITIONS):
        found += unpack([record for record in records if record.partition == partition])
    return found


def visit(name: str, at: int) -> bytes:
    return json.dumps(
        {"user_id": user_of(name), "type": "page_view", "occurred_at": at, "pages_visited": 1}
    ).encode()


async def test_every_bad_record_ends_where_the_documentation_says(
    clean_kafka: KafkaServer, clean_redis: RedisServer
) -> None:
    """The scorer goes on, facts are right, and each dead letter is the record to the byte."""
    settings = scorer_settings(clean_kafka, clean_redis)
    await create_topic(clean_kafka)
    sent_to: dict[str, tuple[int, int]] = {}
    async with (
        scorer(settings),
        AIOKafkaProducer(bootstrap_servers=clean_kafka.bootstrap) as client,
    ):
        for name in CASES:
            partition = home(user_of(name), PARTITIONS)
            before, after = visit(name, NOON), visit(name, NOON + 2 * HOUR_MS)
            for value, at in ((before, NOON), (None, 0), (after, NOON + 2 * HOUR_MS)):
                if value is None:
                    await put(clean_kafka, name, partition)
                else:
                    await client.send_and_wait(
                        ACTIVITY, value, key=user_of(name).encode(), partition=partition,
                        timestamp_ms=at,
                    )  # fmt: skip

        await agreement(clean_kafka, clean_redis, settings)
        for record in await whole_log(clean_kafka):
            if record.timestamp == NOON + HOUR_MS:
                sent_to[f"1:{record.partition}:{record.offset}"] = record
        parked = {name for name, case in CASES.items() if case.outcome not in _KEPT}

        async def all_parked() -> bool:
            return len(parked) == len(await letters(clean_kafka))

        await eventually(all_parked)
        facts = await stored(clean_redis, map(user_of, CASES))

    pages = {name: int(np.frombuffer(facts[user_of(name)], FACTS)["pages"][0]) for name in CASES}
    assert {name: _PAGES.get(case.outcome, 2) for name, case in CASES.items()} == pages
    told = await letters(clean_kafka)
    for name in parked:
        (letter,) = [one for one in told if wanted(name) == one.original]
        assert CASES[name].outcome in letter.reason, name
        source = sent_to[letter.source]
        assert (source.partition, wanted(name).key) == (letter.source_partition, source.key)


_KEPT = {COUNTED, PASSED_OVER, ERASED}
_PAGES = {COUNTED: 3, ERASED: 1}


def test_the_documentation_lists_these_records() -> None:
    """Each row of the table is a record driven through above, and none is missing."""
    rows = [line.split("|") for line in DOCS.read_text().splitlines() if line.startswith("| ")]
    table = {cells[1].strip(): cells[2].strip() for cells in rows if len(cells) > 3}

    told = {name: table.get(name, "").split(":")[0] for name in CASES}

    assert {
        name: case.outcome if case.outcome in _KEPT else "parked" for name, case in CASES.items()
    } == told


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
async def test_compressed_batches_are_read(
    clean_kafka: KafkaServer, clean_redis: RedisServer, codec: str
) -> None:
    """Whatever a producer compresses with."""
    settings = scorer_settings(clean_kafka, clean_redis)
    await create_topic(clean_kafka)
    partition = home("ada", PARTITIONS)
    async with (
        scorer(settings),
        AIOKafkaProducer(bootstrap_servers=clean_kafka.bootstrap, compression_type=codec) as client,
    ):
        for minute in range(20):
            at = NOON + minute * MINUTE_MS
            await client.send(
                ACTIVITY, visit("ada", at), key=b"ada", partition=partition, timestamp_ms=at
            )
        await client.flush()

        async def counted() -> bool:
            facts = np.frombuffer((await stored(clean_redis, ["ada"]))["ada"], FACTS)
            return bool(facts["pages"][0] == 20)

        await eventually(counted)
