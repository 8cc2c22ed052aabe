"""Commands on their way from their topic to the episodes, on in-memory doubles."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from uuid import UUID

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from alerts.inbox import Inbox, Intake
from contracts.commands import AlertCommand, CommandKind, encode_command
from contracts.errors import Refused, StoreUnavailable
from contracts.partition import home
from contracts.times import from_ms
from contracts.topics import COMMANDS, SCORES, dead_letter
from runtime.dead_letters import RUN_RECORDS, DeadLetters
from runtime.handler import Opening
from runtime.health import Health
from runtime.ledger import Effects, Mark
from runtime.log_identity import Log
from runtime.metrics import WorkerMetrics
from runtime.testing import FakeLedger, FakePublisher, FakeRecord, FakeRedis, record

NOON = 1_700_000_000_000
PARTITION = 2
HOME = home("ada", 8)


@dataclass
class Bench:
    """What an intake stands on."""

    redis: FakeRedis = field(default_factory=FakeRedis)
    publisher: FakePublisher = field(default_factory=lambda: FakePublisher(8))
    health: Health = field(default_factory=Health)
    bell: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.ledger = FakeLedger(self.redis, COMMANDS)
        self.metrics = WorkerMetrics(CollectorRegistry(), COMMANDS)

    async def opened(self) -> Intake:
        marks = await self.ledger.marks(PARTITION)
        return Intake(
            Opening(Log(COMMANDS, 1, UUID(int=1), 8), marks, 0),
            ledger=self.ledger,
            publisher=self.publisher,
            dead_letters=DeadLetters(self.publisher, self.redis.client, COMMANDS, self.health),
            metrics=self.metrics,
            redis=self.redis.client,
            topic=SCORES,
            bell=self.bell,
        )

    async def waiting(self, partition: int = HOME) -> list[str]:
        inbox = Inbox(self.redis.client, partition)
        return [command.command_id for command, _ in await inbox.waiting()]


def command(number: int, kind: CommandKind = "acknowledge", user_id: str = "ada") -> AlertCommand:
    return AlertCommand(
        command_id=f"c{number}", user_id=user_id, dedup_key="0" * 32, kind=kind, at=from_ms(NOON)
    )


def log_of(*entries: AlertCommand | FakeRecord) -> list[FakeRecord]:
    records = [
        entry
        if isinstance(entry, FakeRecord)
        else record(encode_command(entry), key=entry.user_id, timestamp=NOON)
        for entry in entries
    ]
    return [replace(entry, partition=PARTITION, offset=at) for at, entry in enumerate(records)]


async def test_a_command_waits_at_its_users_home() -> None:
    """In the order of the topic, and the bell of that partition rings."""
    bench = Bench()

    await (await bench.opened()).handle(log_of(*(command(n) for n in range(12))))

    assert [f"c{n}" for n in range(12)] == await bench.waiting()
    assert {HOME} == bench.bell
    assert [] == await bench.waiting(HOME + 1)


async def test_the_same_words_at_another_moment_are_another_command() -> None:
    """Who changes their mind twice says something under an id that there was: all of it counts."""
    bench = Bench()
    first, other = command(1), command(2, "snooze")
    again = msgspec.structs.replace(first, at=from_ms(NOON + 1))

    await (await bench.opened()).handle(log_of(first, other, again))

    assert ["c1", "c2", "c1"] == await bench.waiting()


async def test_redelivery_does_not_bring_back_what_is_done() -> None:
    """Below the watermark a command is old, wherever it has gone since."""
    bench = Bench()
    records = log_of(command(1), command(2))
    worker = await bench.opened()
    await worker.handle(records)
    inbox, effects = Inbox(bench.redis.client, HOME), Effects()
    for entry, stored in await inbox.waiting():
        inbox.done(entry, stored, effects)
    scores = FakeLedger(bench.redis, SCORES)
    await scores.save(await scores.marks(HOME), Mark(1, 0), 0, effects)

    await worker.handle(records)
    await (await bench.opened()).handle(records)

    assert [] == await bench.waiting()


@pytest.mark.parametrize("wrote", [False, True])
async def test_a_crash_around_the_save_puts_it_in_once(wrote: bool) -> None:
    """Whoever reads it again puts the same entry in the same place."""
    bench = Bench()
    crash = StoreUnavailable("gone")
    bench.ledger.fails_after, bench.ledger.fails_before = (crash, None) if wrote else (None, crash)
    with pytest.raises(StoreUnavailable):
        await (await bench.opened()).handle(log_of(command(1)))

    await (await bench.opened()).handle(log_of(command(1)))

    assert ["c1"] == await bench.waiting()


async def test_a_zombie_puts_nothing_in() -> None:
    """Somebody else owns the partition by now."""
    bench = Bench()
    zombie, owner = await bench.opened(), await bench.opened()
    await owner.handle(log_of(command(1)))

    with pytest.raises(Refused):
        await zombie.handle(log_of(command(1), command(2)))

    assert ["c1"] == await bench.waiting()


async def test_verdicts_and_erasures_stay_on_the_topic() -> None:
    """They change no episode."""
    bench = Bench()

    await (await bench.opened()).handle(log_of(command(1, "verdict"), record(None, key="ada")))

    assert [] == await bench.waiting()
    assert [] == bench.publisher.published


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (record(b"{", key="ada"), "not an alert command"),
        (record(b"{}", key=b"\xff"), "not an alert command"),
        (record(encode_command(command(1)), key="eve"), "'ada'"),
        (record(encode_command(command(1)), key=None), "no key"),
        (
            record(
                msgspec.json.encode({**msgspec.to_builtins(command(1)), "kind": "shout"}),
                key="ada",
            ),
            "shout",
        ),
    ],
)
async def test_what_is_no_command_is_parked(bad: FakeRecord, reason: str) -> None:
    """With its reason; the commands around it count."""
    bench = Bench()

    await (await bench.opened()).handle(log_of(command(1), bad, command(2)))

    (letter,) = bench.publisher.of(dead_letter(COMMANDS))
    assert reason in dict(letter.headers)["ebbtide-reason"].decode()
    assert ["c1", "c2"] == await bench.waiting()


async def test_a_long_run_of_bad_commands_waits_for_a_person() -> None:
    """As with every topic."""
    bench = Bench()
    intake = await bench.opened()
    bad = [record(b"?", key=str(number % 3)) for number in range(RUN_RECORDS)]

    await intake.handle(log_of(*bad))

    assert await intake.held()
    assert not await intake.sweep(NOON)
