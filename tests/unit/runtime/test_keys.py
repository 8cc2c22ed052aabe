"""Where things lie in Redis."""

from __future__ import annotations

from fnmatch import fnmatchcase

from hypothesis import given
from hypothesis import strategies as st

from contracts.partition import SHARDS, shard
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
def test_the_patterns_find_records_and_timers_and_nothing_else(user_id: str) -> None:
    """A rebuild forgets by pattern: alert episodes and marks stay out of its reach."""
    for one in range(SHARDS):
        here = one == shard(user_id)
        assert here == fnmatchcase(keys.record(user_id), keys.any_record(one))
        assert fnmatchcase(keys.timers(one, 3), keys.any_timers(one))
        for kept in (keys.episode(user_id), keys.marks(one, "u:t:"), keys.recent_alerts(one)):
            assert not fnmatchcase(kept, keys.any_record(one))
            assert not fnmatchcase(kept, keys.any_timers(one))
