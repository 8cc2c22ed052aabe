"""Steps of a fault that block, and that must not be left half done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

Answer = TypeVar("Answer")


async def whole(step: Callable[..., Answer], *arguments: Any) -> Answer:
    """Run a blocking step in a thread; a cancellation waits for its end."""
    running = asyncio.ensure_future(asyncio.to_thread(step, *arguments))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await running
        raise
