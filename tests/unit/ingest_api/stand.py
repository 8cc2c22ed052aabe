"""A gateway on doubles: called in-process, with a model whose answers are easy to foretell."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from httpx2 import ASGITransport, AsyncClient
from redis.exceptions import ConnectionError as RedisConnectionError

from contracts.activity import FoldRules
from contracts.errors import LogUnavailable
from contracts.packing import pack
from contracts.record import LEVELS, RECORD, blank_records
from contracts.times import DAY_MS
from contracts.topics import ACTIVITY, ALERTS, COMMANDS, SCORES
from ingest_api.access_gate import Access
from ingest_api.admission import Limits
from ingest_api.app import create_app
from ingest_api.audit import RedisAudit
from ingest_api.outbox import Told
from ingest_api.problems import NotAcknowledged
from ingest_api.records import RedisUsers
from ingest_api.system import Machine
from model.artefact import Beside, Manifest, Model, Period
from model.candidates import CANDIDATES, fitted
from model.evaluation import figures
from model.features import FEATURES, PREDICT_INPUTS
from runtime import keys
from runtime.kafka import Message
from runtime.letter_box import Wanted
from runtime.letter_log import Newest
from runtime.letters import Letter
from runtime.log_ends import Ends, TopicEnds
from runtime.testing import FakeRedis

NOON = 1_790_000_000_000 // DAY_MS * DAY_MS + DAY_MS // 2
TOPICS = (ACTIVITY, SCORES, COMMANDS, ALERTS)
TOTALS: dict[str, Any] = {
    "pages_visited": 12,
    "time_spent": 180.5,
    "days_since_signup": 10,
    "is_logged_in": True,
}

_PERIOD = Period("2025-01-01T00:00:00Z", "2025-06-30T00:00:00Z")
_SILENT_DAYS = [feature.name for feature in FEATURES].index("silent_days")


class _Linear:
    """Risk rises with one column and reaches 1 at `full`."""

    def __init__(self, column: int, full: float) -> None:
        self._column = column
        self._full = full

    def predict_proba(self, rows: np.ndarray) -> np.ndarray:
        risk = np.clip(np.nan_to_num(rows[:, self._column]) / self._full, 0, 1)
        return np.column_stack([1 - risk, risk])


def a_model() -> Model:
    """Risk: pages / 100 of totals, days of silence / 10 of records."""
    manifest = Manifest(
        version="linear-1",
        origin="a test",
        candidate="lr",
        chosen_because="it is a test",
        features=tuple(feature.name for feature in FEATURES),
        predict_inputs=tuple(feature.name for feature in PREDICT_INPUTS),
        horizon_days=14,
        active_days=30,
        levels=tuple(round(0.05 * step, 6) for step in range(1, LEVELS + 1)),
        grid_hours=(1, *range(12, 24 * 9 + 1, 12)),
        fold_rules=FoldRules().digest,
        seed=0,
        log=_PERIOD,
        training=_PERIOD,
        fitted_until="2025-05-01T00:00:00Z",
        validated_from="2025-05-15T00:00:00Z",
        rows={"total": 400},
        rows_sha256="0" * 64,
        candidates={},
        predict=figures(np.array([0, 1]), np.array([0.2, 0.8])),
    )
    return Model(manifest, _Linear(_SILENT_DAYS, 10.0), _Linear(0, 100.0))  # type: ignore[arg-type]


def an_additive_model() -> Model:
    """Like `a_model`, with logistic regressions that learned that silence and few pages are bad."""
    rng = np.random.default_rng(1)
    estimators = []
    for view, column, direction in ((FEATURES, _SILENT_DAYS, 1), (PREDICT_INPUTS, 0, -1)):
        rows = rng.gamma(1.0, 20.0, (500, len(view)))
        odds = direction * (np.log1p(rows[:, column]) - 2.7)
        label = (rng.random(500) < 1 / (1 + np.exp(-3 * odds))).astype(np.uint8)
        directions = [feature.direction for feature in view]
        estimators.append(fitted(CANDIDATES[0], directions, 0, rows, label))
    return Model(a_model().manifest, *estimators)


class MemoryLog:
    """Kafka as a list. `away` fails with so many acknowledged first; `hangs` never answers."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.topics: list[str] = []
        """Where each of the messages went."""
        self.away: int | None = None
        self.hangs = False
        self.tried = asyncio.Event()

    async def publish(self, messages: Sequence[Message], topic: str = ACTIVITY) -> None:
        self.topics += [topic] * len(messages)
        if self.hangs:
            await asyncio.Event().wait()
        if self.away is not None:
            self.messages += messages[: self.away]
            self.tried.set()
            raise NotAcknowledged(f"acknowledged {self.away} of {len(messages)}", self.away)
        self.messages += messages
        self.tried.set()

    def post(self, message: Message, told: Told) -> bool:
        self.topics.append(ACTIVITY)
        if self.hangs:
            return True
        if self.away is None:
            self.messages.append(message)
        reason = None if self.away is None else "it is a test"
        asyncio.get_running_loop().call_soon(told, int(self.away is None), reason)
        self.tried.set()
        return True

    async def ping(self) -> None:
        if self.away is not None:
            raise LogUnavailable("Kafka does not answer: it is a test")


class MemoryEnds:
    """Where topics end, as told; away with its log."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self.known: dict[str, TopicEnds] = {}

    async def of(self, topics: Iterable[str]) -> dict[str, TopicEnds]:
        await self._log.ping()
        return {topic: self.known[topic] for topic in topics if topic in self.known}


class MemoryLetters:
    """Dead letters, as told."""

    def __init__(self) -> None:
        self.newest_of: dict[str, Newest] = {}

    async def newest(self, topic: str, ends: Mapping[int, Ends], most: int) -> Newest:
        return self.newest_of.get(topic, Newest((), 0, 0, True))


class MemoryBox:
    """The dead letters of one topic, as told, and what went back of them. Away with its log."""

    def __init__(self, log: MemoryLog, parked: list[Letter]) -> None:
        self._log = log
        self.parked = parked
        self.sent: list[list[Message]] = []
        """What went back, by how much went at a time."""

    async def letters(self, wanted: Wanted) -> AsyncGenerator[Letter, None]:
        for letter in list(self.parked):
            await self._log.ping()
            if letter in wanted:
                yield letter

    @asynccontextmanager
    async def returning(self, timeout_ms: int) -> AsyncIterator[MemoryBox]:
        yield self

    async def send(self, going: Sequence[tuple[Letter, Message]], now_ms: int) -> None:
        await self._log.ping()
        self.sent.append([message for _, message in going])
        gone = {letter.id for letter, _ in going}
        self.parked = [
            replace(letter, replayed=letter.replayed or letter.id in gone) for letter in self.parked
        ]


class ServingRedis(FakeRedis):
    """The double, with a switch for being down and one for never answering."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.hangs = False

    async def mget(self, names: Sequence[str]) -> list[bytes | None]:
        await self._check()
        return await super().mget(names)

    async def get(self, key: str) -> bytes | None:
        await self._check()
        return await super().get(key)

    async def set(
        self, key: str, value: bytes | int | str, px: int | None = None, *, nx: bool = False
    ) -> bool | None:
        await self._check()
        return await super().set(key, value, px, nx=nx)

    async def delete(self, *names: str) -> int:
        await self._check()
        return await super().delete(*names)

    async def lrange(self, name: str, start: int, end: int) -> list[bytes]:
        await self._check()
        return await super().lrange(name, start, end)

    async def hgetall(self, name: str) -> dict[bytes, bytes]:
        await self._check()
        return await super().hgetall(name)

    def pipeline(self, *arguments: Any, **more: Any) -> Any:
        if self.away:
            raise RedisConnectionError("it is a test")
        return super().pipeline(*arguments, **more)

    async def hget(self, name: str, key: str) -> bytes | None:
        await self._check()
        return await super().hget(name, key)

    async def hkeys(self, name: str) -> list[bytes]:
        await self._check()
        return await super().hkeys(name)

    async def zrange(self, *arguments: Any, **more: Any) -> list[Any]:
        await self._check()
        return await super().zrange(*arguments, **more)

    async def ping(self) -> bool:
        await self._check()
        return True

    async def _check(self) -> None:
        if self.hangs:
            await asyncio.Event().wait()
        if self.away:
            raise RedisConnectionError("it is a test")

    async def keep(self, user_id: str, record: np.ndarray) -> None:
        """Store a (1,) RECORD as the scorer would."""
        assert record.dtype == RECORD
        await self.set(keys.record(user_id), pack(record)[0])


def open_access(redis: FakeRedis) -> Access:
    """Nobody needs a key; the names are those that clients in these tests use."""
    return Access(allowed_hosts=("gateway", "testserver"), audit=RedisAudit(redis.client))


class Stand:
    """A gateway with its doubles; `now` is its clock, `wall` people's where that is another."""

    def __init__(
        self,
        clock: str = "wall",
        now: int = NOON,
        model: Model | None = None,
        *,
        limits: Limits = Limits(),  # noqa: B008 - a frozen value
        access: Callable[[FakeRedis], Access] = open_access,
        told: Beside = Beside(),  # noqa: B008 - a frozen value
    ) -> None:
        self.log = MemoryLog()
        self.redis = ServingRedis()
        self.now = now
        self.wall: int | None = None
        self.ends = MemoryEnds(self.log)
        self.letters = MemoryLetters()
        self.boxes = {topic: MemoryBox(self.log, []) for topic in TOPICS}
        self.app = create_app(
            model=model or a_model(),
            log=self.log,
            reader=RedisUsers(self.redis.client),
            clock=clock,  # type: ignore[arg-type]
            now=lambda: self.now,
            wall=lambda: self.now if self.wall is None else self.wall,
            limits=limits,
            access=access(self.redis),
            machine=Machine(
                self.redis.client,
                self.ends,
                self.letters,
                self.boxes.__getitem__,
                lambda: self.now,
            ),
            told=told,
        )
        # Bugs answer as a problem, as they do behind a server.
        transport = ASGITransport(app=self.app, raise_app_exceptions=False)
        self.http = AsyncClient(transport=transport, base_url="http://gateway")

    async def metric(self, name: str) -> float:
        """The value of a counter without labels."""
        lines = (await self.http.get("/metrics")).text.splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))


@asynccontextmanager
async def standing(
    clock: str = "wall",
    now: int = NOON,
    model: Model | None = None,
    *,
    limits: Limits = Limits(),  # noqa: B008 - a frozen value
    access: Callable[[FakeRedis], Access] = open_access,
    told: Beside = Beside(),  # noqa: B008 - a frozen value
) -> AsyncIterator[Stand]:
    """A gateway between its start and its end."""
    stand = Stand(clock, now, model, limits=limits, access=access, told=told)
    async with stand.app.router.lifespan_context(stand.app), stand.http:
        yield stand


def seen(last_seen: int) -> np.ndarray:
    """(1,) RECORD of a user of five events on three days, never scored."""
    record = blank_records(1)
    facts = record["facts"]
    facts["log_number"], facts["offset"] = 2, 41
    facts["log_time"] = facts["last_seen"] = last_seen
    facts["first_seen"] = last_seen - 30 * DAY_MS
    facts["pages"], facts["events"], facts["active_days"], facts["sessions"] = 3, 5, 3, 4
    return record
