"""An answer that is kept for a while, so that asking often costs little."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

Answer = TypeVar("Answer")


class Kept(Generic[Answer]):
    """What `ask` answers, at most `seconds` old; asked once for all who come meanwhile."""

    def __init__(
        self,
        ask: Callable[[], Awaitable[Answer]],
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._seconds = seconds
        self._clock = clock
        self._turn = asyncio.Lock()
        self._answer: tuple[float, Answer] | None = None

    async def answer(self) -> Answer:
        """Raises what `ask` raises, and asks again then."""
        async with self._turn:
            if self._answer is None or self._clock() - self._answer[0] >= self._seconds:
                self._answer = self._clock(), await self._ask()
            return self._answer[1]
