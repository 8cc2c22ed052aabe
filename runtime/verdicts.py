"""The verdicts that stand, kept for people to read; `alert-command` has all that were given."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

import msgspec
from redis.asyncio import Redis

from contracts.alerts import ChurnAlert
from contracts.commands import AlertCommand, Verdict
from contracts.partition import SHARDS
from contracts.partition import shard as shard_of
from contracts.standing import StandingVerdict, decode_verdict, encode_verdict
from contracts.times import DAY_MS, to_ms
from runtime import alert_history, keys
from runtime.ledger import Effects
from runtime.newest_first import newest_first
from runtime.redis_errors import redis_errors
from runtime.store import mget, text

KEPT: Final = 1_000
"""Verdicts in each shard."""
KEPT_MS: Final = 400 * DAY_MS


# As the alerts worker writes it.


def remember(
    command: AlertCommand, alerts: Iterable[ChurnAlert], effects: Effects
) -> StandingVerdict | None:
    """Add a verdict to the effects; alerts: what is kept of its user.

    None, and nothing, where the episode is not among them: its user was erased, or it is over for
    longer than alerts are kept.
    """
    rule = next((one.rule for one in alerts if one.dedup_key == command.dedup_key), None)
    if rule is None or command.verdict is None:
        return None
    standing = StandingVerdict(
        user_id=command.user_id,
        dedup_key=command.dedup_key,
        rule=rule,
        verdict=command.verdict,
        note=command.note,
        actor=command.actor,
        at=command.at,
    )
    shard = shard_of(command.user_id)
    effects.put(keys.verdict(shard, command.dedup_key), encode_verdict(standing), KEPT_MS)
    effects.index(keys.verdict_log(shard), command.dedup_key, float(to_ms(command.at)))
    effects.keep_highest(keys.verdict_log(shard), KEPT)
    return standing


def forget(user_id: str, dedup_keys: Collection[str], effects: Effects) -> None:
    """Add to the effects that nothing was said of an erased user's episodes."""
    shard = shard_of(user_id)
    for dedup_key in sorted(dedup_keys):
        effects.delete(keys.verdict(shard, dedup_key))
        effects.index(keys.verdict_log(shard), dedup_key, None)


# As people read it.


async def verdicts_of(redis: Redis, user_id: str) -> list[StandingVerdict]:
    """Those on the user's episodes that are kept, newest first; raises StoreUnavailable."""
    alerts = await alert_history.alerts_of(redis, user_id)
    return await on_episodes(redis, user_id, dict.fromkeys(alert.dedup_key for alert in alerts))


async def on_episodes(
    redis: Redis, user_id: str, dedup_keys: Iterable[str]
) -> list[StandingVerdict]:
    """Those on some of the user's episodes, newest first."""
    shard = shard_of(user_id)
    found = await _load(redis, [(shard, dedup_key) for dedup_key in dedup_keys])
    return sorted(found, key=lambda verdict: verdict.at, reverse=True)


async def latest(redis: Redis, most: int = SHARDS * KEPT) -> list[StandingVerdict]:
    """The verdicts that were given last, newest first."""
    places: list[tuple[int, str]] = []
    names = [keys.verdict_log(shard) for shard in range(SHARDS)]
    async for entry in newest_first(redis, names):
        places.append((entry.source, text(entry.member)))
        if len(places) == most:
            break
    return await _load(redis, places)


def counted(verdicts: Iterable[StandingVerdict]) -> Mapping[str, Mapping[Verdict, int]]:
    """How many of each verdict there are, by rule."""
    counts: dict[str, dict[Verdict, int]] = {}
    for standing in verdicts:
        of_rule = counts.setdefault(standing.rule, {"helped": 0, "wrong": 0, "duplicate": 0})
        of_rule[standing.verdict] += 1
    return dict(sorted(counts.items()))


async def _load(redis: Redis, places: Sequence[tuple[int, str]]) -> list[StandingVerdict]:
    if not places:
        return []
    with redis_errors("reading verdicts"):
        values = await mget(redis, [keys.verdict(*place) for place in places])
    found = []
    for value in values:
        if value is not None:
            try:
                found.append(decode_verdict(value))
            except msgspec.MsgspecError:
                continue  # of another release
    return found
