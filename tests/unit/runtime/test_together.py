"""Doing for many at once what each of them asks for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from runtime.together import Together


class Doer:
    """Doubles numbers when told to, group by group; says no to negative ones."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.go_on: list[asyncio.Event] = []

    async def do(self, parts: Sequence[int]) -> list[int | Exception]:
        self.groups.append(list(parts))
        self.go_on.append(asyncio.Event())
        await self.go_on[-1].wait()
        if 13 in parts:
            raise OSError("all of it")
        return [ValueError(part) if part < 0 else 2 * part for part in parts]

    def together(self, most: int = 100) -> Together[int, int]:
        return Together(self.do, size=abs, most=most)


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_who_comes_while_a_group_is_under_way_is_in_the_next() -> None:
    """And who comes at the same moment is in the same one."""
    doer = Doer()
    together = doer.together()
    first = [asyncio.create_task(together.ask(part)) for part in (1, 2)]
    await settled()
    later = [asyncio.create_task(together.ask(part)) for part in (3, 4, 5)]
    await settled()
    assert [[1, 2]] == doer.groups

    doer.go_on[0].set()
    await settled()
    assert ([[1, 2], [3, 4, 5]], True) == (doer.groups, all(task.done() for task in first))

    doer.go_on[1].set()
    assert [2, 4, 6, 8, 10] == await asyncio.gather(*first, *later)


async def test_a_group_is_not_larger_than_allowed() -> None:
    """Who has no room in it is in the one after."""
    doer = Doer()
    together = doer.together(most=10)
    asking = [asyncio.create_task(together.ask(part)) for part in (4, 5, 6, 1)]
    for done in range(2):
        await settled()
        doer.go_on[done].set()

    assert [8, 10, 12, 2] == await asyncio.gather(*asking)
    assert [[4, 5], [6, 1]] == doer.groups


async def test_what_fills_a_group_by_itself_waits_for_nobody() -> None:
    """Nor does anybody wait for it."""
    doer = Doer()
    together = doer.together(most=10)
    asking = [asyncio.create_task(together.ask(part)) for part in (1, 10, 20)]
    await settled()

    assert [[1], [10], [20]] == sorted(doer.groups)
    for event in doer.go_on:
        event.set()
    assert [2, 20, 40] == await asyncio.gather(*asking)


async def test_each_hears_of_their_own_failure() -> None:
    """Those beside them in the group get their answers."""
    doer = Doer()
    together = doer.together()
    asking = [asyncio.create_task(together.ask(part)) for part in (1, -2, 3)]
    await settled()
    doer.go_on[0].set()
    told = await asyncio.gather(*asking, return_exceptions=True)

    assert ([2, 6], ValueError) == ([told[0], told[2]], type(told[1]))


async def test_a_failure_of_the_whole_is_told_to_all() -> None:
    """And the next group is done as if nothing had been."""
    doer = Doer()
    together = doer.together()
    asking = [asyncio.create_task(together.ask(part)) for part in (1, 13)]
    await settled()
    doer.go_on[0].set()
    for task in asking:
        with pytest.raises(OSError, match="all of it"):
            await task
    after = asyncio.create_task(together.ask(4))
    await settled()
    doer.go_on[1].set()
    assert 8 == await after


@pytest.mark.parametrize("part", [1, 100])
async def test_who_gives_up_does_not_take_the_answer_from_the_others(part: int) -> None:
    """What was begun is ended, too: a write may be under way."""
    doer = Doer()
    together = doer.together()
    gone, there = (asyncio.create_task(together.ask(each)) for each in (part, 2))
    await settled()
    gone.cancel()
    await settled()
    for event in doer.go_on:
        event.set()

    assert 4 == await there
    assert gone.cancelled()
    assert {part, 2} == {each for group in doer.groups for each in group}
