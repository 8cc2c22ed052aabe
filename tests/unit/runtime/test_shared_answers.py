"""Questions that many put at once."""

from __future__ import annotations

import asyncio

import pytest

from runtime.shared_answers import SharedAnswers


class Oracle:
    """Answers when told, each question with its number."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers: list[asyncio.Future[int]] = []

    async def ask(self, about: str) -> int:
        self.asked.append(about)
        self.answers.append(asyncio.get_running_loop().create_future())
        return await self.answers[-1]

    def answer(self) -> None:
        self.answers[-1].set_result(len(self.answers))


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_who_asks_while_an_answer_is_awaited_shares_the_next() -> None:
    """Never the one under way: that question was put before theirs."""
    oracle = Oracle()
    shared = SharedAnswers(oracle.ask)
    first = asyncio.create_task(shared.ask("x"))
    await settled()
    later = [asyncio.create_task(shared.ask("x")) for _ in range(3)]
    await settled()
    assert ["x"] == oracle.asked

    oracle.answer()
    await settled()
    assert (["x", "x"], True) == (oracle.asked, first.done())

    oracle.answer()
    assert [1, 2, 2, 2] == await asyncio.gather(first, *later)


async def test_different_questions_do_not_wait_for_one_another() -> None:
    """Another broker may be the slow one."""
    oracle = Oracle()
    shared = SharedAnswers(oracle.ask)
    asking = [asyncio.create_task(shared.ask(about)) for about in ("x", "y")]
    await settled()

    assert ["x", "y"] == oracle.asked
    for answer in oracle.answers:
        answer.set_result(7)
    assert [7, 7] == await asyncio.gather(*asking)


async def test_a_failure_is_everybodys_who_shared_it_and_nobody_elses() -> None:
    """Who asks afterwards has a question of their own."""
    oracle = Oracle()
    shared = SharedAnswers(oracle.ask)
    both = [asyncio.create_task(shared.ask("x")) for _ in range(2)]
    await settled()
    oracle.answers[-1].set_exception(OSError("gone"))

    for failed in await asyncio.gather(*both, return_exceptions=True):
        assert "gone" == str(failed)
    again = asyncio.create_task(shared.ask("x"))
    await settled()
    oracle.answer()
    assert 2 == await again


async def test_who_gives_up_does_not_take_the_answer_from_the_others() -> None:
    """A partition that goes leaves the others theirs."""
    oracle = Oracle()
    shared = SharedAnswers(oracle.ask)
    gone, stays = (asyncio.create_task(shared.ask("x")) for _ in range(2))
    await settled()
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone

    oracle.answer()
    assert 1 == await stays
