"""Ids of queues come from ranges that the store has reserved."""

from __future__ import annotations

from typing import Any

from broker.store.queue_ids import QueueIds
from tests.support.stage import Gate, Stage, drive


class Reserving:
    """Hands out one range after the other."""

    def __init__(self, *ranges: tuple[int, int]) -> None:
        self.gate = Gate()
        self._ranges = list(ranges)

    async def reserve_queue_ids(self, count: int) -> tuple[int, int]:
        await self.gate.passed()
        return self._ranges.pop(0)


def queue_ids(store: Any, first: int, last: int) -> QueueIds:
    return QueueIds(store, first, last)


def test_a_range_is_used_up_before_the_next_is_asked_for() -> None:
    ids = queue_ids(Reserving((1001, 2000)), 1, 2)
    assert [drive(ids.take()) for _ in range(4)] == [1, 2, 1001, 1002]


def test_two_that_wait_for_a_range_get_different_ids() -> None:
    store, stage, taken = Reserving((1001, 2000), (2001, 3000)), Stage(), list[int]()
    ids = queue_ids(store, 1, 0)

    async def take() -> None:
        taken.append(await ids.take())

    store.gate.is_open = False
    stage.spawn(take())
    stage.spawn(take())
    stage.run()
    store.gate.is_open = True
    stage.run()
    assert taken == [1001, 1002]
