"""What integration tests share besides the servers."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator

import pytest
from aiokafka.conn import AIOKafkaConnection


@pytest.fixture(autouse=True)
async def no_connection_left_over() -> AsyncIterator[None]:
    """Close what aiokafka leaves open when a client is stopped while one of its tasks connects.

    In a service the loop goes on and the collector closes it; here it would outlive the test's loop
    and fail a later one. Clients that nobody stopped still fail the test: they warn by themselves.
    """
    yield
    for left in gc.get_objects():
        if isinstance(left, AIOKafkaConnection) and left.connected():
            left.close()
