"""Names behind category hashes."""

from __future__ import annotations

import pytest

from contracts.events import category_hash
from runtime import keys
from runtime.testing import FakeRedis
from scorer import names as module
from scorer.names import Names


async def test_a_name_learned_by_one_worker_is_known_to_the_next() -> None:
    """Normalised, as the hash is; 0 is no category, and an unknown one shows its hash."""
    redis = FakeRedis()
    await Names(redis.client).learn(["  New   York"])

    names = Names(redis.client)
    await names.load()

    assert "new york" == names.name(category_hash("NEW YORK"))
    assert None is names.name(0)
    assert "#0000002a" == names.name(42)


async def test_what_is_known_is_not_written_again() -> None:
    """A batch costs a round trip only when somebody states something new."""
    redis = FakeRedis()
    names = Names(redis.client)
    await names.learn(["a"])
    redis.state.hashes.clear()

    await names.learn(["A", "a "])

    assert {} == redis.state.hashes


async def test_there_is_room_for_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """A field with more values is no category: later names stay hashes."""
    monkeypatch.setattr(module, "MAX_NAMES", 2)
    redis = FakeRedis()
    names = Names(redis.client)
    await names.learn(["a", "b"])
    await names.learn(["c"])

    assert 2 == len(await redis.hgetall(keys.NAMES))
    assert f"#{category_hash('c'):08x}" == names.name(category_hash("c"))
