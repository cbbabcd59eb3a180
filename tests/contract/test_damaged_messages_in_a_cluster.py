"""A damaged message that another node published: its slot ends without it, and it comes back with its own lane."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection, select, update

from broker.errors import Evicted
from broker.store.memory.store import MemoryStore
from broker.store.sql.schema import DAMAGED_MESSAGE, METADATA
from tests.contract.nodes import Node, Nodes, messages, slot


async def joined(nodes: Nodes, node_id: str) -> Node:
    node = await nodes.join(node_id)
    if isinstance(node.store, MemoryStore):
        pytest.skip("no disk, no damage")
    return node


async def damage(node: Node, message_id: int) -> None:
    def change(connection: Connection) -> None:
        connection.execute(update(METADATA).where(METADATA.c.message_id == message_id).values(message_metadata=b"\xff"))

    await node.store._work(change)


async def aside(node: Node) -> list[int]:
    """Return the numbers of the messages that are set aside."""

    def numbers(connection: Connection) -> list[int]:
        return sorted(found >> 18 for found in connection.scalars(select(DAMAGED_MESSAGE.c.message_id)))

    found: list[int] = await node.store._work(numbers)
    return found


async def test_a_slot_is_finished_when_all_that_is_left_of_it_is_set_aside(nodes: Nodes) -> None:
    a, b = await joined(nodes, "a"), await joined(nodes, "b")
    fence = await nodes.coordinate(a)
    first, second = messages(a.lane, 1, 2)
    await a.insert(first, second)
    await damage(a, second.id)
    rows = await a.give(slot(a.lane, 1, 2))
    await a.store.slots.assign(rows, b.incarnation, fence)

    assert await b.ids(lane=a.lane) == [1]
    await b.delete(first)

    assert list(await b.store.slots.finish([rows[0].start], b.incarnation)) == [rows[0].start]
    assert await aside(a) == [2]


async def test_a_node_that_joins_gets_what_was_set_aside_of_its_own_lane(nodes: Nodes) -> None:
    a, b = await joined(nodes, "a"), await joined(nodes, "b")
    for node, number in ((a, 1), (b, 2)):
        [one] = messages(node.lane, number)
        await node.insert(one)
        await damage(node, one.id)
        assert await node.ids(lane=node.lane) == []
    assert await a.store.slots.window(a.lane, 10) == []

    await nodes.leave(a)
    a = await nodes.join("a", "2")

    assert [piece.count for piece in await a.store.slots.window(a.lane, 10)] == [1]
    assert await a.store.slots.window(b.lane, 10) == []
    assert await aside(a) == [2]


async def test_a_node_that_was_evicted_sets_nothing_aside(nodes: Nodes) -> None:
    b, a = await joined(nodes, "b"), await joined(nodes, "a")
    [one] = messages(a.lane, 1)
    await a.insert(one)
    await damage(a, one.id)
    await nodes.coordinate(b)
    await nodes.evict(a)

    with pytest.raises(Evicted):
        await a.ids(lane=a.lane)

    assert await aside(b) == []
