"""Doing for many at once what each of them asks for: one round trip instead of many.

Partitions have loops of their own, but fetches are answered for many of them at once, and from then
on they reach the same step at the same time. What such a step costs however little it is about (a
round trip, a command, some hundred calls of numpy) is paid once for all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Part = TypeVar("Part")
Answer = TypeVar("Answer")


class Together(Generic[Part, Answer]):
    """Hands parts to `do` in groups: those that come while a group is under way are the next one.

    Nobody waits for company: a part that comes alone is done alone, at once. Nor does a part of
    `most` and more wait for others or they for it: it fills a group by itself.
    """

    def __init__(
        self,
        do: Callable[[Sequence[Part]], Awaitable[Sequence[Answer | Exception]]],
        *,
        size: Callable[[Part], int] = lambda _: 1,
        most: int,
    ) -> None:
        """do: answers each of its parts, or says why not; what it raises is told to all of them.

        size: of a part; most: what a group may come to.
        """
        self._do = do
        self._size = size
        self._most = most
        self._waiting: list[tuple[Part, asyncio.Future[Answer]]] = []
        self._turns: asyncio.Task[None] | None = None
        self._alone: set[asyncio.Task[None]] = set()

    async def ask(self, part: Part) -> Answer:
        """The answer to this part; raises what `do` says of it. It is done even if nobody waits."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        if self._size(part) >= self._most:
            alone = asyncio.create_task(self._answer([(part, answer)]))
            self._alone.add(alone)
            alone.add_done_callback(self._alone.discard)
        else:
            self._waiting.append((part, answer))
            if self._turns is None:
                self._turns = asyncio.create_task(self._take_turns())
        return await answer

    async def _take_turns(self) -> None:
        try:
            await asyncio.sleep(0)  # whoever was woken by the same event is about to come
            while self._waiting:
                await self._answer(self._next_group())
        finally:
            self._turns = None
            for _, answer in self._waiting:
                answer.cancel()  # only where this task was: the loop is being closed

    def _next_group(self) -> list[tuple[Part, asyncio.Future[Answer]]]:
        count = room = 0
        for part, _ in self._waiting:
            room += self._size(part)
            if count and room > self._most:
                break
            count += 1
        group, self._waiting = self._waiting[:count], self._waiting[count:]
        return group

    async def _answer(self, group: list[tuple[Part, asyncio.Future[Answer]]]) -> None:
        told: Sequence[Answer | Exception]
        try:
            told = await self._do([part for part, _ in group])
        except Exception as failure:
            told = [failure] * len(group)
        except asyncio.CancelledError:
            for _, answer in group:
                answer.cancel()
            raise
        for (_, answer), found in zip(group, told, strict=True):
            if answer.done():
                continue  # nobody waits any more
            if isinstance(found, Exception):
                answer.set_exception(found)
            else:
                answer.set_result(found)
