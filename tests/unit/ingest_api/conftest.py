"""The gateway on doubles, as a fixture."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.unit.ingest_api.stand import Stand, standing


@pytest.fixture
async def gateway() -> AsyncIterator[Stand]:
    """A started gateway on a wall clock that stands at noon."""
    async with standing() as stand:
        yield stand
