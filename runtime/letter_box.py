"""Dead letters, looked through and sent back: what `ebbtide dead-letters` and the gateway do."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from contracts.activity import FoldRules
from contracts.errors import BadRecord, LogUnavailable
from contracts.events import LogPlace, Text, decode, erased_user, row, with_event_id
from contracts.record import ID_WINDOW
from contracts.times import LATEST_MS
from contracts.topics import ACTIVITY, ALERTS, COMMANDS, SENT_HOME_HEADER, dead_letter
from runtime.kafka import Message, Publisher, producer
from runtime.letter_log import LetterLog
from runtime.letters import BadLetter, Letter, Original, note_of_replay
from runtime.readings import alert_of, command_of, item_of
from runtime.settings import ServiceSettings

FROM_HEADER: Final = "ebbtide-replayed-from"
"""On a record that went back: the source of the one it stands for."""

TOGETHER: Final = ID_WINDOW
"""Records that may go back before it is noted that they did.

If a crash comes in between, the same ones go back again: all of one user, they still lie in that
user's duplicate window. One more, and the first of them would count twice.
"""
TIMEOUT_MS: Final = 30_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which letters are meant; what is not stated excludes none."""

    ids: frozenset[str] = frozenset()
    reason: str = ""
    """Part of the reason, in any case."""
    partition: int | None = None
    """Of the source topic."""
    since_ms: int = -(2**63)
    until_ms: int = LATEST_MS
    """Bounds of the record's log time."""
    replayed: bool | None = None

    def __contains__(self, letter: Letter) -> bool:
        return (
            (not self.ids or letter.id in self.ids)
            and self.reason.casefold() in letter.reason.casefold()
            and self.partition in {None, letter.source_partition}
            and self.since_ms <= letter.original.timestamp
            and (letter.original.timestamp < self.until_ms or self.until_ms == LATEST_MS)
            and self.replayed in {None, letter.replayed}
        )


def message_of(
    letter: Letter, rules: FoldRules, *, value: bytes | None = None, log_time: int | None = None
) -> Message:
    """The record that goes back: as it came, or with another value or log time.

    Its event has the id it had, or the one its place gave it, so that going back twice counts once
    (within the duplicate window). Raises BadRecord when the record would be parked again.
    """
    original = letter.original
    if value is not None or log_time is not None:
        original = Original(
            original.key,
            original.value if value is None else value,
            original.headers,
            original.timestamp if log_time is None else log_time,
        )
    make = {ACTIVITY: _activity, COMMANDS: _command, ALERTS: _alert}.get(letter.topic, _score)
    key, sent = make(letter, original, rules)
    # A copy that was sent home and parked there: its source may have been passed since.
    own = [header for header in original.headers if header[0] != SENT_HOME_HEADER]
    headers: list[Any] = [*own, (FROM_HEADER, letter.source.encode())]
    return Message(key, sent, original.timestamp, headers)


def _activity(letter: Letter, original: Original, rules: FoldRules) -> tuple[bytes, bytes | None]:
    if original.value is None:
        return erased_user(original.key).encode(), None
    event = decode(original.value)
    log, partition, offset = map(int, letter.source.split(":"))
    row(event, LogPlace(log, partition, offset, original.timestamp), rules)
    sent = original.value
    if event.event_id is None:
        sent = with_event_id(sent, _event_id(letter))
    return event.user_id.encode(), sent


def _score(letter: Letter, original: Original, _: FoldRules) -> tuple[bytes, bytes | None]:
    item = item_of(_Came(original))
    if isinstance(item, BadLetter):
        raise BadRecord(item.reason)
    return item.user_id.encode(), original.value


def _command(letter: Letter, original: Original, _: FoldRules) -> tuple[bytes, bytes | None]:
    command = command_of(_Came(original))
    if isinstance(command, BadLetter):
        raise BadRecord(command.reason)
    return command.user_id.encode(), original.value


def _alert(letter: Letter, original: Original, _: FoldRules) -> tuple[bytes, bytes | None]:
    alert = alert_of(_Came(original))
    if isinstance(alert, BadLetter):
        raise BadRecord(alert.reason)
    return alert.user_id.encode(), original.value


class _HasId(msgspec.Struct):
    event_id: Text | None = None


def _event_id(letter: Letter) -> str:
    """What the parked event called itself, if that much can be read of it, else its place."""
    try:
        stated = msgspec.json.decode(letter.original.value or b"", type=_HasId).event_id
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        stated = None
    return stated or letter.source


class _Came:
    """An original as the handlers' Record."""

    def __init__(self, original: Original) -> None:
        self.partition = self.offset = 0
        self.timestamp = original.timestamp
        self.key = original.key
        self.value = original.value
        self.headers: Sequence[tuple[str, bytes]] = ()


class LetterBox:
    """The dead letters of one topic."""

    def __init__(self, settings: ServiceSettings, topic: str) -> None:
        self._settings = settings
        self._topic = topic

    async def letters(self, wanted: Wanted) -> AsyncGenerator[Letter, None]:
        """The letters that are meant, by the place they lie in; raises LogUnavailable."""
        partitions = {int(each.partition(":")[0]) for each in wanted.ids} or None
        async with aclosing(LetterLog(self._settings).every(self._topic, partitions)) as found:
            async for letter in found:
                if letter in wanted:
                    yield letter

    @asynccontextmanager
    async def returning(self, timeout_ms: int = TIMEOUT_MS) -> AsyncIterator[Returns]:
        """A way back to the topic, each of its requests bounded; raises LogUnavailable."""
        # What goes back has an id, so a repeat is harmless, and any broker will do: the embedded
        # one cannot do idempotence.
        client: AIOKafkaProducer = producer(
            self._settings.model_copy(update={"kafka_idempotence": False}), timeout_ms=timeout_ms
        )
        try:
            await client.start()
        except (KafkaError, OSError, TimeoutError) as error:
            await client.stop()
            servers = self._settings.kafka_bootstrap_servers
            raise LogUnavailable(f"cannot produce to Kafka at {servers}: {error!r}") from error
        try:
            yield Returns(Publisher(client), self._topic)
        finally:
            await client.stop()


class Returns:
    """Sends records back."""

    def __init__(self, publisher: Publisher, topic: str) -> None:
        self._publisher = publisher
        self._topic = topic

    async def send(self, going: Sequence[tuple[Letter, Message]], now_ms: int) -> None:
        """Publish records at their users' homes, then note that their letters went back.

        At most TOGETHER of them. Raises LogUnavailable: some may have gone, and may go again.
        """
        assert len(going) <= TOGETHER
        await self._publisher.publish_home(self._topic, [message for _, message in going])
        notes: dict[int, list[Message]] = {}
        for letter, _ in going:
            notes.setdefault(letter.partition, []).append(note_of_replay(letter, now_ms))
        for partition, of_it in notes.items():
            await self._publisher.publish(dead_letter(self._topic), partition, of_it)
