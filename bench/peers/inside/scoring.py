"""A batch of events against users kept as Redis hashes; the caller runs the pipelines."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from classifier import Classifier
from features import FIELDS, from_hash, rows, updated


class Batch:
    """Read, score, write: one pipeline, one call of the classifier, one pipeline."""

    def __init__(self, events: list[dict[str, Any]]) -> None:
        self._events = events
        self._users = list(dict.fromkeys(event["user_id"] for event in events))
        self._states: dict[str, dict[str, float]] = {}

    def read(self, pipe: Any) -> None:
        """Put the reading of every user into the pipeline."""
        for user in self._users:
            pipe.hmget(f"user:{user}", FIELDS)

    def scored(self, hashes: list[list[bytes | None]], classifier: Classifier) -> list[bytes]:
        """A score per event, JSON, of what the pipeline answered."""
        for user, values in zip(self._users, hashes, strict=True):
            self._states[user] = from_hash(values)
        after = []
        for event in self._events:
            at = datetime.fromisoformat(event["occurred_at"]).timestamp()
            user = event["user_id"]
            self._states[user] = updated(self._states[user], event, at)
            after.append(self._states[user])
        churn = classifier.churn(rows(after, classifier.columns)).round(6).tolist()
        return [
            msgspec.json.encode({"user_id": event["user_id"], "churn_probability": probability})
            for event, probability in zip(self._events, churn, strict=True)
        ]

    def write(self, pipe: Any) -> None:
        """Put the writing of every user into the pipeline."""
        for user, state in self._states.items():
            pipe.hset(f"user:{user}", mapping=state)
