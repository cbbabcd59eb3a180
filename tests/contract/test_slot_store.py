"""What every store promises of slots between nodes (`broker.cluster_ports.SlotStore`)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise

import pytest

from broker.errors import Evicted, Fenced, StoreError
from broker.ports.cluster_rows import Incarnation, SlotRow
from broker.ports.peer_calls import Fence
from broker.ports.records import Drop, QueueKey
from broker.ports.slot import Slot
from broker.ports.store import Batch
from tests.contract.harness import INVOICES, ORDERS
from tests.contract.nodes import Node, Nodes, message_id, messages, row, slot, transient


async def two(nodes: Nodes) -> tuple[Node, Node]:
    """Return a node that coordinates and another one."""
    a, b = await nodes.join("a"), await nodes.join("b")
    await nodes.coordinate(a)
    return a, b


async def all_slots(node: Node) -> list[SlotRow]:
    return list(await node.store.slots.slots())


# Cutting


async def test_a_new_store_has_no_slots(nodes: Nodes) -> None:
    a = await nodes.join("a")

    assert await all_slots(a) == []
    assert await a.store.slots.owned(a.incarnation) == []
    assert await a.store.slots.purge(ORDERS.queue_id) == 0
    assert await a.store.slots.fence() == Fence(0, "")


async def test_what_a_node_gives_of_its_lane_becomes_free_slots(nodes: Nodes) -> None:
    a, b = await two(nodes)
    given = [slot(a.lane, 1, 5), slot(a.lane, 6, 9, maybe_delivered=True, transient=True)]

    assert await a.give(*given) == [row(piece) for piece in given]

    assert await all_slots(b) == [row(piece) for piece in given]
    assert await b.store.slots.owned(a.incarnation) == []


async def test_slots_are_listed_by_queue_lane_and_start(nodes: Nodes) -> None:
    a, b = await two(nodes)
    invoices = slot(a.lane, 1, 2, queue=INVOICES)
    late, early, other = slot(a.lane, 7, 8), slot(a.lane, 3, 4), slot(b.lane, 1, 2)
    await a.give(invoices, late, early)
    await b.give(other)

    assert await all_slots(a) == [row(early), row(late), row(other), row(invoices)]


async def test_giving_the_same_again_changes_nothing_more(nodes: Nodes) -> None:
    a, b = await two(nodes)
    given = [slot(a.lane, 1, 5), slot(a.lane, 6, 9)]
    rows = await a.give(*given)
    await b.store.slots.assign(rows[:1], b.incarnation, nodes.fence)

    assert await a.give(*given) == rows[1:]

    assert await all_slots(a) == [replace(rows[0], owner=b.incarnation), rows[1]]


async def test_a_batch_makes_free_slots_of_the_messages_it_inserts(nodes: Nodes) -> None:
    a, b = await two(nodes)
    inserts = messages(a.lane, 1, 3, 5)
    given = [slot(a.lane, 1, 3), replace(slot(a.lane, 5, 5), maybe_delivered=True, transient=True)]

    await a.store.write(Batch(inserts, slots=given))

    rows = await all_slots(b)
    assert rows == [row(piece) for piece in given]
    assert list(await b.store.slots.assign(rows, b.incarnation, nodes.fence)) == [
        replace(one, owner=b.incarnation) for one in rows
    ]


async def test_a_incarnation_that_is_over_makes_no_slot_with_a_batch(nodes: Nodes) -> None:
    b, a = await two(nodes)  # a store of one connection writes in the incarnation that has joined last
    await nodes.evict(a)

    with pytest.raises(Evicted):
        await a.store.write(Batch(slots=[slot(a.lane, 1, 3)]))
    assert await all_slots(b) == []


async def test_what_was_given_and_cut_by_another_node_is_not_given_again(nodes: Nodes) -> None:
    a, b = await two(nodes)
    rows = await a.give(slot(a.lane, 1, 9))
    await b.store.slots.assign(rows, b.incarnation, nodes.fence)
    await b.store.slots.cut([rows[0].start], [slot(a.lane, 3, 5)], [slot(a.lane, 6, 9)], b.incarnation)

    assert await a.give(slot(a.lane, 1, 9)) == []

    assert await all_slots(a) == [row(slot(a.lane, 3, 5), b.incarnation), row(slot(a.lane, 6, 9))]


async def test_messages_of_another_nodes_lane_cannot_be_given(nodes: Nodes) -> None:
    a, b = await two(nodes)

    with pytest.raises(StoreError, match=rf"is of lane {b.lane}, but node 'a' has lane {a.lane}"):
        await a.give(slot(b.lane, 1, 5))


async def test_no_message_can_be_in_two_slots(nodes: Nodes) -> None:
    a, _ = await two(nodes)

    with pytest.raises(StoreError, match="overlap"):
        await a.give(slot(a.lane, 1, 5), slot(a.lane, 5, 9))
    assert await all_slots(a) == []


async def test_two_slots_cannot_begin_at_the_same_id_even_if_they_are_of_two_queues(nodes: Nodes) -> None:
    a, _ = await two(nodes)
    (free,) = await a.give(slot(a.lane, 1, 5))

    with pytest.raises(StoreError):
        await a.give(slot(a.lane, 1, 5, queue=INVOICES))

    assert await all_slots(a) == [free]


async def test_slots_of_two_queues_or_lanes_may_lie_between_each_other(nodes: Nodes) -> None:
    a, b = await two(nodes)
    await a.give(slot(a.lane, 1, 9))
    await a.give(slot(a.lane, 2, 8, queue=INVOICES))
    await b.give(slot(b.lane, 1, 9))

    assert len(await all_slots(a)) == 3


async def test_a_slot_is_cut_into_what_its_owner_keeps_and_what_it_gives_back(nodes: Nodes) -> None:
    a, b = await two(nodes)
    rows = await a.give(slot(a.lane, 1, 9))
    await b.store.slots.assign(rows, b.incarnation, nodes.fence)
    kept, given = slot(a.lane, 1, 3, maybe_delivered=True), slot(a.lane, 4, 9, transient=True)

    for _ in range(2):
        assert await b.store.slots.cut([rows[0].start], [kept], [given], b.incarnation) == [row(given)]
        assert await all_slots(a) == [row(kept, b.incarnation), row(given)]


async def test_cutting_again_leaves_alone_what_others_got_meanwhile(nodes: Nodes) -> None:
    a, b = await two(nodes)
    rows = await a.give(slot(a.lane, 1, 9))
    await b.store.slots.assign(rows, b.incarnation, nodes.fence)
    cut = [rows[0].start], [slot(a.lane, 1, 3)], [slot(a.lane, 4, 6), slot(a.lane, 7, 9)], b.incarnation
    given = await b.store.slots.cut(*cut)
    await a.store.slots.assign(given[:1], a.incarnation, nodes.fence)

    assert await b.store.slots.cut(*cut) == given[1:]

    assert await a.store.slots.owned(a.incarnation) == [replace(given[0], owner=a.incarnation)]
    assert await a.store.slots.owned(b.incarnation) == [row(slot(a.lane, 1, 3), b.incarnation)]


async def test_a_slot_is_given_back_whole(nodes: Nodes) -> None:
    a, b = await two(nodes)
    rows = await a.give(slot(a.lane, 1, 9))
    await b.store.slots.assign(rows, b.incarnation, nodes.fence)

    assert await b.store.slots.cut([rows[0].start], [], [slot(a.lane, 1, 9)], b.incarnation) == rows
    assert await all_slots(a) == rows


async def test_a_slot_of_another_incarnation_is_not_cut(nodes: Nodes) -> None:
    a, b = await two(nodes)
    rows = await a.give(slot(a.lane, 1, 9))
    await a.store.slots.assign(rows, a.incarnation, nodes.fence)

    assert await b.store.slots.cut([rows[0].start], [slot(a.lane, 1, 3)], [slot(a.lane, 4, 9)], b.incarnation) == []
    assert await all_slots(a) == [replace(rows[0], owner=a.incarnation)]


async def test_one_cut_gives_back_a_slot_and_messages_of_the_nodes_own_lane(nodes: Nodes) -> None:
    a, b = await two(nodes)
    rows = await a.give(slot(a.lane, 1, 9))
    await b.store.slots.assign(rows, b.incarnation, nodes.fence)
    given = [slot(a.lane, 4, 9), slot(b.lane, 1, 3)]

    for _ in range(2):
        assert await b.store.slots.cut([rows[0].start], [], given, b.incarnation) == sorted(
            map(row, given), key=by_start
        )
        assert await all_slots(a) == [row(piece) for piece in given]


async def test_the_slots_of_a_deleted_queue_are_not_cut_into_new_ones(nodes: Nodes) -> None:
    a, b = await two(nodes)
    rows = await a.give(slot(a.lane, 1, 9))
    await b.store.slots.assign(rows, b.incarnation, nodes.fence)
    await a.store.record([Drop(QueueKey("/", "orders", ORDERS.queue_id))])

    assert await b.store.slots.cut([rows[0].start], [slot(a.lane, 1, 3)], [slot(a.lane, 4, 9)], b.incarnation) == []
    assert await all_slots(a) == []


def by_start(found: SlotRow) -> int:
    return found.start


# Assigning


async def test_free_slots_are_assigned(nodes: Nodes) -> None:
    a, b = await two(nodes)
    rows = await a.give(slot(a.lane, 1, 3), slot(a.lane, 4, 6), slot(a.lane, 7, 9))

    assigned = await a.store.slots.assign(rows[:2], b.incarnation, nodes.fence)

    assert assigned == [replace(one, owner=b.incarnation) for one in rows[:2]]
    assert await b.store.slots.owned(b.incarnation) == assigned
    assert await all_slots(a) == [*assigned, rows[2]]


async def test_assigning_again_returns_what_the_incarnation_owns_already(nodes: Nodes) -> None:
    a, b = await two(nodes)
    rows = await a.give(slot(a.lane, 1, 3), slot(a.lane, 4, 6))
    assigned = await a.store.slots.assign(rows[:1], b.incarnation, nodes.fence)

    assert await a.store.slots.assign(rows[:1], b.incarnation, nodes.fence) == assigned
    assert await a.store.slots.assign(rows, b.incarnation, nodes.fence) == [
        replace(one, owner=b.incarnation) for one in rows
    ]


@pytest.mark.parametrize("change", [{"start": message_id(2)}, {"end": message_id(8)}])
async def test_a_slot_that_is_not_as_it_was_seen_is_not_assigned(nodes: Nodes, change: dict[str, int]) -> None:
    a, b = await two(nodes)
    rows = await a.give(slot(a.lane, 1, 9))

    assert await a.store.slots.assign([replace(rows[0], **change)], b.incarnation, nodes.fence) == []
    assert await all_slots(a) == rows


async def test_a_slot_of_another_owner_is_not_assigned(nodes: Nodes) -> None:
    a, b = await two(nodes)
    rows = await a.give(slot(a.lane, 1, 9))
    await a.store.slots.assign(rows, a.incarnation, nodes.fence)

    assert await a.store.slots.assign(rows, b.incarnation, nodes.fence) == []
    assert await a.store.slots.owned(a.incarnation) == [replace(rows[0], owner=a.incarnation)]


async def test_a_incarnation_that_is_over_is_assigned_nothing(nodes: Nodes) -> None:
    a, b = await two(nodes)
    rows = await a.give(slot(a.lane, 1, 9))
    await nodes.evict(b)

    assert await a.store.slots.assign(rows, b.incarnation, nodes.fence) == []
    assert await a.store.slots.assign(rows, Incarnation("b", "never was"), nodes.fence) == []
    assert await a.store.slots.assign(rows, Incarnation("c", "1"), nodes.fence) == []
    assert await all_slots(a) == rows


async def test_a_coordinator_that_was_replaced_assigns_nothing(nodes: Nodes) -> None:
    a, b = await two(nodes)
    rows = await a.give(slot(a.lane, 1, 9))
    old = nodes.fence
    new = await nodes.coordinate(b)

    assert await a.store.slots.fence() == new
    for fence in (old, replace(new, term="t0"), replace(new, epoch=3)):
        with pytest.raises(Fenced):
            await a.store.slots.assign(rows, b.incarnation, fence)
    assert await all_slots(a) == rows
    assert await b.store.slots.assign(rows, b.incarnation, new) == [replace(rows[0], owner=b.incarnation)]


async def test_of_many_who_claim_a_slot_at_once_one_gets_it(nodes: Nodes) -> None:
    a, b = await two(nodes)
    c = await nodes.join("c")
    rows = await a.give(*(slot(a.lane, number * 10, number * 10 + 9) for number in range(1, 11)))

    for seen in rows:
        claims = [node.store.slots.assign([seen], node.incarnation, nodes.fence) for node in (a, b, c, b)]
        owners = {got[0].owner for got in await asyncio.gather(*claims) if got}
        assert len(owners) == 1
    assert all(one.owner is not None for one in await all_slots(a))


async def test_many_slots_are_given_and_assigned_at_once(nodes: Nodes) -> None:
    a, b = await two(nodes)

    rows = await a.give(*(slot(a.lane, number, number) for number in range(1, 501)))
    assigned = await a.store.slots.assign(rows, b.incarnation, nodes.fence)

    assert len(rows) == len(assigned) == len(await b.store.slots.owned(b.incarnation)) == 500


# Finishing and purging


async def test_slots_without_messages_are_finished(nodes: Nodes) -> None:
    a, b = await two(nodes)
    first, second, third = messages(a.lane, 1, 5, 9)
    spilled = transient(a.lane, 12)
    await a.insert(first, second, third, *spilled)
    rows = await a.give(slot(a.lane, 1, 3), slot(a.lane, 4, 6), slot(a.lane, 7, 9), slot(a.lane, 10, 12))
    starts = [one.start for one in rows]
    await a.store.slots.assign(rows, b.incarnation, nodes.fence)
    await a.store.write(Batch(deletes=[first, second]))

    assert list(await b.store.slots.finish(starts, b.incarnation)) == starts[:2]
    assert [one.start for one in await all_slots(a)] == starts[2:]

    await a.store.write(Batch(deletes=[third, *spilled]))
    assert list(await b.store.slots.finish(starts[2:], b.incarnation)) == starts[2:]
    assert await all_slots(a) == []


async def test_finishing_again_says_the_same(nodes: Nodes) -> None:
    a, b = await two(nodes)
    rows = await a.give(slot(a.lane, 1, 3))
    await a.store.slots.assign(rows, b.incarnation, nodes.fence)
    await b.store.slots.finish([rows[0].start], b.incarnation)

    assert list(await b.store.slots.finish([rows[0].start], b.incarnation)) == [rows[0].start]


async def test_slots_of_others_are_not_finished(nodes: Nodes) -> None:
    a, b = await two(nodes)
    rows = await a.give(slot(a.lane, 1, 3), slot(a.lane, 4, 6))
    await a.store.slots.assign(rows[:1], a.incarnation, nodes.fence)

    assert list(await b.store.slots.finish([one.start for one in rows], b.incarnation)) == []
    assert len(await all_slots(a)) == 2


async def test_messages_of_another_lane_or_queue_do_not_keep_a_slot(nodes: Nodes) -> None:
    a, b = await two(nodes)
    await a.insert(*messages(b.lane, 2), *messages(a.lane, 2, queue=INVOICES))
    rows = await a.give(slot(a.lane, 1, 3))
    await a.store.slots.assign(rows, a.incarnation, nodes.fence)

    assert list(await a.store.slots.finish([rows[0].start], a.incarnation)) == [rows[0].start]


async def test_what_is_stored_of_a_queue_is_counted_whoever_has_it(nodes: Nodes) -> None:
    a, b = await nodes.join("a"), await nodes.join("b")
    assert await a.store.slots.stored(ORDERS.queue_id) == 0
    await a.insert(*messages(a.lane, 1, 2), *transient(a.lane, 3))
    await b.insert(*messages(b.lane, 1, 2))
    assert await a.store.slots.stored(ORDERS.queue_id) == 5
    assert await a.store.slots.stored(ORDERS.queue_id + 1) == 0


async def test_free_slots_are_purged_with_their_messages(nodes: Nodes) -> None:
    a, b = await two(nodes)
    await a.insert(*messages(a.lane, 1, 2, 5, 6, 9), *transient(a.lane, 3), *messages(a.lane, 4, queue=INVOICES))
    await a.insert(*messages(b.lane, 1))
    rows = await a.give(slot(a.lane, 1, 3), slot(a.lane, 4, 4, queue=INVOICES), slot(a.lane, 5, 6))
    await a.store.slots.assign(rows[2:], b.incarnation, nodes.fence)

    assert await b.store.slots.purge(ORDERS.queue_id) == 3
    assert await b.store.slots.purge(ORDERS.queue_id) == 0

    assert await a.ids(lane=a.lane) == [5, 6, 9]
    assert await a.ids(lane=b.lane) == [1]
    assert await a.ids(INVOICES, lane=a.lane) == [4]
    assert await all_slots(a) == [replace(rows[2], owner=b.incarnation), rows[1]]


async def test_a_purge_takes_shared_content_with_its_last_message(nodes: Nodes) -> None:
    a, _ = await two(nodes)
    body = bytes(200_000)
    one, other = messages(a.lane, 1, body=body), messages(a.lane, 2, body=body, queue=INVOICES)
    for shared in (*one, *other):
        shared.content_id = one[0].id
    await a.insert(*one, *other)
    await a.give(slot(a.lane, 1, 1))

    assert await a.store.slots.purge(ORDERS.queue_id) == 1
    whole = Slot(INVOICES.queue_id, a.lane, 0, message_id(9), 1)
    assert [read.payload for read in await a.store.read(INVOICES, whole, 10, 1 << 30)] == [body]


async def test_a_deleted_queue_has_no_slots(nodes: Nodes) -> None:
    a, b = await two(nodes)
    rows = await a.give(slot(a.lane, 1, 3), slot(a.lane, 4, 6), slot(a.lane, 7, 9, queue=INVOICES))
    await a.store.slots.assign(rows[:1], b.incarnation, nodes.fence)

    await a.store.record([Drop(QueueKey("/", "orders", ORDERS.queue_id))])

    assert await all_slots(a) == rows[2:]


# Incarnations that are over


async def test_a_incarnation_that_is_over_cuts_and_finishes_nothing(nodes: Nodes) -> None:
    a, b = await two(nodes)
    rows = await a.give(slot(a.lane, 1, 9))
    await a.store.slots.assign(rows, b.incarnation, nodes.fence)
    await nodes.evict(b)

    with pytest.raises(Evicted):
        await b.give(slot(b.lane, 1, 5))
    with pytest.raises(Evicted):
        await b.store.slots.cut([rows[0].start], [], [slot(a.lane, 1, 9)], b.incarnation)
    with pytest.raises(Evicted):
        await b.store.slots.finish([rows[0].start], b.incarnation)
    assert await all_slots(a) == [replace(rows[0], owner=b.incarnation)]


async def test_a_node_that_left_and_came_back_does_not_own_what_it_did(nodes: Nodes) -> None:
    a, b = await two(nodes)
    rows = await a.give(slot(a.lane, 1, 9))
    await a.store.slots.assign(rows, b.incarnation, nodes.fence)
    await nodes.leave(b)
    again = await nodes.join("b", "2")

    with pytest.raises(Evicted):
        await b.store.slots.finish([rows[0].start], b.incarnation)
    assert await again.store.slots.owned(again.incarnation) == []
    assert list(await again.store.slots.finish([rows[0].start], again.incarnation)) == []


# Windows


async def test_a_window_is_all_that_lies_in_no_slot(nodes: Nodes) -> None:
    a, b = await two(nodes)
    await a.insert(*messages(a.lane, 1, 2, 3, 4, 5, 6, 7, 8, 9), *messages(b.lane, 1, 2))
    await a.insert(*messages(a.lane, 20, queue=INVOICES))

    assert list(await a.store.slots.window(a.lane, 100)) == [slot(a.lane, 1, 9), slot(a.lane, 20, 20, queue=INVOICES)]
    assert list(await a.store.slots.window(b.lane, 100)) == [slot(b.lane, 1, 2)]
    assert list(await a.store.slots.window(77, 100)) == []


async def test_a_window_has_gaps_where_slots_are(nodes: Nodes) -> None:
    a, _ = await two(nodes)
    await a.insert(*messages(a.lane, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12))
    await a.give(slot(a.lane, 3, 4), slot(a.lane, 7, 8), slot(a.lane, 9, 11), slot(a.lane, 30, 40))
    await a.give(slot(a.lane, 1, 9, queue=INVOICES))

    window = list(await a.store.slots.window(a.lane, 100))

    assert window == [slot(a.lane, 1, 2), slot(a.lane, 5, 6), slot(a.lane, 12, 12)]


async def test_nothing_is_left_of_a_lane_that_lies_in_slots(nodes: Nodes) -> None:
    a, _ = await two(nodes)
    await a.insert(*messages(a.lane, 1, 2, 3))
    await a.give(slot(a.lane, 1, 3))

    assert list(await a.store.slots.window(a.lane, 1)) == []


async def test_a_window_is_cut_into_slots_of_the_size_that_is_asked_for(nodes: Nodes) -> None:
    a, _ = await two(nodes)
    await a.insert(*messages(a.lane, 1, 2, 3, 4, 5, 6, 7, 8))

    window = list(await a.store.slots.window(a.lane, 3))

    assert window == [slot(a.lane, 1, 3), slot(a.lane, 4, 6), slot(a.lane, 7, 8)]


async def test_transient_messages_are_in_the_window_of_their_queue(nodes: Nodes) -> None:
    a, _ = await two(nodes)
    await a.insert(*messages(a.lane, 1, 3, 4, 5), *transient(a.lane, 2))

    assert list(await a.store.slots.window(a.lane, 3)) == [slot(a.lane, 1, 3, transient=True), slot(a.lane, 4, 5)]
    assert list(await a.store.slots.window(a.lane, 9)) == [slot(a.lane, 1, 5, transient=True)]


async def test_a_large_backlog_is_cut_into_about_a_thousand_slots(nodes: Nodes) -> None:
    a, _ = await two(nodes)
    await a.insert(*messages(a.lane, *range(1, 2501), body=b""))

    window = list(await a.store.slots.window(a.lane, 1))

    assert len(window) == 834
    assert sum(piece.count for piece in window) == 2500
    assert all(before.end < after.start for before, after in pairwise(window))


# Reclaiming


async def test_the_slots_of_an_evicted_incarnation_are_freed_and_may_have_been_delivered(nodes: Nodes) -> None:
    a, b = await two(nodes)
    rows = await a.give(slot(a.lane, 1, 3), slot(a.lane, 4, 6), slot(a.lane, 7, 9))
    await a.store.slots.assign(rows[:1], b.incarnation, nodes.fence)
    await a.store.slots.assign(rows[1:2], a.incarnation, nodes.fence)
    await nodes.evict(b)

    assert await a.store.slots.reclaim(nodes.fence, 100) == 1

    assert await all_slots(a) == [
        replace(rows[0], maybe_delivered=True),
        replace(rows[1], owner=a.incarnation),
        rows[2],
    ]
    assert await a.store.slots.reclaim(nodes.fence, 100) == 0


async def test_the_lane_of_an_evicted_incarnation_becomes_slots_that_may_have_been_delivered(nodes: Nodes) -> None:
    a, b = await two(nodes)
    await b.insert(*messages(b.lane, 1, 2, 3, 4, 5, 8), *transient(b.lane, 9), *messages(a.lane, 1))
    await b.give(slot(b.lane, 3, 4))
    await nodes.evict(b)

    assert await a.store.slots.reclaim(nodes.fence, 2) == 3

    left = [slot(b.lane, 1, 2), slot(b.lane, 5, 8, 2), slot(b.lane, 9, 9, transient=True)]
    assert await all_slots(a) == [
        row(left[0], maybe_delivered=True),
        row(slot(b.lane, 3, 4)),
        row(left[1], maybe_delivered=True),
        row(left[2], maybe_delivered=True),
    ]
    assert await a.store.slots.reclaim(nodes.fence, 2) == 0
    assert list(await a.store.slots.window(b.lane, 100)) == []


async def test_what_a_node_left_in_order_was_not_delivered(nodes: Nodes) -> None:
    a, b = await two(nodes)
    await b.insert(*messages(b.lane, 1, 2))
    await nodes.leave(b)

    assert await a.store.slots.reclaim(nodes.fence, 100) == 1
    assert await all_slots(a) == [row(slot(b.lane, 1, 2))]


async def test_a_node_that_left_without_giving_back_may_have_delivered(nodes: Nodes) -> None:
    a, b = await two(nodes)
    await b.insert(*messages(a.lane, 1), *messages(b.lane, 1))
    rows = await a.give(slot(a.lane, 1, 1))
    await a.store.slots.assign(rows, b.incarnation, nodes.fence)
    await nodes.leave(b)

    assert await a.store.slots.reclaim(nodes.fence, 100) == 2
    assert [one.maybe_delivered for one in await all_slots(a)] == [True, True]


async def test_lanes_of_the_living_are_left_alone(nodes: Nodes) -> None:
    a, b = await two(nodes)
    await b.insert(*messages(a.lane, 1), *messages(b.lane, 1))

    assert await a.store.slots.reclaim(nodes.fence, 100) == 0
    assert await all_slots(a) == []


async def test_a_coordinator_that_was_replaced_reclaims_nothing(nodes: Nodes) -> None:
    a, b = await two(nodes)
    c = await nodes.join("c")
    await c.insert(*messages(c.lane, 1))
    await nodes.evict(c)
    old = nodes.fence
    await nodes.coordinate(b)

    with pytest.raises(Fenced):
        await a.store.slots.reclaim(old, 100)
    assert await all_slots(a) == []
    assert await b.store.slots.reclaim(nodes.fence, 100) == 1


async def test_a_node_that_came_back_goes_on_with_its_lane_itself(nodes: Nodes) -> None:
    a, b = await two(nodes)
    await b.insert(*messages(b.lane, 1, 2))
    await nodes.evict(b)
    again = await nodes.join("b", "2")

    assert await a.store.slots.reclaim(nodes.fence, 100) == 0
    assert again.lane == b.lane
    assert list(await again.store.slots.window(again.lane, 100)) == [slot(b.lane, 1, 2)]


async def test_a_incarnation_after_a_reclaim_is_reclaimed_as_well(nodes: Nodes) -> None:
    a, b = await two(nodes)
    await b.insert(*messages(b.lane, 1))
    await nodes.evict(b)
    await a.store.slots.reclaim(nodes.fence, 100)
    again = await nodes.join("b", "2")
    await again.insert(*messages(b.lane, 2))
    await nodes.evict(again)

    assert await a.store.slots.reclaim(nodes.fence, 100) == 1
    first, second = await all_slots(a)
    assert (first.start, second.start) == (message_id(1, b.lane), message_id(2, b.lane))


async def test_a_reclaimed_slot_is_read_as_redelivered(nodes: Nodes) -> None:
    a, b = await two(nodes)
    await b.insert(*messages(b.lane, 1), *transient(b.lane, 2))
    await nodes.evict(b)
    await a.store.slots.reclaim(nodes.fence, 100)
    [left] = await all_slots(a)

    read = await a.store.read(ORDERS, as_slot(left), 10, 1 << 30)

    assert [(one.id >> 18, one.redelivered) for one in read] == [(1, True), (2, True)]


async def test_a_closed_store_says_so(nodes: Nodes) -> None:
    a = await nodes.join("a")
    await a.store.close()

    with pytest.raises(StoreError, match="not open"):
        await a.store.slots.slots()


def as_slot(found: SlotRow) -> Slot:
    place = found.queue_id, found.lane, found.start, found.end, found.count
    return Slot(*place, found.maybe_delivered, found.transient, found.start)
