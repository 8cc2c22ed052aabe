"""`POST /dead-letters/replay` and `/accept` on real servers: once, and told when it was read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import numpy as np
from httpx2 import ASGITransport, AsyncClient

from contracts.partition import home
from contracts.record import FACTS
from contracts.topics import ACTIVITY
from ingest_api.access_gate import Access
from ingest_api.app import create_app
from ingest_api.audit import RedisAudit
from ingest_api.log import KafkaLog
from ingest_api.records import RedisUsers
from ingest_api.system import Machine
from runtime import keys
from runtime.letter_box import LetterBox
from runtime.letter_log import LetterLog
from runtime.log_ends import LogEnds
from runtime.store import connect
from scorer.settings import ScorerSettings
from tests.integration.pipeline import (
    NOON,
    PARTITIONS,
    create_topic,
    eventually,
    producer,
    scorer,
    scorer_settings,
    stored,
)
from tests.servers import KafkaServer, RedisServer
from tests.unit.ingest_api.stand import a_model


@asynccontextmanager
async def gateway(settings: ScorerSettings) -> AsyncIterator[AsyncClient]:
    """The app in this process, on the test's servers."""
    redis, ends = connect(settings.redis_url), LogEnds(settings)
    log = KafkaLog(settings)
    app = create_app(
        model=a_model(),
        log=log,
        reader=RedisUsers(redis),
        access=Access(allowed_hosts=("gateway",), audit=RedisAudit(redis)),
        machine=Machine(redis, ends, LetterLog(settings), partial(LetterBox, settings)),
        background=[log.run, ends.run],
    )
    transport = ASGITransport(app=app)
    try:
        async with (
            app.router.lifespan_context(app),
            AsyncClient(transport=transport, base_url="http://gateway", timeout=30) as client,
        ):
            yield client
    finally:
        await redis.aclose()


async def pages(redis: RedisServer, user_id: str) -> int:
    found = (await stored(redis, [user_id]))[user_id]
    return int(np.frombuffer(found, FACTS)["pages"][0]) if found else 0


async def test_letters_go_back_once_and_it_is_told_when_they_were_read(
    clean_kafka: KafkaServer, clean_redis: RedisServer
) -> None:
    """A corrected one counts once, however often and at once it is asked for; one that is as bad as
    before stays.
    """
    settings = scorer_settings(clean_kafka, clean_redis)
    await create_topic(clean_kafka)

    async def ask(http: AsyncClient, **order: Any) -> dict[str, Any]:
        answer = await http.post("/dead-letters/replay", json=order)
        return dict(answer.json(), status=answer.status_code)

    async with scorer(settings), producer(clean_kafka) as client, gateway(settings) as http:
        bad = b'{"user_id": "ada", "type": "page_view", "pages_visited": "3", "event_id": "e-7"}'
        for value in (bad, b"\xff"):
            await client.send_and_wait(
                ACTIVITY, value, key=b"ada", partition=home("ada", PARTITIONS), timestamp_ms=NOON
            )

        async def listed() -> list[dict[str, Any]]:
            return list((await http.get("/dead-letters")).json()["letters"])

        async def all_parked() -> bool:
            # The look is kept for some seconds: another reason is no other look.
            return bool((await ask(http, all=True, dry_run=True)).get("stay") == 2)

        await eventually(all_parked)
        first = next(one["id"] for one in await listed() if "pages_visited" in one["reason"])
        fixed = json.dumps({"user_id": "ada", "type": "page_view", "pages_visited": 3})

        answers = await asyncio.gather(*(ask(http, letters=[first], value=fixed) for _ in range(3)))
        went = [answer for answer in answers if answer.get("went_back") == 1]
        assert 1 == len(went)
        assert {200, 503} >= {answer["status"] for answer in answers}
        again = await ask(http, letters=[first], value=fixed)
        assert (0, 1) == (again["went_back"], again["stay"])

        [until] = went[0]["read_when"]

        async def was_read() -> bool:
            topics = (await http.get("/system")).json()["topics"]
            [reader] = [one for one in topics if one["topic"] == one["ledger"] == ACTIVITY]
            marks = {one["partition"]: one["watermark"] for one in reader["partitions"]}
            return bool((marks.get(until["partition"]) or 0) >= until["offset"])

        await eventually(was_read)
        assert 3 == await pages(clean_redis, "ada")
        assert {first: True} == {
            one["id"]: one["replayed"] for one in await listed() if one["id"] == first
        }


async def test_a_held_partition_goes_on_once(
    clean_kafka: KafkaServer, clean_redis: RedisServer
) -> None:
    """What comes after the hold is read; the place it was not held at is no way on."""
    settings = scorer_settings(clean_kafka, clean_redis)
    await create_topic(clean_kafka)
    partition = home("ada", PARTITIONS)
    redis = connect(settings.redis_url)
    try:
        async with producer(clean_kafka) as client, scorer(settings), gateway(settings) as http:
            for number in range(100):
                await client.send(
                    ACTIVITY, b"\xff", key=b"k%d" % (number % 5), partition=partition,
                    timestamp_ms=NOON,
                )  # fmt: skip
            await client.flush()

            async def held() -> list[Any]:
                return list(await redis.zrange(keys.held(ACTIVITY), 0, -1))

            async def is_held() -> bool:
                return bool(await held())

            await eventually(is_held)
            await client.send_and_wait(
                ACTIVITY, b'{"user_id": "ada", "type": "page_view", "pages_visited": 2}',
                key=b"ada", partition=partition, timestamp_ms=NOON,
            )  # fmt: skip
            place = (await held())[0].decode().split("@")[1]
            statuses = [
                (
                    await http.post(
                        "/dead-letters/accept", json={"partition": partition, "held": at}
                    )
                ).status_code
                for at in ("7:1", place, place)
            ]
            assert [422, 200, 422] == statuses

            async def counted() -> bool:
                return await pages(clean_redis, "ada") == 2

            await eventually(counted)
    finally:
        await redis.aclose()
