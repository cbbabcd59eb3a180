"""What every store promises a node that joins a cluster (`broker.cluster_ports.MemberStore`)."""

from __future__ import annotations

import asyncio

import pytest

from broker.errors import Evicted, StoreError, StoreLocked
from broker.ports.cluster_rows import Incarnation, Leave, Resign
from broker.ports.peer_calls import Fence
from broker.ports.records import (
    BindingRecord,
    Change,
    ExchangeRecord,
    Put,
    QueueRecord,
    SubscriptionRecord,
    Topology,
    VirtualHostRecord,
)
from broker.ports.store import Batch
from tests.contract.cluster_calls import register
from tests.contract.harness import Harness, Queue, message, server_maker
from tests.contract.nodes import Nodes, message_id, messages, row, slot, transient
from tests.support.databases import DatabaseServer

LASTING = QueueRecord("/", "lasting", 7)
PASSING = QueueRecord("/", "passing", 8, durable=False)
PRIVATE = QueueRecord("/", "private", 9, exclusive=True, node_id="a", incarnation="1")
KEPT = BindingRecord("/", "events", "queue", "lasting", "#")
EVENTS = ExchangeRecord("/", "events", "topic")
NEWS = ExchangeRecord("/", "news", "fanout", durable=False)
EVERYTHING: list[Change] = [
    Put(VirtualHostRecord("/")),
    Put(EVENTS),
    Put(NEWS),
    Put(LASTING),
    Put(PASSING),
    Put(PRIVATE),
    Put(KEPT),
    Put(BindingRecord("/", "news", "queue", "lasting", "")),
    Put(BindingRecord("/", "events", "queue", "passing", "")),
    Put(BindingRecord("/", "events", "queue", "private", "")),
    Put(SubscriptionRecord(7, "a", "1")),
]
WHAT_LASTS = Topology([VirtualHostRecord("/"), EVENTS, LASTING, KEPT])


# Joining


async def test_a_node_that_joins_gets_a_lane_and_queue_ids_of_its_own(nodes: Nodes) -> None:
    joined = [(await nodes.join(name)).registration for name in "abc"]

    assert [one.lane for one in joined] == [0, 1, 2]
    ranges = sorted((one.first_queue_id, one.last_queue_id) for one in joined)
    assert all(0 < first <= last for first, last in ranges)
    assert ranges[0][1] < ranges[1][0] <= ranges[1][1] < ranges[2][0]
    assert [one.clean for one in joined] == [True] * 3


async def test_nodes_that_join_at_once_get_different_lanes(nodes: Nodes) -> None:
    stores = [await nodes.store() for _ in range(4)]
    incarnations = [await nodes.register(store, f"n{number}", "1") for number, store in enumerate(stores)]

    joined = await asyncio.gather(
        *(store.members.join(incarnation) for store, incarnation in zip(stores, incarnations, strict=True))
    )

    assert sorted(one.lane for one in joined) == [0, 1, 2, 3]
    assert len({one.first_queue_id for one in joined}) == 4


async def test_a_node_keeps_its_lane(nodes: Nodes) -> None:
    a, b = await nodes.join("a"), await nodes.join("b")
    await nodes.leave(b)
    await nodes.evict(a)

    assert (await nodes.join("b", "2")).lane == b.lane
    assert (await nodes.join("a", "2")).lane == a.lane


@pytest.mark.parametrize("incarnation", ["0", "2"])
async def test_a_incarnation_that_is_not_up_does_not_join(nodes: Nodes, incarnation: str) -> None:
    store = await nodes.store()
    await nodes.register(store, "a", "1")

    with pytest.raises(Evicted):
        await store.members.join(Incarnation("a", incarnation))
    with pytest.raises(Evicted):
        await store.members.join(Incarnation("b", "1"))


async def test_a_incarnation_that_was_ended_before_it_joined_does_not_join(nodes: Nodes) -> None:
    a = await nodes.join("a")
    await nodes.coordinate(a)
    store = await nodes.store()
    evicted, left = await nodes.register(store, "b", "1"), await nodes.register(store, "c", "1")
    assert await store.cluster.evict(await store.cluster.own_row("b"), nodes.fence.epoch, nodes.fence.term)
    await store.cluster.leave(Leave("1"), "c")

    for incarnation in (evicted, left):
        with pytest.raises(Evicted):
            await store.members.join(incarnation)


async def test_joining_again_is_harmless(nodes: Nodes) -> None:
    a = await nodes.join("a")
    again = await a.store.members.join(a.incarnation)

    assert again.lane == a.lane
    assert again.first_queue_id > a.registration.last_queue_id
    await a.insert(*messages(a.lane, 1))


async def test_no_id_was_ever_used_above_the_last_message_id(nodes: Nodes) -> None:
    a = await nodes.join("a")
    await a.insert(*messages(a.lane, 5))
    assert (await nodes.join("b")).registration.last_message_id >= message_id(5, a.lane)

    await a.store.write(Batch(high_water=message_id(9, a.lane)))
    assert (await nodes.join("c")).registration.last_message_id >= message_id(9, a.lane)

    await a.give(slot(a.lane, 10, 12))
    assert (await nodes.join("d")).registration.last_message_id >= message_id(12, a.lane)


async def test_a_node_that_left_is_clean_and_one_that_was_evicted_is_not(nodes: Nodes) -> None:
    a, b = await nodes.join("a"), await nodes.join("b")
    await nodes.leave(a)
    await nodes.evict(b)

    assert (await nodes.join("a", "2")).registration.clean
    assert not (await nodes.join("b", "2")).registration.clean


async def test_a_node_that_was_silent_and_registered_anew_is_not_clean(nodes: Nodes) -> None:
    await nodes.join("a")

    assert not (await nodes.join("a", "2")).registration.clean


# What ends an incarnation


async def test_an_evicted_incarnation_writes_no_batch(nodes: Nodes) -> None:
    a = await nodes.join("a")
    await a.insert(*messages(a.lane, 1))
    await nodes.evict(a)

    for batch in (Batch(inserts=messages(a.lane, 2)), Batch(deletes=messages(a.lane, 1)), Batch(high_water=1 << 40)):
        with pytest.raises(Evicted):
            await a.store.write(batch)
    assert await a.ids(lane=a.lane) == [1]


async def test_a_incarnation_that_left_writes_no_batch(nodes: Nodes) -> None:
    a = await nodes.join("a")
    await nodes.leave(a)

    with pytest.raises(Evicted):
        await a.insert(*messages(a.lane, 1))


async def test_a_new_incarnation_ends_the_old_one_before_it_has_joined(nodes: Nodes) -> None:
    a = await nodes.join("a")
    await nodes.register(a.store, "a", "2")

    with pytest.raises(Evicted):
        await a.insert(*messages(a.lane, 1))

    again = await a.store.members.join(Incarnation("a", "2"))
    await a.store.write(Batch(inserts=messages(again.lane, 1)))
    assert await a.ids(lane=again.lane) == [1]


async def test_ending_an_old_incarnation_late_does_not_end_the_new_one(nodes: Nodes) -> None:
    old = await nodes.join("a")
    await nodes.coordinate(old)
    seen = await old.store.cluster.own_row("a")
    new = await nodes.join("a", "2")
    await nodes.leave(old)
    await new.store.cluster.evict(seen, nodes.fence.epoch, nodes.fence.term)

    await new.insert(*messages(new.lane, 1))
    assert await new.ids(lane=new.lane) == [1]


async def test_a_incarnation_that_is_evicted_while_it_joins_writes_nothing(nodes: Nodes) -> None:
    a = await nodes.join("a")
    await nodes.coordinate(a)
    store = await nodes.store()
    for number in range(1, 9):
        incarnation = await nodes.register(store, "b", str(number))
        seen = await store.cluster.own_row("b")

        joined, is_evicted = await asyncio.gather(
            store.members.join(incarnation),
            a.store.cluster.evict(seen, nodes.fence.epoch, nodes.fence.term),
            return_exceptions=True,
        )

        assert is_evicted is True
        if isinstance(joined, Evicted):
            continue
        with pytest.raises(Evicted):
            await store.write(Batch(inserts=messages(joined.lane, number)))


async def test_other_lives_write_on_when_one_is_evicted(nodes: Nodes) -> None:
    b, a = await nodes.join("b"), await nodes.join("a")
    await nodes.evict(b)

    await a.insert(*messages(a.lane, 1))
    assert await a.ids(lane=a.lane) == [1]


# What must not survive


async def test_the_first_node_deletes_what_must_not_survive(nodes: Nodes) -> None:
    a = await nodes.join("a")
    await a.store.record(EVERYTHING)
    for number, queue_id in enumerate((7, 8, 9), 1):
        await a.insert(message(message_id(number), Queue(queue_id)), message(message_id(number + 3), Queue(queue_id)))
    await a.insert(*transient(a.lane, 10))
    for number, queue_id in enumerate((7, 8, 9), 1):
        await a.give(slot(a.lane, number, number, queue=Queue(queue_id)))
    await nodes.leave(a)

    again = await nodes.join("a", "2")

    assert await again.store.load() == WHAT_LASTS
    assert await again.ids(lane=a.lane) == [1, 4]
    assert await again.ids(Queue(8), lane=a.lane) == await again.ids(Queue(9), lane=a.lane) == []
    assert list(await again.store.slots.slots()) == [row(slot(a.lane, 1, 1))]


async def test_slots_fit_to_what_is_left_without_transient_messages(nodes: Nodes) -> None:
    a = await nodes.join("a")
    await a.insert(*messages(a.lane, 1), *transient(a.lane, 2, 3))
    await a.give(slot(a.lane, 1, 2, transient=True), slot(a.lane, 3, 3, transient=True))
    await nodes.leave(a)

    again = await nodes.join("a", "2")

    assert list(await again.store.slots.slots()) == [row(slot(a.lane, 1, 2, 1))]


async def test_a_node_that_joins_others_deletes_nothing(nodes: Nodes) -> None:
    a = await nodes.join("a")
    await a.store.record(EVERYTHING)
    await a.insert(*transient(a.lane, 1))
    before = await a.store.load()

    b = await nodes.join("b")

    assert await b.store.load() == before
    assert await b.ids(lane=a.lane) == [1]


async def test_of_nodes_that_start_at_once_the_first_to_join_deletes(nodes: Nodes) -> None:
    a = await nodes.join("a")
    await a.store.record(EVERYTHING)
    await nodes.leave(a)
    store = await nodes.store()
    incarnations = [await nodes.register(store, name, "2") for name in "ab"]

    await store.members.join(incarnations[0])

    assert await store.load() == WHAT_LASTS


# From alone to a cluster, and back


async def test_a_cluster_takes_over_what_a_broker_alone_has_left(nodes: Nodes) -> None:
    store = await nodes.store()
    lane = (await store.register("alone")).lane
    await store.write(Batch(inserts=messages(lane, 1, 2), high_water=message_id(2)))
    await store.resign()

    a = await nodes.join("a")

    await nodes.coordinate(a)
    assert a.lane != lane
    assert a.registration.clean
    assert await a.store.slots.reclaim(nodes.fence, 100) == 1
    assert list(await a.store.slots.slots()) == [row(slot(lane, 1, 2))]


async def test_a_broker_alone_that_crashed_may_have_delivered_from_any_lane(nodes: Nodes) -> None:
    store = await nodes.store()
    first = (await store.register("first")).lane
    await store.write(Batch(inserts=messages(first, 1), high_water=message_id(1)))
    await store.resign()
    second = (await store.register("second")).lane
    await store.write(Batch(inserts=messages(second, 2), high_water=message_id(2)))

    a = await nodes.join("first")

    await nodes.coordinate(a)
    assert a.lane == first
    assert not a.registration.clean
    await a.store.slots.reclaim(nodes.fence, 100)
    assert list(await a.store.slots.slots()) == [row(slot(second, 2, 2), maybe_delivered=True)]


async def test_a_broker_alone_takes_over_what_a_cluster_has_left_in_order(nodes: Nodes) -> None:
    a = await nodes.join("a")
    await a.store.record(EVERYTHING)
    await a.insert(*messages(a.lane, 1, 2, 3), *transient(a.lane, 4))
    await a.give(slot(a.lane, 1, 2))
    await nodes.leave(a)

    registration = await a.store.register("alone")

    assert registration.clean
    assert registration.last_message_id >= message_id(4, a.lane)
    assert await a.store.load() == WHAT_LASTS
    assert list(await a.store.slots.slots()) == []
    assert await a.ids(lane=a.lane) == [1, 2, 3]


@pytest.mark.parametrize("left", ["evicted", "owned", "maybe delivered"])
async def test_a_broker_alone_knows_that_a_cluster_may_have_delivered(nodes: Nodes, left: str) -> None:
    a = await nodes.join("a")
    await nodes.coordinate(a)
    await a.insert(*messages(a.lane, 1))
    rows = await a.give(slot(a.lane, 1, 1, maybe_delivered=left == "maybe delivered"))
    if left == "owned":
        await a.store.slots.assign(rows, a.incarnation, nodes.fence)
    await (nodes.evict(a) if left == "evicted" else nodes.leave(a))

    assert not (await a.store.register("alone")).clean
    await a.store.resign()
    assert (await a.store.register("alone")).clean


async def test_a_incarnation_is_over_when_a_broker_alone_has_registered(nodes: Nodes) -> None:
    a = await nodes.join("a")
    await a.store.register("alone")

    with pytest.raises(Evicted):
        await a.give(slot(a.lane, 1, 1))


async def test_a_broker_alone_deletes_what_must_not_survive(harness: Harness) -> None:
    await harness.store.record(EVERYTHING)
    await harness.insert(message(1, Queue(7)), message(2, Queue(8)), message(3, Queue(9)))

    await harness.crash()

    assert await harness.store.load() == WHAT_LASTS
    assert await harness.ids(Queue(7)) == [1]
    assert await harness.ids(Queue(8)) == await harness.ids(Queue(9)) == []


# The coordinator's address


async def test_the_coordinators_address_is_that_of_the_lease(nodes: Nodes) -> None:
    a = await nodes.join("a")
    assert await a.store.members.coordinator_address() is None

    await nodes.coordinate(a)
    assert await a.store.members.coordinator_address() == ("127.0.0.1", 7611, Fence(1, "t1"))

    await a.store.cluster.resign(Resign(1, "t1"), "a")
    assert await a.store.members.coordinator_address() is None


# Real servers


async def test_an_incarnation_that_no_batch_could_name_is_refused(
    database_server: DatabaseServer, database: str
) -> None:
    store = server_maker(database_server, database, is_shared=True)()
    await store.open()
    try:
        for incarnation in ("", "it's", "x" * 33):
            with pytest.raises(StoreError, match="1 to 32 letters"):
                await store.members.join(Incarnation("a", incarnation))
    finally:
        await store.close()


@pytest.mark.usefixtures("short_lock_timeout")
async def test_nodes_of_a_cluster_share_a_server_with_each_other_but_not_with_a_broker_alone(
    database_server: DatabaseServer, database: str
) -> None:
    alone = server_maker(database_server, database)()
    shared = [server_maker(database_server, database, is_shared=True)() for _ in range(2)]
    await alone.open()
    with pytest.raises(StoreLocked, match="in use by another broker, which is not clustered"):
        await shared[0].open()
    await alone.close()

    for store in shared:
        await store.open()
    await register(shared[0].cluster, "node of a", "1")
    with pytest.raises(StoreLocked, match="in use by the node 'node of a' of a cluster"):
        await alone.open()
    await shared[0].cluster.leave(Leave("1"), "node of a")
    await alone.open()

    for store in (alone, *shared):
        await store.close()


@pytest.mark.usefixtures("short_lock_timeout")
async def test_a_node_does_not_join_when_a_broker_alone_began_after_it_was_opened(
    database_server: DatabaseServer, database: str
) -> None:
    shared = server_maker(database_server, database, is_shared=True)()
    alone = server_maker(database_server, database)()
    await shared.open()
    await alone.open()
    await register(shared.cluster, "a", "1")

    with pytest.raises(StoreLocked, match="in use by another broker, which is not clustered"):
        await shared.members.join(Incarnation("a", "1"))

    await alone.close()
    await shared.members.join(Incarnation("a", "1"))
    await shared.close()


async def test_a_node_that_has_been_silent_for_long_keeps_no_broker_out(
    database_server: DatabaseServer, database: str
) -> None:
    shared = server_maker(database_server, database, is_shared=True)()
    await shared.open()
    await register(shared.cluster, "a", "1")
    await shared.close()
    mark = "`" if database_server.kind == "mariadb" else '"'
    name = f"{mark}LAST_HEARTBEAT{mark}"
    database_server.sql(f"UPDATE {mark}MB_NODE_HEARTBEAT{mark} SET {name} = {name} - 31000", database)

    alone = server_maker(database_server, database)()
    await alone.open()
    await alone.close()


async def test_a_probe_of_a_shared_store_keeps_nobody_out(database_server: DatabaseServer, database: str) -> None:
    shared = server_maker(database_server, database, is_shared=True)()
    await shared.open()
    shared._dialect.abort(shared._guard)
    shared._guard = None
    await shared.probe()

    alone = server_maker(database_server, database)()
    await alone.open()
    await alone.close()
    await shared.close()


async def test_a_batch_whose_answer_was_lost_is_not_repeated_in_a_incarnation_that_is_over(
    database_server: DatabaseServer, database: str
) -> None:
    nodes = Nodes(server_maker(database_server, database, is_shared=True))
    a = await nodes.join("a")
    a.store._doubtful = Batch(inserts=messages(a.lane, 1))
    await nodes.evict(a)

    with pytest.raises(Evicted):
        await a.insert(*messages(a.lane, 1))
    await nodes.close()
