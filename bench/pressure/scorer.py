"""A scorer with a backlog, and one with a user who sends as much as everybody else together."""

from __future__ import annotations

import asyncio
import time
import urllib.request
from collections.abc import Iterator
from typing import Final

from bench.progress import say
from bench.stream.known import fill
from bench.stream.load import Crowd, event, events, fresh_scores, preload, user_name
from bench.stream.stand import Stand, Worker, series, worker
from contracts.metrics import Metric
from contracts.partition import home
from contracts.times import DAY_MS
from contracts.topics import ACTIVITY
from model.artefact import Model
from runtime.kafka import Message
from runtime.partition_loop import BATCH_RECORDS

PARTITIONS: Final = 8
POLL_SECONDS: Final = 0.1
DONE_SECONDS: Final = 300.0
SETTLE_SECONDS: Final = 30.0
SAID_SECONDS: Final = 10.0
SPELL_MS: Final = 600_000
SESSION_EVENTS: Final = 10


def backlog(
    stand: Stand, model: Model, *, count: int, users: int, seconds: float
) -> dict[str, float]:
    """A day of log unread: how it is caught up, and how far timers fall behind the log's time.

    After so many seconds what was done until then is told.
    """
    now_ms = int(time.time() * 1000)
    say(f"backlog: {count:,} events onto the topic")
    asyncio.run(preload(stand, _sessions(count, users, now_ms), partitions=PARTITIONS))
    fill(stand, users, model, partitions=PARTITIONS, now_ms=now_ms - DAY_MS)
    with worker(stand, "scorer") as scorer:
        began = _begun(scorer)
        late, read, told_at = [], 0.0, 0.0
        while read < count and time.perf_counter() - began < seconds:
            told = _asked(scorer)
            late.append(_worst(told, Metric.OLDEST_TIMER_SECONDS))
            read = max(read, _read(told))
            _check(scorer, began)
            if time.perf_counter() - told_at > SAID_SECONDS:
                told_at = time.perf_counter()
                say(f"backlog: {read:,.0f} read, oldest timer {late[-1] / 60:.0f} min of log late")
            time.sleep(POLL_SECONDS)
        took = time.perf_counter() - began
        settling = time.perf_counter()
        while (
            _worst(told := _asked(scorer), Metric.OLDEST_TIMER_SECONDS) > 1
            and time.perf_counter() - began < seconds + SETTLE_SECONDS
        ):
            _check(scorer, began)
            time.sleep(POLL_SECONDS)
        settled = time.perf_counter() - settling
    # So much log goes by in a second: what is late by its clock is late by less here.
    pace = DAY_MS / 1000 * read / count / took
    late.sort()
    return {
        "events": count,
        "read": read,
        "seconds": took,
        "events_per_second": read / took,
        "silence_scores": told.get(f'{Metric.SCORES}{{trigger="silence"}}', 0.0),
        "late_median_s": late[len(late) // 2] / pace,
        "late_worst_s": late[-1] / pace,
        "late_worst_log_s": late[-1],
        "batch_log_s": DAY_MS / 1000 * BATCH_RECORDS * PARTITIONS / count,
        "settled_after_s": settled,
    }


def _sessions(count: int, users: int, until_ms: int) -> Iterator[Message]:
    """A day of events in log order: in each SPELL_MS some users come, for SESSION_EVENTS each."""
    spells = DAY_MS // SPELL_MS
    at_once = max(count // spells // SESSION_EVENTS, 1)
    for number in range(count):
        spell = number * spells // count
        user = user_name((spell * at_once + number % at_once) % users)
        at = until_ms - DAY_MS + number * DAY_MS // count
        yield Message(user.encode(), event(user, number, at), at)


def hot_user(stand: Stand, model: Model, *, count: int, users: int) -> dict[str, float]:
    """The others' speed while one user sends as many events as all of them, and without that one.

    Told are events a second of the partitions that are not the hot user's.
    """
    hot = user_name(0)
    busy = home(hot, PARTITIONS)
    figures = {}
    for name, share in (("without", 0), ("with", 1)):
        say(f"hot user: {name}")
        now_ms = int(time.time() * 1000)
        made = list(events(Crowd(users), count, until_ms=now_ms))
        elsewhere = sum(home((m.key or b"").decode(), PARTITIONS) != busy for m in made)
        both = _mixed(made, hot, share)
        asyncio.run(preload(stand, both, partitions=PARTITIONS))
        fill(stand, users, model, partitions=PARTITIONS, now_ms=now_ms)
        asyncio.run(fresh_scores(stand, PARTITIONS))
        with worker(stand, "scorer") as scorer:
            began = _begun(scorer)
            others = _until_read(scorer, began, set(range(PARTITIONS)) - {busy})
            figures[f"{name}_others_per_second"] = elsewhere / others
            everything = _until_read(scorer, began, {busy})
            figures[f"{name}_hot_per_second"] = (count - elsewhere + share * count) / everything
    return figures


def _mixed(made: list[Message], hot: str, share: int) -> Iterator[Message]:
    """The events, each followed by `share` of the hot user's."""
    for number, message in enumerate(made):
        yield message
        for _ in range(share):
            at = message.timestamp_ms
            yield Message(hot.encode(), event(hot, 10_000_000 + number, at), at)


def _begun(scorer: Worker) -> float:
    """When the first batch was under way."""
    started = time.perf_counter()
    while not any(name.startswith(f"{Metric.STAGE_SECONDS}_sum") for name in _asked(scorer)):
        _check(scorer, started)
        time.sleep(POLL_SECONDS / 10)
    return time.perf_counter()


def _until_read(scorer: Worker, began: float, partitions: set[int]) -> float:
    """Seconds until none of these partitions has anything unread."""
    names = [f'{Metric.CONSUMER_LAG}{{partition="{p}",topic="{ACTIVITY}"}}' for p in partitions]
    while True:
        told = _asked(scorer)
        if all(told.get(name) == 0 for name in names):
            return time.perf_counter() - began
        _check(scorer, began)
        time.sleep(POLL_SECONDS)


def _asked(scorer: Worker) -> dict[str, float]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{scorer.port}/metrics", timeout=5) as told:
            return series(told.read().decode())
    except OSError:
        return {}


def _worst(told: dict[str, float], metric: str) -> float:
    return max((value for name, value in told.items() if name.startswith(metric)), default=0.0)


def _read(told: dict[str, float]) -> float:
    return told.get(f'{Metric.RECORDS}{{topic="{ACTIVITY}"}}', 0.0)


def _check(scorer: Worker, began: float) -> None:
    if scorer.child.exit_code() is not None or time.perf_counter() - began > DONE_SECONDS:
        raise RuntimeError("\n".join(["the scorer does not end", *scorer.child.last_lines()]))
