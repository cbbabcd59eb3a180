from __future__ import annotations

import asyncio

from broker.server.turns import Turns
from broker.turn_budget import TurnBudget


async def test_a_turn_is_shared_by_those_who_wait_until_it_is_used_up() -> None:
    work = TurnBudget(10)
    turns = Turns(work)
    called: list[str] = []

    def do(name: str, steps: int) -> None:
        called.append(name)
        work.done += steps

    for name, steps in (("a", 4), ("b", 6), ("c", 1)):
        turns.call(lambda name=name, steps=steps: do(name, steps))  # type: ignore[misc]
    assert called == []
    await asyncio.sleep(0)
    assert called == ["a", "b"]
    await asyncio.sleep(0)
    assert called == ["a", "b", "c"]


async def test_each_turn_begins_with_no_work_done() -> None:
    work = TurnBudget(10)
    turns = Turns(work)
    work.done = 99
    seen: list[int] = []
    turns.call(lambda: seen.append(work.done))
    await asyncio.sleep(0)
    assert seen == [0]


async def test_who_asks_again_in_its_turn_comes_after_the_others_and_once() -> None:
    turns = Turns(TurnBudget(10))
    called: list[str] = []

    def again() -> None:
        called.append("again")
        if len(called) < 6:
            turns.call(again)

    turns.call(again)
    turns.call(lambda: called.append("other"))
    await asyncio.sleep(0)
    assert called == ["again", "other"]
    for length in (3, 4, 5, 6, 6):
        await asyncio.sleep(0)
        assert len(called) == length


async def test_a_handler_waits_for_its_turn() -> None:
    turns = Turns(TurnBudget())
    order: list[str] = []

    async def handler() -> None:
        order.append("waits")
        await turns.next()
        order.append("goes on")

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(handler())
        await asyncio.sleep(0)
        order.append("others")
    assert order == ["waits", "others", "goes on"]


async def test_one_that_was_cancelled_keeps_nobody_from_a_turn() -> None:
    turns = Turns(TurnBudget())
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(turns.next())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait_for(turns.next(), 5)
