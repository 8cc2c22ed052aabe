"""Where things lie in Redis."""

from __future__ import annotations

from fnmatch import fnmatchcase

from hypothesis import given
from hypothesis import strategies as st

from contracts.partition import shard
from contracts.topics import ACTIVITY
from runtime import keys


def tag_of(key: str) -> str:
    """What Redis Cluster hashes: between the first `{` and the next `}`."""
    return key.partition("{")[2].partition("}")[0]


@given(st.text(min_size=1))
def test_every_key_of_a_user_carries_the_tag_of_their_shard(user_id: str) -> None:
    """Also when the id has braces of its own: one script may touch all of a shard's keys."""
    tag = f"{shard(user_id):02d}"
    of_shard = [
        keys.timers(shard(user_id), 5),
        keys.rank(shard(user_id)),
        keys.recent_alerts(shard(user_id)),
        keys.marks(shard(user_id), "things"),
    ]
    of_user = [keys.record(user_id), keys.episode(user_id)]

    assert {tag} == {tag_of(key) for key in of_shard + of_user}


@given(st.text(min_size=1), st.text(min_size=1))
def test_users_share_no_key(one: str, other: str) -> None:
    """Different ids, different keys."""
    assert (one == other) == (keys.record(one) == keys.record(other))
    assert keys.record(one) != keys.episode(other)


@given(st.text(min_size=1).filter(lambda text: not set(text) & set("[]!*?\\")))
def test_the_patterns_find_a_generations_users_and_nothing_else(user_id: str) -> None:
    """A rebuild forgets by pattern: alerts and other generations stay out of its reach."""
    at = shard(user_id)
    of_second = [keys.record(user_id, 2), keys.timers(at, 3, 2), keys.rank(at, 2)]
    for name in of_second:
        assert fnmatchcase(name, keys.any_of(2))
        assert not fnmatchcase(name, keys.any_of(22))
        assert (name == of_second[0]) == fnmatchcase(name, keys.any_record(2))
    for kept in (
        keys.record(user_id, 1),
        keys.record(user_id, 12),
        keys.episode(user_id),
        keys.marks(at, ACTIVITY, 2),
        keys.serving(at, ACTIVITY),
        keys.recent_alerts(at),
    ):
        assert not fnmatchcase(kept, keys.any_of(2))


@given(st.text(min_size=1), st.integers(1, 100))
def test_a_records_key_tells_its_user_and_shard(user_id: str, generation: int) -> None:
    """Whatever colons and braces the id has."""
    name = keys.record(user_id, generation)

    assert user_id == keys.user_of(name.encode())
    assert shard(user_id) == keys.shard_in(name)
    assert keys.is_record(name.encode())
    assert not keys.is_record(keys.rank(3, generation).encode())
