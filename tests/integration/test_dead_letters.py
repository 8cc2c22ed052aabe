"""`ebbtide dead-letters` on real servers: look, correct, send back once."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from contracts.events import decode
from contracts.partition import home
from contracts.record import FACTS
from contracts.times import HOUR_MS, from_ms
from contracts.topics import ACTIVITY
from tests.integration.pipeline import (
    NOON,
    PARTITIONS,
    create_topic,
    eventually,
    producer,
    scorer,
    scorer_settings,
    stored,
    whole_log,
)
from tests.servers import KafkaServer, RedisServer


class Console:
    """The command line against the test's servers."""

    def __init__(self, kafka: KafkaServer, redis: RedisServer) -> None:
        self._env = {
            "EBBTIDE_KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap,
            "EBBTIDE_REDIS_URL": redis.url,
            "PATH": "/usr/bin:/bin",
        }

    async def __call__(self, *words: str, given: bytes = b"") -> tuple[int, str, str]:
        """Exit code, stdout, stderr."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "ebbtide", "dead-letters", *words),
            env=self._env,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, error = await process.communicate(given)
        assert process.returncode is not None
        return process.returncode, out.decode(), error.decode()

    async def listed(self, *words: str) -> list[dict[str, Any]]:
        code, out, error = await self("list", "--json", *words)
        assert 0 == code, error
        return [json.loads(line) for line in out.splitlines()]


async def pages(redis: RedisServer, user_id: str, count: int) -> bool:
    facts = np.frombuffer((await stored(redis, [user_id]))[user_id], FACTS)
    return bool(facts["pages"][0] == count)


async def test_a_corrected_record_goes_back_once(
    clean_kafka: KafkaServer, clean_redis: RedisServer, tmp_path: Path
) -> None:
    """With its id and log time; as it was it stays, and a second time needs --again."""
    console = Console(clean_kafka, clean_redis)
    settings = scorer_settings(clean_kafka, clean_redis)
    await create_topic(clean_kafka)
    bad = b'{"user_id": "ada", "type": "page_view", "pages_visited": "3", "event_id": "e-7"}'
    async with scorer(settings), producer(clean_kafka) as client:
        await client.send_and_wait(
            ACTIVITY, bad, key=b"ada", partition=home("ada", PARTITIONS), timestamp_ms=NOON,
            headers=[("trace", b"t-1")],
        )  # fmt: skip
        await client.send_and_wait(
            ACTIVITY, b"\xff", key=b"bob", partition=home("bob", PARTITIONS),
            timestamp_ms=NOON + HOUR_MS,
        )  # fmt: skip

        async def parked() -> bool:
            return 2 == len(await console.listed())

        await eventually(parked)

        [letter] = await console.listed("--reason", "PAGES_visited", "--until", str(NOON + 1))
        assert [] == await console.listed("--since", str(NOON + 2 * HOUR_MS))
        assert (from_ms(NOON).isoformat(), "ada", [["trace", "t-1"]], bad.decode()) == (
            letter["log_time"], letter["key"], letter["headers"], letter["value"],
        )  # fmt: skip
        shown = await console("show", letter["letter"], "--value")
        assert (0, bad.decode()) == shown[:2]

        code, _, error = await console("replay", letter["letter"])
        assert (2, True) == (code, "would be parked again: pages_visited" in error)

        fixed = tmp_path / "fixed.json"
        fixed.write_bytes(b'{"user_id": "ada", "type": "page_view", "pages_visited": 3}')
        tried = await console("replay", letter["letter"], "--value", str(fixed), "--dry-run")
        assert (0, "1 would go back, 0 stay\n") == (tried[0], tried[2])
        code, out, _ = await console("replay", letter["letter"], "--value", str(fixed))
        assert (0, True) == (code, "went back" in out)
        await eventually(lambda: pages(clean_redis, "ada", 3))

        code, _, error = await console("replay", letter["letter"], "--value", str(fixed))
        assert (2, True) == (code, "--again" in error)
        assert [True] == [one["replayed"] for one in await console.listed("--reason", "pages")]
        again = await console(
            "replay", letter["letter"], "--value", "-", "--again", given=fixed.read_bytes()
        )
        assert 0 == again[0]
        assert (0, "") == (await console("replay", "--reason", "pages"))[:2]

        await client.send_and_wait(
            ACTIVITY, b'{"user_id": "ada", "type": "page_view"}', key=b"ada",
            partition=home("ada", PARTITIONS), timestamp_ms=NOON + HOUR_MS,
        )  # fmt: skip
        await eventually(lambda: pages(clean_redis, "ada", 4))
    back = [record for record in await whole_log(clean_kafka) if record.value != bad]
    back = [record for record in back if record.key == b"ada"][:2]
    assert [("e-7", NOON)] * 2 == [(decode(r.value).event_id, r.timestamp) for r in back]
    assert [("trace", b"t-1")] * 2 == [record.headers[0] for record in back]


async def test_what_cannot_be_done_is_said(
    clean_kafka: KafkaServer, clean_redis: RedisServer
) -> None:
    """Nothing there, no such letter, no choice made, two choices made."""
    console = Console(clean_kafka, clean_redis)
    for words, code, message in (
        (["list"], 0, "0 dead letters"),
        (["show", "0:7"], 2, "there is no dead letter 0:7"),
        (["replay"], 2, "which letters?"),
        (["replay", "0:1", "--all"], 2, "not both"),
        (["replay", "--all"], 0, "0 went back, 0 stay"),
        (["replay", "--all", "--value", "/nowhere"], 2, "cannot read /nowhere"),
    ):
        answer = await console(*words)
        assert (code, True) == (answer[0], message in answer[2]), (words, answer)
    assert (0, "nothing was waiting\n") == (await console("accept", "--partition", "1"))[:2]
