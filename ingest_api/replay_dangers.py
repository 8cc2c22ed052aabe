"""Why a dead letter that could be read should not go back by a click.

What is refused here the command line still does, for who knows better.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import numpy as np

from contracts.record import ERASED, HAS_SCORE
from contracts.scores import decode_score
from contracts.times import DAY_MS, HOUR_MS, to_ms
from contracts.topics import ACTIVITY, ALERTS, COMMANDS, SCORES
from runtime.kafka import Message
from runtime.letters import Letter

AHEAD_MS: Final = HOUR_MS
"""How far beyond the present a log time may lie, as Kafka itself has it."""
OLD_MS: Final = DAY_MS
"""From then on what was wanted, or to be told, is of the past."""

Load = Callable[[Sequence[str]], Awaitable[np.ndarray]]
"""Users to their (n,) RECORD."""


async def dangers(
    going: Sequence[tuple[Letter, Message]], load: Load, now_ms: int
) -> list[str | None]:
    """For each what would come of it, None where nothing speaks against it.

    load: raises StoreUnavailable. now_ms: by the clock of the scores.
    """
    if not going:
        return []
    records = await load([(message.key or b"").decode() for _, message in going])
    return [
        danger(letter.topic, message, record, now_ms)
        for (letter, message), record in zip(going, records, strict=True)
    ]


def danger(topic: str, message: Message, record: np.void, now_ms: int) -> str | None:
    """What would come of a message that goes back to its topic. record: a RECORD of its user."""
    found = None
    if message.value is None:
        found = "it erases a user; `DELETE /users/{user_id}` does that by name"
    elif record["facts"]["flags"] & ERASED:
        found = "its user was erased, and would be known again"
    elif topic == ACTIVITY and message.timestamp_ms > now_ms + AHEAD_MS:
        found = (
            "its log time lies in the future: time would go on for everybody in its partition, "
            "and who is silent would count as leaving"
        )
    elif topic == SCORES and _is_overtaken(message.value, record):
        found = (
            "its user was scored since: the topic keeps the last score of each user, and this one "
            "would take its place"
        )
    elif topic in {ALERTS, COMMANDS} and message.timestamp_ms < now_ms - OLD_MS:
        what = "told" if topic == ALERTS else "done"
        found = f"it is older than a day, and would be {what} as if it were of today"
    return found


def _is_overtaken(value: bytes, record: np.void) -> bool:
    outlook = record["outlook"]
    scored_at = to_ms(decode_score(value).scored_at)
    return bool(outlook["state"] & HAS_SCORE and outlook["scored_at"] > scored_at)
