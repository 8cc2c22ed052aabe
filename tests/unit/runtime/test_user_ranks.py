"""The indexes of users, read piece by piece."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.topics import ACTIVITY
from runtime import keys
from runtime.testing import FakeRedis
from runtime.user_ranks import BY_RISK, BY_WORTH, Place, Stream, UserRanks


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 3), max_size=300),
    st.integers(0, 3),
    st.integers(1, 40),
    st.tuples(st.integers(0, 3), st.integers(0, 300)),
)
async def test_behind_a_place_lies_what_is_lower(risks, of_class, count, place):
    """Of a stream: its users in order, at least as many as asked, however many have one value,
    and whether or not the user of the place is there."""
    redis = FakeRedis()
    members = {f"u{n:03}": risk / 4 - 2 * of_class for n, risk in enumerate(risks)}
    await redis.zadd(keys.rank(3), {**members, "other": 1 - 2 * ((of_class + 1) % 4)})
    behind = Place(place[0] / 4, f"u{place[1]:03}")
    stream = Stream(3, of_class)

    piece = (await UserRanks(redis.client).behind(BY_RISK, {stream: behind}, count))[stream]

    wanted = sorted((Place(risk / 4, f"u{n:03}") for n, risk in enumerate(risks)), reverse=True)
    wanted = [entry for entry in wanted if entry < behind]
    assert wanted[: len(piece.entries)] == piece.entries
    if not piece.is_last:
        assert len(piece.entries) >= min(count, len(wanted))
    else:
        assert wanted == piece.entries


async def test_from_the_beginning_and_of_many_streams_at_once() -> None:
    """Each stream has its own."""
    redis = FakeRedis()
    await redis.zadd(keys.rank(1), {"ada": 0.5, "bob": 0.25 - 2})
    await redis.zadd(keys.rank(2), {"cyd": 0.75})
    streams = [Stream(1, 0), Stream(1, 1), Stream(2, 0), Stream(3, 0)]

    found = await UserRanks(redis.client).behind(BY_RISK, dict.fromkeys(streams), 5)

    assert [[Place(0.5, "ada")], [Place(0.25, "bob")], [Place(0.75, "cyd")], []] == [
        found[stream].entries for stream in streams
    ]
    assert all(piece.is_last for piece in found.values())


async def test_users_are_counted_by_class() -> None:
    """Over all shards, each index by its own span."""
    redis = FakeRedis()
    await redis.zadd(keys.rank(1), {"ada": 0.5, "bob": 1 - 4, "cyd": -2.0})
    await redis.zadd(keys.rank(9), {"dan": 0.0, "eve": 0.3 - 6})
    await redis.zadd(keys.worth(9), {"dan": 90_000, "eve": 5 - 3e12})
    ranks = UserRanks(redis.client)

    assert [2, 1, 1, 1, 0, 0, 0, 0] == await ranks.counts(BY_RISK)
    assert [1, 0, 0, 1, 0, 0, 0, 0] == await ranks.counts(BY_WORTH)
    await redis.zadd(keys.rank(2), {"fay": 0.4 - 8})
    assert [2, 1, 1, 1, 1, 0, 0, 0] == await ranks.counts(BY_RISK)


async def test_the_generation_that_serves_is_read() -> None:
    """After a rebuild, what the one before says of users counts for nothing."""
    redis = FakeRedis()
    await redis.zadd(keys.rank(1), {"gone": 0.5})
    await redis.zadd(keys.rank(1, 2), {"ada": 0.5})
    await redis.set(keys.serving(1, ACTIVITY), 2)
    stream = Stream(1, 0)

    found = await UserRanks(redis.client).behind(BY_RISK, {stream: None}, 5)

    assert [Place(0.5, "ada")] == found[stream].entries


async def test_users_who_leave_meanwhile_hide_nobody(monkeypatch):
    """Between the search for a place among equals and the reading behind it, some may go."""
    redis = FakeRedis()
    await redis.zadd(keys.rank(0), {f"u{n:04}": 0.5 for n in range(200)})
    await redis.zadd(keys.rank(0), {f"high{n}": 0.6 for n in range(10)})
    ranks, stream, counts = UserRanks(redis.client), Stream(0, 0), 0
    count = redis.zcount

    async def leaving(name, low, high):
        nonlocal counts
        counts += 1
        found = await count(name, low, high)
        if counts == 2:
            await redis.zrem(name, *(f"high{n}" for n in range(10)))
        return found

    monkeypatch.setattr(redis, "zcount", leaving)
    monkeypatch.setattr("runtime.user_ranks.TIES", 1)
    piece = (await ranks.behind(BY_RISK, {stream: Place(0.5, "u0198")}, 1))[stream]

    assert 2 == counts
    assert "u0197" == piece.entries[0].user_id
