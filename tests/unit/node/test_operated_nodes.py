"""What other nodes are asked to do."""

from __future__ import annotations

import asyncio

from broker.management.operated import Operated
from broker.node.operated_nodes import AskedNodes
from broker.ports.peer_calls import Caller, Unavailable
from tests.unit.thrift.memory_service import MemorySlotService


class Starting(MemorySlotService):
    """A node that cannot answer now."""

    async def operate(self, operation: str, given: bytes, caller: Caller) -> bytes:
        raise Unavailable("it is starting")


class Hanging(MemorySlotService):
    """A node that never answers."""

    async def operate(self, operation: str, given: bytes, caller: Caller) -> bytes:
        await asyncio.Event().wait()
        return b""


def asked(**others: MemorySlotService) -> AskedNodes:
    return AskedNodes(lambda: others, lambda: Caller("a"), timeout=0.01)


async def test_each_node_is_asked_and_who_does_not_answer_is_named() -> None:
    one, two = MemorySlotService(), MemorySlotService()
    nodes = asked(one=one, starting=Starting(), hanging=Hanging(), two=two)
    given = {"user": "заказы"}
    assert await nodes.operate("close", given) == Operated({"one": given, "two": given}, ("hanging", "starting"))


async def test_one_node_is_asked_alone_and_one_that_is_gone_is_silent() -> None:
    one, two = MemorySlotService(), MemorySlotService()
    nodes = asked(one=one, two=two)
    assert await nodes.operate("close", {}, "two") == Operated({"two": {}})
    assert (one.operations, two.operations) == ([], [("close", b"{}")])
    assert await nodes.operate("close", {}, "three") == Operated(silent=("three",))
