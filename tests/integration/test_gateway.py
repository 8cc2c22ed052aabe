"""The gateway on real servers, over real HTTP."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import numpy as np
import pytest
import uvicorn
from aiokafka import AIOKafkaConsumer, TopicPartition
from httpx2 import AsyncClient, HTTPError

from contracts.events import decode
from contracts.packing import pack
from contracts.partition import home
from contracts.times import to_ms
from contracts.topics import ACTIVITY
from ebbtide.ports import LOOPBACK, free_port
from ingest_api.app import create_app
from ingest_api.log import KafkaLog
from ingest_api.protocol import BoundedProtocol
from ingest_api.records import RedisUsers
from ingest_api.settings import GatewaySettings
from model.artefact import save
from model.candidates import CANDIDATES, fitted
from model.features import FEATURES, PREDICT_INPUTS
from runtime import keys
from runtime.clock import wall_ms
from runtime.store import connect
from tests.servers import KafkaServer, RedisServer, Runs
from tests.unit.ingest_api.stand import TOTALS, a_model, seen

BOUND_SECONDS = 2.0
PARTITIONS = 4


class Server(uvicorn.Server):
    """Leaves signals to pytest."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def gateway(kafka: KafkaServer, redis: RedisServer) -> AsyncIterator[AsyncClient]:
    """A gateway behind a real HTTP server, its waits for Kafka bounded by BOUND_SECONDS."""
    settings = GatewaySettings(
        kafka_bootstrap_servers=kafka.bootstrap,
        kafka_idempotence=kafka.idempotence,
        redis_url=redis.url,
        partitions=PARTITIONS,
    )
    client = connect(settings.redis_url)
    log = KafkaLog(settings, timeout_seconds=BOUND_SECONDS)
    app = create_app(model=a_model(), log=log, reader=RedisUsers(client), background=[log.run])
    port = free_port()
    config = uvicorn.Config(
        app, http=BoundedProtocol, host=LOOPBACK, port=port, log_config=None, access_log=False
    )
    server = Server(config)
    serving = asyncio.create_task(server.serve())
    try:
        while not server.started:
            assert not serving.done()
            await asyncio.sleep(0.01)
        async with AsyncClient(base_url=f"http://{LOOPBACK}:{port}", timeout=30) as http:
            yield http
    finally:
        server.should_exit = True
        await serving
        await client.aclose()


async def ready(http: AsyncClient) -> None:
    """Wait until the gateway says that events are accepted."""
    await answers(http, "/readyz?need=events", 200)


async def answers(http: AsyncClient, path: str, status: int) -> None:
    """Wait until a GET answers with the status."""
    async with asyncio.timeout(90):
        while True:
            if (await http.get(path)).status_code == status:
                return
            await asyncio.sleep(0.05)


async def read_back(kafka: KafkaServer, count: int) -> list:
    """The first `count` records of the activity topic, in no particular order."""
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        partitions = [TopicPartition(ACTIVITY, number) for number in range(PARTITIONS)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        found = []
        async with asyncio.timeout(60):
            while len(found) < count:
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    found += records
        return found
    finally:
        await consumer.stop()


async def test_events_over_http_are_read_back_from_their_homes(clean_kafka, clean_redis):
    """
    What was answered 202 is in Kafka: keyed, at home, at the time of receipt, with its headers.
    """
    events = [
        {"user_id": f"user-{i % 7}", "type": "page_view", "event_id": f"e{i}", "pages_visited": i}
        for i in range(300)
    ]
    async with gateway(clean_kafka, clean_redis) as http:
        await ready(http)
        before = wall_ms()
        singles = [http.post("/events", json=event) for event in events[:50]]
        answers = await asyncio.gather(*singles, http.post("/events", json=events[50:]))
        erased = await http.delete("/users/user-3")
        after = wall_ms()

    assert [202] * 52 == [answer.status_code for answer in (*answers, erased)]
    assert [1] * 50 + [250] == [answer.json()["accepted"] for answer in answers]
    records = await read_back(clean_kafka, 301)
    assert 301 == len(records)
    for record in records:
        user_id = record.key.decode()
        assert home(user_id, PARTITIONS) == record.partition
        assert before <= record.timestamp <= after
        if record.value is None:
            assert "user-3" == user_id
            continue
        event = decode(record.value)
        headers = dict(record.headers)
        assert (event.event_id.encode(), b"/ebbtide/gateway", b"ebbtide.activity-event") == (
            headers["ce_id"],
            headers["ce_source"],
            headers["ce_type"],
        )
        assert record.timestamp == to_ms(event.occurred_at)
    found = [decode(record.value) for record in records if record.value is not None]
    assert {event["event_id"] for event in events} == {event.event_id for event in found}


async def test_a_snapshot_of_predict_reaches_kafka(clean_kafka, clean_redis):
    """
    /predict with a user_id leaves a snapshot in the log.
    """
    async with gateway(clean_kafka, clean_redis) as http:
        await ready(http)
        await http.post("/predict", json=TOTALS | {"user_id": "ada"})
        (record,) = await read_back(clean_kafka, 1)

    event = decode(record.value)
    assert ("ada", "snapshot", 12) == (event.user_id, event.type, event.pages_visited)


async def test_kafka_comes_late_goes_and_comes_back(clean_kafka, clean_redis):
    """
    The gateway starts without Kafka, accepts events once it is there, answers 503 within the bound
    while it is gone, and accepts again; /predict answers all the time.
    """
    event = {"user_id": "ada", "type": "login"}
    clean_kafka.stop()
    async with gateway(clean_kafka, clean_redis) as http:
        await refuses(http, event)
        clean_kafka.start()
        await accepts(http, event)

        clean_kafka.kill()
        await refuses(http, event)
        await refuses(http, event)
        assert 503 == (await http.get("/readyz?need=events")).status_code
        clean_kafka.start()
        await accepts(http, event)
        await ready(http)


async def test_redis_goes_and_comes_back(clean_kafka, clean_redis):
    """
    Without Redis users answer 503 within the bound and /predict goes on; then they are back.
    """
    client = connect(clean_redis.url)
    await client.set(keys.record("ada"), pack(seen(wall_ms()))[0])
    await client.aclose()
    async with gateway(clean_kafka, clean_redis) as http:
        assert 200 == (await http.get("/users/ada")).status_code

        clean_redis.stop()
        began = time.monotonic()
        away = await http.get("/users/ada")
        assert 503 == away.status_code
        assert time.monotonic() - began < 4
        assert 200 == (await http.post("/predict", json=TOTALS)).status_code
        fallback = await http.post("/predict?basis=record", json=TOTALS | {"user_id": "ada"})
        assert (200, "inputs") == (fallback.status_code, fallback.headers["ebbtide-basis"])

        clean_redis.start()
        await answers(http, "/users/ada", 200)


async def test_a_kafka_that_hangs_is_not_waited_for(clean_kafka, clean_redis):
    """
    A broker that accepts connections and never answers is a 503 within the bound too.
    """
    assert isinstance(clean_kafka, Runs), "an external server cannot be made to hang"
    event = {"user_id": "ada", "type": "login"}
    async with gateway(clean_kafka, clean_redis) as http:
        await accepts(http, event)
        pid = clean_kafka.child.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            await refuses(http, event)
        finally:
            os.kill(pid, signal.SIGCONT)
        await accepts(http, event)


def api(folder: Path, **settings: object) -> subprocess.Popen[bytes]:
    """`ebbtide api` with the model in `folder`, nothing else running."""
    env = os.environ | {
        "EBBTIDE_MODEL_DIR": str(folder),
        "EBBTIDE_KAFKA_BOOTSTRAP_SERVERS": f"{LOOPBACK}:1",
        "EBBTIDE_REDIS_URL": f"redis://{LOOPBACK}:1/0",
        **{f"EBBTIDE_{name.upper()}": str(value) for name, value in settings.items()},
    }
    words = [sys.executable, "-m", "ebbtide", "api"]
    return subprocess.Popen(words, env=env, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    """A folder with a small trained model."""
    rng = np.random.default_rng(1)
    label = (rng.random(200) < 0.4).astype(np.uint8)
    estimators = {
        name: fitted(CANDIDATES[0], [0] * len(columns), 0, rng.random((200, len(columns))), label)
        for name, columns in (("full", FEATURES), ("inputs", PREDICT_INPUTS))
    }
    save(tmp_path, a_model().manifest, **estimators)
    return tmp_path


async def test_the_process_serves_and_stops_cleanly(model_dir):
    """
    `ebbtide api` answers /predict with nothing else there, and ends with 0 when told to stop.
    """
    port = free_port()
    process = api(model_dir, port=port)
    try:
        async with AsyncClient(base_url=f"http://{LOOPBACK}:{port}", timeout=60) as http:
            async with asyncio.timeout(90):
                while not await alive(http):
                    assert process.poll() is None
                    await asyncio.sleep(0.05)
            answer = await http.post("/predict", json=TOTALS | {"user_id": "ada"})
            assert (200, {"prediction", "confidence"}) == (answer.status_code, set(answer.json()))
        process.terminate()
        assert 0 == await asyncio.to_thread(process.wait, 15)
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"model_dir": "/nowhere"}, "ebbtide train"),
        ({"model_sha256": "0" * 64}, "this deployment trusts"),
        ({"passive_types": "login"}, "EBBTIDE_PASSIVE_TYPES"),
        ({"port": 70_000}, "EBBTIDE_PORT"),
        ({"host": "203.0.113.7"}, "EBBTIDE_HOST"),
    ],
    ids=["missing", "untrusted", "other rules", "no port", "not our address"],
)
def test_what_does_not_fit_refuses_to_start_with_the_remedy(model_dir, settings, words):
    """
    A model that is missing or not the trusted one, or a wrong setting: exit 2 and what to do.
    """
    process = api(model_dir, **({"port": 0} | settings))

    _, said = process.communicate(timeout=30)

    assert 2 == process.returncode
    assert words in said.decode()


async def alive(http: AsyncClient) -> bool:
    """Whether the gateway answers."""
    try:
        return (await http.get("/livez")).status_code == 200
    except HTTPError:
        return False


async def refuses(http: AsyncClient, event: dict[str, str]) -> None:
    """Events are refused within the bound, and /predict is as ever."""
    began = time.monotonic()
    answer = await http.post("/events", json=event)
    assert 503 == answer.status_code
    assert time.monotonic() - began < BOUND_SECONDS + 1
    assert answer.headers["retry-after"]
    predicted = await http.post("/predict", json=TOTALS | {"user_id": "ada"})
    assert {"prediction": "0", "confidence": 0.88} == predicted.json()


async def accepts(http: AsyncClient, event: dict[str, str]) -> None:
    """Before long an event is accepted."""
    async with asyncio.timeout(90):
        while True:
            answer = await http.post("/events", json=event)
            if answer.status_code == 202:
                return
            assert 503 == answer.status_code
            await asyncio.sleep(0.05)
