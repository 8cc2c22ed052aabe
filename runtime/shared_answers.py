"""One question at a time: who asks while an answer is awaited shares the next one.

An answer is never older than the question of anybody it is given to.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

About = TypeVar("About", bound=Hashable)
Answer = TypeVar("Answer")


class SharedAnswers(Generic[About, Answer]):
    """What `ask` answers, asked anew for everybody who comes, but once for all who come at once."""

    def __init__(self, ask: Callable[[About], Awaitable[Answer]]) -> None:
        self._ask = ask
        self._turns: defaultdict[About, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._next: dict[About, asyncio.Task[Answer]] = {}

    async def ask(self, about: About) -> Answer:
        """The answer to a question that is put from here on; raises what `ask` raises."""
        if about not in self._next:
            self._next[about] = asyncio.create_task(self._answer(about))
        # Shielded: who gives up does not take the answer from the others.
        return await asyncio.shield(self._next[about])

    async def _answer(self, about: About) -> Answer:
        async with self._turns[about]:
            del self._next[about]  # from here on an answer might be too old
            return await self._ask(about)
