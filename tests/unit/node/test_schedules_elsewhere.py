"""Delayed messages that other nodes have."""

from __future__ import annotations

from collections.abc import Sequence

from broker.node.schedules_elsewhere import SchedulesElsewhere
from broker.ports.peer_calls import Caller, Unavailable
from broker.topology.schedules import CANCELLED, FIRED, MOVED, ScheduleChange
from tests.unit.thrift.memory_service import MemorySlotService


class Starting(MemorySlotService):
    """A node that cannot answer now."""

    async def change_delayed(self, vhost: str, ids: Sequence[int], due: int, caller: Caller) -> Sequence[int]:
        raise Unavailable("it is starting")


async def test_each_node_is_asked_and_who_does_not_answer_costs_the_others_nothing() -> None:
    one, two = MemorySlotService(), MemorySlotService()
    one.delayed["/", 7], two.delayed["/", 8], two.delayed["/", 9] = -1, -2, 1000
    others = {"one": one, "starting": Starting(), "two": two}
    elsewhere = SchedulesElsewhere(lambda: others, lambda: Caller("a"))
    assert await elsewhere.change("/", [7, 8, 9, 10], 0) == {
        7: ScheduleChange(CANCELLED),
        8: ScheduleChange(FIRED),
        9: ScheduleChange(MOVED, 1000),
    }
