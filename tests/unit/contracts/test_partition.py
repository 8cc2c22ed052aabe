"""Where users live: as Kafka's Java client says, whatever client wrote the record."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.partition import SHARDS, home, homes, shard

# murmur2 of Kafka's own test (UtilsTest.testMurmur2), as signed 32-bit integers.
JAVA_MURMUR2 = {
    "21": -973932308,
    "foobar": -790332482,
    "a-little-bit-long-string": -985981536,
    "a-little-bit-longer-string": -1486304829,
    "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    "abc": 479470107,
}


@pytest.mark.parametrize("user_id", JAVA_MURMUR2)
@pytest.mark.parametrize("partitions", [1, 2, 8, 12, 4096])
def test_home_is_where_the_java_client_puts_a_user(user_id, partitions):
    """
    toPositive(murmur2(key)) mod partitions, with the values of Kafka's own test.
    """
    assert (JAVA_MURMUR2[user_id] & 0x7FFFFFFF) % partitions == home(user_id, partitions)


@given(user_id=st.text(min_size=1), partitions=st.integers(1, 4096))
def test_every_user_has_a_home_and_a_shard(user_id, partitions):
    """
    Any text, in any script, has one, and always the same.
    """
    assert 0 <= home(user_id, partitions) < partitions
    assert 0 <= shard(user_id) < SHARDS
    assert home(user_id, partitions) == home(user_id, partitions)


@given(user_ids=st.lists(st.text(max_size=40)), partitions=st.integers(1, 4096))
def test_homes_of_many_are_those_of_each(user_ids, partitions):
    """
    Of any lengths, mixed.
    """
    assert [home(user_id, partitions) for user_id in user_ids] == homes(
        user_ids, partitions
    ).tolist()


@pytest.mark.parametrize("partitions", [1, 2, 8, 12, 4096])
def test_homes_are_where_the_java_client_puts_users(partitions):
    """
    By Kafka's own values, without asking the other implementation.
    """
    expected = [(value & 0x7FFFFFFF) % partitions for value in JAVA_MURMUR2.values()]
    assert expected == homes(list(JAVA_MURMUR2), partitions).tolist()


def test_users_of_one_partition_spread_over_all_shards():
    """
    Home and shard are told by different hashes.
    """
    at_home = [user for user in map(str, range(4000)) if home(user, SHARDS) == 3]

    assert SHARDS == len({shard(user) for user in at_home})


def test_shards_do_not_move():
    """
    A user's key in Redis is the same in every release.
    """
    assert [8, 3, 4] == [shard(user) for user in ("ada", "grace", "zoë")]
