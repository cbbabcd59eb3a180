"""What every store promises of topology as events (`broker.cluster_ports.EventStore`)."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from broker.errors import Evicted, StoreError
from broker.ports.cluster_rows import Cursor, EventPage, EventRow, Incarnation
from broker.ports.records import (
    BindingRecord,
    Change,
    Drop,
    ExchangeRecord,
    Put,
    QueueKey,
    QueueRecord,
    SubscriptionKey,
    SubscriptionRecord,
    Topology,
    VirtualHostRecord,
)
from tests.contract.harness import ORDERS
from tests.contract.nodes import Node, Nodes, messages, slot

VHOST = Put(VirtualHostRecord("/"))
QUEUE = QueueRecord("/", "orders", ORDERS.queue_id)


async def record(node: Node, expected: int, *changes: Change, token: str = "", payload: bytes = b"x") -> bool:
    token = token or f"{node.incarnation.node_id} {expected}"
    done: bool = await node.store.events.record(
        changes, payload, expected=expected, token=token, incarnation=node.incarnation
    )
    return done


async def test_a_new_store_has_no_events(nodes: Nodes) -> None:
    a = await nodes.join("a")

    assert await a.store.events.events(0, 10) == EventPage(0, 0, [])
    assert await a.store.events.load() == (Topology(), 0)
    assert await a.store.events.prune(10) == 0
    assert list(await a.store.events.cursors()) == []


async def test_a_change_is_recorded_as_an_event(nodes: Nodes) -> None:
    a, b = await nodes.join("a"), await nodes.join("b")

    assert await record(a, 0, VHOST, payload=b"\0one\xff")
    assert await record(b, 1, Put(QUEUE), payload=b"")

    events = [EventRow(1, a.incarnation, b"\0one\xff"), EventRow(2, b.incarnation, b"")]
    assert await a.store.events.events(0, 10) == EventPage(2, 1, events)
    assert await a.store.events.load() == (Topology([VirtualHostRecord("/"), QUEUE]), 2)


async def test_events_are_read_in_pages(nodes: Nodes) -> None:
    a = await nodes.join("a")
    for expected in range(5):
        await record(a, expected, VHOST)

    async def ids(after: int, limit: int) -> list[int]:
        return [event.event_id for event in (await a.store.events.events(after, limit)).events]

    assert await ids(0, 2) == [1, 2]
    assert await ids(2, 2) == [3, 4]
    assert await ids(4, 2) == [5]
    assert await ids(5, 2) == []
    assert (await a.store.events.events(5, 2)).last == 5


@pytest.mark.parametrize("expected", [0, 2, 7])
async def test_a_change_after_another_event_than_the_last_is_not_recorded(nodes: Nodes, expected: int) -> None:
    a, b = await nodes.join("a"), await nodes.join("b")
    await record(a, 0, VHOST)

    assert not await record(b, expected, Put(QUEUE), token="mine")

    assert await b.store.events.load() == (Topology([VirtualHostRecord("/")]), 1)
    assert (await b.store.events.events(0, 10)).last == 1


async def test_a_change_that_was_recorded_under_its_token_before_is_not_recorded_again(nodes: Nodes) -> None:
    a, b = await nodes.join("a"), await nodes.join("b")
    assert await record(a, 0, Put(QUEUE), token="one")
    assert await record(b, 1, Drop(QueueKey("/", "orders", QUEUE.queue_id)), token="two")

    assert await record(a, 0, Put(QUEUE), token="one")
    assert not await record(a, 0, Put(QUEUE), token="two")

    assert await a.store.events.load() == (Topology(), 2)


async def test_a_large_payload_is_kept(nodes: Nodes) -> None:
    a = await nodes.join("a")
    payload = bytes(range(256)) * 400

    await record(a, 0, VHOST, payload=payload)

    assert (await a.store.events.events(0, 1)).events[0].payload == payload


async def test_a_incarnation_that_is_over_records_nothing(nodes: Nodes) -> None:
    a, b = await nodes.join("a"), await nodes.join("b")
    assert await record(b, 0, VHOST, token="before")
    await nodes.evict(b)

    for expected, token in ((0, "before"), (1, "after")):
        with pytest.raises(Evicted):
            await record(b, expected, Put(QUEUE), token=token)
    with pytest.raises(Evicted):
        await a.store.events.record([VHOST], b"", expected=1, token="never", incarnation=Incarnation("c", "1"))
    assert await a.store.events.load() == (Topology([VirtualHostRecord("/")]), 1)


async def test_a_change_is_recorded_with_its_event_or_not_at_all(nodes: Nodes) -> None:
    a = await nodes.join("a")

    with pytest.raises(Exception, match=r".*"):
        await record(a, 0, VHOST, "no change")  # type: ignore[arg-type]

    assert await a.store.events.load() == (Topology(), 0)
    assert await record(a, 0, VHOST)


async def test_of_eight_writers_at_once_none_loses_a_change_and_none_leaves_a_gap(nodes: Nodes) -> None:
    members = [await nodes.join("a"), await nodes.join("b"), await nodes.join("c")]

    async def write(writer: int) -> None:
        node = members[writer % 3]
        for number in range(3):
            # Each pair of writers wants one and the same queue, and one of its own.
            shared = QueueRecord("/", f"shared {writer // 2} {number}", 1000 + 100 * writer + number)
            own = QueueRecord("/", f"own {writer} {number}", 1000 + 100 * writer + 10 + number)
            changes = [Put(shared), Put(own)]
            last = (await node.store.events.events(0, 1)).last
            while not await record(node, last, *changes, token=f"{writer}-{number}-{last}", payload=own.name.encode()):
                last = (await node.store.events.events(0, 1)).last

    async with asyncio.TaskGroup() as group:
        for writer in range(8):
            group.create_task(write(writer))

    page = await members[0].store.events.events(0, 100)
    assert [event.event_id for event in page.events] == list(range(1, 25))
    assert {event.payload.decode() for event in page.events} == {f"own {w} {n}" for w in range(8) for n in range(3)}
    topology, last = await members[1].store.events.load()
    assert last == 24
    assert len({queue.name for queue in topology.of(QueueRecord)}) == len(topology.of(QueueRecord)) == 24 + 12


async def test_the_same_record_twice_at_once_is_one_event(nodes: Nodes) -> None:
    a = await nodes.join("a")
    for expected in range(5):
        queue = QueueRecord("/", f"q{expected}", 100 + expected)
        done = await asyncio.gather(*(record(a, expected, Put(queue), token=f"t{expected}") for _ in "12"))
        assert done == [True, True]

    assert (await a.store.events.load())[1] == 5
    assert len((await a.store.events.events(0, 10)).events) == 5


# What is recorded


async def test_what_is_not_durable_is_recorded_as_such(nodes: Nodes) -> None:
    a = await nodes.join("a")
    exchange = ExchangeRecord("/", "news", "fanout", durable=False)
    passing = QueueRecord("/", "passing", 8, durable=False, auto_delete=True, arguments=b"\x01at\x01")
    private = QueueRecord("/", "private", 9, exclusive=True, durable=False, node_id="a\0é ", incarnation="1")

    await record(a, 0, VHOST, Put(exchange), Put(passing), Put(private))

    assert (await a.store.events.load())[0] == Topology([VirtualHostRecord("/"), exchange, passing, private])
    assert await a.store.load() == Topology([VirtualHostRecord("/"), exchange, passing, private])


async def test_subscriptions_are_kept_in_the_order_in_which_they_came(nodes: Nodes) -> None:
    a = await nodes.join("a")
    first = SubscriptionRecord(7, "b", "1")
    second = SubscriptionRecord(7, "a", "1", exclusive=True, priority=-(1 << 40))
    third = SubscriptionRecord(8, "b", "1")
    fourth = SubscriptionRecord(7, "b", "2")
    await record(a, 0, *(Put(one) for one in (first, second)))
    await record(a, 1, *(Put(one) for one in (third, fourth, first)))

    assert (await a.store.events.load())[0].of(SubscriptionRecord) == (first, second, third, fourth)

    await record(a, 2, Drop(SubscriptionKey(7, "b", "1")), Drop(SubscriptionKey(7, "nobody", "1")))
    await record(a, 3, Put(first))

    assert (await a.store.events.load())[0].of(SubscriptionRecord) == (second, third, fourth, first)


async def test_a_deleted_queue_takes_messages_slots_and_subscriptions_along(nodes: Nodes) -> None:
    a, b = await nodes.join("a"), await nodes.join("b")
    await nodes.coordinate(a)
    await record(a, 0, VHOST, Put(QUEUE), Put(SubscriptionRecord(7, "b", "1")))
    await a.insert(*messages(a.lane, 1, 2))
    await a.store.slots.assign(await a.give(slot(a.lane, 1, 2)), b.incarnation, nodes.fence)

    await record(b, 1, Drop(QueueKey("/", "orders", QUEUE.queue_id)))

    assert await a.store.events.load() == (Topology([VirtualHostRecord("/")]), 2)
    assert await a.ids(lane=a.lane) == []
    assert list(await a.store.slots.slots()) == []


async def test_a_deletion_that_comes_too_late_deletes_no_message(nodes: Nodes) -> None:
    a = await nodes.join("a")
    await record(a, 0, VHOST, Put(QUEUE))
    await a.insert(*messages(a.lane, 1, 2))

    assert not await record(a, 0, Drop(QueueKey("/", "orders", QUEUE.queue_id)), token="late")

    assert await a.ids(lane=a.lane) == [1, 2]


async def test_a_deleted_virtual_host_takes_slots_and_subscriptions_along(nodes: Nodes) -> None:
    a = await nodes.join("a")
    kept, other = SubscriptionRecord(8, "a", "1"), replace(QUEUE, vhost="carbon", queue_id=8)
    binding = BindingRecord("/", "", "queue", "orders", "orders")
    subscriptions = (Put(SubscriptionRecord(7, "a", "1")), Put(kept))
    carbon = Put(VirtualHostRecord("carbon"))
    await record(a, 0, VHOST, carbon, Put(QUEUE), Put(other), Put(binding), *subscriptions)
    await a.insert(*messages(a.lane, 1))
    await a.give(slot(a.lane, 1, 1))

    await record(a, 1, Drop(VirtualHostRecord("/")))

    assert await a.store.events.load() == (Topology([VirtualHostRecord("carbon"), other, kept]), 2)
    assert list(await a.store.slots.slots()) == []


# Cursors and retention


async def test_cursors_are_those_of_incarnations_that_are_not_over(nodes: Nodes) -> None:
    a, b, c = [await nodes.join(name) for name in "abc"]
    for node in (c, a, b):
        await node.store.events.note_cursor(node.incarnation, 1, "#1")
    await a.store.events.note_cursor(a.incarnation, 2, "#2")
    await nodes.evict(b)
    await nodes.leave(c)
    await b.store.events.note_cursor(b.incarnation, 9, "late")

    assert list(await a.store.events.cursors()) == [Cursor(a.incarnation, 2, "#2")]

    again = await nodes.join("b", "2")
    assert list(await a.store.events.cursors()) == [Cursor(a.incarnation, 2, "#2")]
    await again.store.events.note_cursor(again.incarnation, 3, "#3")
    await b.store.events.note_cursor(b.incarnation, 9, "late")
    assert list(await a.store.events.cursors()) == [Cursor(a.incarnation, 2, "#2"), Cursor(again.incarnation, 3, "#3")]


async def test_the_last_events_are_kept(nodes: Nodes) -> None:
    a = await nodes.join("a")
    for expected in range(5):
        await record(a, expected, VHOST)

    assert await a.store.events.prune(2) == 3
    assert await a.store.events.prune(2) == 0

    page = await a.store.events.events(0, 10)
    assert (page.last, page.oldest, [event.event_id for event in page.events]) == (5, 4, [4, 5])
    assert await record(a, 5, VHOST)
    assert (await a.store.events.events(5, 10)).oldest == 4


async def test_events_survive_a_restart(nodes: Nodes) -> None:
    a = await nodes.join("a")
    await record(a, 0, VHOST)
    await nodes.leave(a)
    await nodes.close()
    nodes.stores.clear()
    again = await nodes.join("a", "2")

    assert (await again.store.events.events(0, 10)).last == 1
    assert await record(again, 1, Put(QUEUE))


async def test_a_closed_store_says_so(nodes: Nodes) -> None:
    a = await nodes.join("a")
    await a.store.close()

    with pytest.raises(StoreError, match="not open"):
        await a.store.events.load()
