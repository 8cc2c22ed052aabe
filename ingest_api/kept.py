"""An answer that is kept for a while, so that asking often costs little."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

Answer = TypeVar("Answer")


class Kept(Generic[Answer]):
    """What `ask` answers, kept for `seconds`; asked once for all who come meanwhile."""

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
        return (await self.with_age())[0]

    async def with_age(self) -> tuple[Answer, float]:
        """The answer, and how many seconds ago it came; raises as `answer` does."""
        async with self._turn:
            if self._answer is None or self._clock() - self._answer[0] >= self._seconds:
                found = await self._ask()
                # Counted from here: who waited for a slow answer need not ask again.
                self._answer = self._clock(), found
            at, answer = self._answer
            return answer, self._clock() - at

    def forget(self) -> None:
        """Ask anew for who comes next."""
        self._answer = None
