"""Ids of queues come from ranges that the store has reserved."""

from __future__ import annotations

import asyncio
from typing import Any

from broker.store.queue_ids import QueueIds


class Reserving:
    """Hands out ranges of a thousand, from `first` on, while it is let."""

    def __init__(self, first: int) -> None:
        self.may = asyncio.Event()
        self.asked = 0
        self._first = first

    async def reserve_queue_ids(self, count: int) -> tuple[int, int]:
        self.asked += 1
        await self.may.wait()
        first = self._first
        self._first += count
        return first, first + count - 1


def queue_ids(store: Any, first: int, last: int) -> QueueIds:
    return QueueIds(store, first, last)


async def test_ranges_are_used_up_one_after_the_other() -> None:
    store = Reserving(1001)
    store.may.set()
    ids = queue_ids(store, 1, 2)
    assert [await ids.take() for _ in range(4)] == [1, 2, 1001, 1002]


async def test_many_that_wait_for_a_range_get_different_ids_of_one() -> None:
    store = Reserving(1001)
    ids = queue_ids(store, 1, 0)
    waiting = [asyncio.get_running_loop().create_task(ids.take()) for _ in range(300)]
    await asyncio.sleep(0)
    store.may.set()

    assert sorted(await asyncio.gather(*waiting)) == list(range(1001, 1301))
    assert store.asked == 1


async def test_one_reserves_the_next_range_in_time_and_the_others_wait_for_nobody() -> None:
    store = Reserving(1001)
    ids = queue_ids(store, 1, 1000)
    taken = [await ids.take() for _ in range(499)]
    reserving = asyncio.get_running_loop().create_task(ids.take())
    await asyncio.sleep(0)
    taken += [await ids.take() for _ in range(500)]

    assert (store.asked, reserving.done()) == (1, False)
    store.may.set()
    taken += [await reserving, await ids.take()]
    assert sorted(taken) == list(range(1, 1002))
