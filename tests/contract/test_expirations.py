"""Every message store knows when its messages expire, and forgets it with them (`broker.ports.MessageStore`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, delete, select, update

from broker.codec.envelope import Envelope, opened, sealed
from broker.codec.expiration import LATEST, LONGEST, note_due
from broker.codec.properties import BasicProperties, encode_header
from broker.message import STORED, TRANSIENT, WRITING, Message, published_ms, tail
from broker.ports.records import Drop, QueueKey
from broker.ports.slot import Slot
from broker.ports.store import Batch, DueKey
from broker.store.memory.store import MemoryStore
from broker.store.sql.schema import EXPIRATION, METADATA
from tests.contract.harness import INVOICES, ORDERS, Harness, Queue, expiring, message
from tests.contract.nodes import Nodes, message_id, row, slot

START = published_ms(0)
"""When messages with a small id came; their times are counted from here below."""
FIRST: DueKey = (0, 0)


async def rows(harness: Harness) -> list[tuple[int, int, int]]:
    """Return id, queue id and time of what is stored about expirations."""
    store = harness.store
    if isinstance(store, MemoryStore):
        return sorted((key, one.storage_id, one.due - START) for key, one in store.state.rows.items() if one.due)
    columns = (EXPIRATION.c.message_id, EXPIRATION.c.queue_id, EXPIRATION.c.expiration_time - START)
    wanted = select(*columns).order_by(EXPIRATION.c.message_id)
    return [
        tuple(map(int, one)) for one in await in_database(store, lambda connection: connection.execute(wanted).all())
    ]


async def in_database(store: Any, function: Callable[[Connection], Any]) -> Any:
    return await store._work(function)


async def due(
    harness: Harness, until: int = 1_000_000, after: DueKey = FIRST, *, queue: Queue = ORDERS, limit: int = 1000
) -> list[Message]:
    return await harness.store.read_due(queue, START + until, after, limit, 1 << 30)


async def due_ids(harness: Harness, until: int = 1_000_000, *, queue: Queue = ORDERS) -> list[int]:
    return [found.id for found in await due(harness, until, queue=queue)]


async def earliest(harness: Harness) -> dict[int, int]:
    return {queue_id: found - START for queue_id, found in (await harness.store.earliest_due()).items()}


async def test_a_message_read_back_is_due_when_it_was(harness: Harness) -> None:
    await harness.insert(expiring(5, 700), message(6))

    assert [found.due for found in await harness.read()] == [START + 700, 0]


async def test_messages_come_in_the_order_in_which_they_expire_wherever_they_lie(harness: Harness) -> None:
    other_lane = 2 | 3 << 10
    await harness.insert(
        expiring(1, 900), message(2), expiring(3, 100), expiring(other_lane, 100), expiring(4, 500), expiring(9, 100)
    )

    assert await due_ids(harness, 500) == [3, 9, other_lane, 4]


async def test_only_what_expires_by_the_time_asked_for_comes(harness: Harness) -> None:
    await harness.insert(expiring(1, 100), expiring(2, 101))

    assert [await due_ids(harness, until) for until in (99, 100, 101)] == [[], [1], [1, 2]]


async def test_messages_come_whole_and_in_their_states(harness: Harness) -> None:
    delivered = expiring(2, 200, body=b"")
    delivered.redelivered = True
    inserted = [
        expiring(1, 100, body=b"x" * 200_000),
        delivered,
        expiring(3, 300, state=TRANSIENT),
        expiring(4, 400, body=b"shared", content_id=4),
        expiring(5, 500, body=b"y" * 10_000),
    ]
    await harness.insert(*inserted, expiring(6, 100, INVOICES, b"shared", content_id=4))

    found = await due(harness)

    assert [(one.id, one.payload, one.header, one.due) for one in found] == [
        (one.id, one.payload, one.header, one.due) for one in inserted
    ]
    assert [one.state for one in found] == [STORED, STORED, TRANSIENT, STORED, STORED]
    assert [one.redelivered for one in found] == [False, True, False, False, False]
    assert [one.content_id for one in found] == [1, 0, 0, 4, 0]
    assert all(one.queue is ORDERS for one in found)


async def test_pages_follow_each_other_without_a_gap_also_among_messages_of_one_time(harness: Harness) -> None:
    states = (WRITING, TRANSIENT)
    await harness.insert(*(expiring(number, 100 + number // 5, state=states[number % 2]) for number in range(1, 21)))

    pages, after = [], FIRST
    while page := await due(harness, after=after, limit=3):
        pages.append([one.id for one in page])
        after = page[-1].due, page[-1].id

    assert [len(page) for page in pages] == [3, 3, 3, 3, 3, 3, 2]
    assert [one for page in pages for one in page] == list(range(1, 21))


async def test_a_page_ends_soon_after_as_many_octets_as_asked_for(harness: Harness) -> None:
    sizes = {4: 1000, 2: 1000, 3: 100_000, 1: 1000}
    await harness.insert(*(expiring(one, 100 * (5 - one), body=b"x" * size) for one, size in sizes.items()))

    async def read(limit_bytes: int, after: DueKey = FIRST) -> list[int]:
        return [one.id for one in await harness.store.read_due(ORDERS, LATEST, after, 100, limit_bytes)]

    assert [await read(octets) for octets in (0, 1500, 3000)] == [[4], [4, 3], [4, 3]]
    assert await read(500, (START + 200, 3)) == [2]


async def test_the_next_time_is_that_behind_a_place(harness: Harness) -> None:
    await harness.insert(
        expiring(1, 300), expiring(2, 100), expiring(3, 100, state=TRANSIENT), expiring(4, 50, INVOICES)
    )

    async def following(time: int, message_id: int) -> int | None:
        found = await harness.store.next_due(ORDERS, (START + time, message_id))
        return None if found is None else found - START

    assert await harness.store.next_due(ORDERS, FIRST) == START + 100
    assert [await following(100, 1), await following(100, 2), await following(100, 3)] == [100, 100, 300]
    assert [await following(299, 99), await following(300, 0), await following(300, 1)] == [300, 300, None]


async def test_the_longest_time_there_is_can_be_asked_for(harness: Harness) -> None:
    longest = expiring(1, LONGEST)
    await harness.insert(longest)

    assert longest.due > LONGEST
    assert await harness.store.next_due(ORDERS, FIRST) == longest.due
    assert [one.due for one in await harness.store.read_due(ORDERS, LATEST, FIRST, 10, 1000)] == [longest.due]


async def test_a_queue_without_expirations_has_none(harness: Harness) -> None:
    await harness.insert(message(1))

    assert (await due_ids(harness), await harness.store.next_due(ORDERS, FIRST), await earliest(harness)) == (
        [],
        None,
        {},
    )


async def test_the_earliest_times_are_told_by_queue_after_a_restart(harness: Harness) -> None:
    await harness.insert(
        expiring(1, 300),
        expiring(2, 200),
        message(3, Queue(9)),
        expiring(4, 70, INVOICES),
        expiring(5, 7, state=TRANSIENT),
    )
    before = await earliest(harness)

    await harness.restart()

    assert before == {7: 7, 8: 70}
    assert await earliest(harness) == {7: 200, 8: 70}
    assert await due_ids(harness) == [2, 1]


async def test_times_go_with_deleted_messages(harness: Harness) -> None:
    first, second, third = expiring(1, 100), expiring(2, 200, state=TRANSIENT), expiring(3, 300, body=b"x" * 100_000)
    await harness.insert(first, second, third, message(4))
    first.header = first.body = b""

    await harness.delete(first, second, message(4))

    assert await rows(harness) == [(3, 7, 300)]
    await harness.delete(*await harness.read())
    assert await rows(harness) == []


async def test_times_are_under_the_queue_id_of_their_messages(harness: Harness) -> None:
    await harness.insert(expiring(1, 100), expiring(2, 200, state=TRANSIENT), expiring(3, 300, INVOICES), message(4))

    assert await rows(harness) == [(1, 7, 100), (2, -7, 200), (3, 8, 300)]


async def test_a_batch_may_delete_what_it_inserts_with_its_time(harness: Harness) -> None:
    cancelled = expiring(2, 200)

    await harness.store.write(Batch(inserts=[expiring(1, 100), cancelled], deletes=[cancelled]))

    assert await rows(harness) == [(1, 7, 100)]


async def test_many_messages_with_times_are_written_and_deleted_in_one_batch(harness: Harness) -> None:
    many = [expiring(number, number) for number in range(1, 2502)]
    await harness.insert(*many)

    assert await rows(harness) == [(number, 7, number) for number in range(1, 2502)]
    await harness.delete(*many[:-1])
    assert await rows(harness) == [(2501, 7, 2501)]


async def test_a_purge_takes_the_times_of_its_range_queue_and_lane_only(harness: Harness) -> None:
    other_lane = 15 | 1 << 10
    await harness.insert(
        *(expiring(one, 100) for one in (9, 10, 20, 21, other_lane)),
        expiring(11, 100, state=TRANSIENT),
        expiring(16, 100, INVOICES),
        message(17, Queue(9)),
    )

    await harness.store.write(Batch([expiring(12, 100)], purges=[Slot(7, 0, 10, 20, 4), Slot(9, 0, 0, 99, 1)]))

    assert [key for key, *_ in await rows(harness)] == [9, 16, 21, other_lane]


async def test_a_deleted_queue_takes_its_times_with_it(harness: Harness) -> None:
    await harness.insert(expiring(1, 100), expiring(2, 100, state=TRANSIENT), expiring(3, 100, INVOICES))

    await harness.store.record([Drop(QueueKey("/", "orders", ORDERS.queue_id))])

    assert await rows(harness) == [(3, 8, 100)]


@pytest.mark.parametrize("ending", ["restart", "crash"])
async def test_times_of_transient_messages_are_gone_after_a_restart(harness: Harness, ending: str) -> None:
    await harness.insert(expiring(1, 100), expiring(2, 200, state=TRANSIENT))

    await getattr(harness, ending)()

    assert await rows(harness) == [(1, 7, 100)]


async def test_a_batch_that_fails_leaves_no_time(harness: Harness) -> None:
    await harness.insert(message(2))

    with pytest.raises(Exception, match=r"stored already|UNIQUE|uplicate"):
        await harness.insert(expiring(1, 100), expiring(2, 200))

    assert await rows(harness) == []


# In a cluster


async def test_a_purged_free_slot_takes_its_times_with_it(nodes: Nodes) -> None:
    a = await nodes.join("a")
    await a.insert(*(expiring(message_id(number, a.lane), 100) for number in (1, 2, 3)))
    await a.give(slot(a.lane, 1, 2))

    assert await a.store.slots.purge(ORDERS.queue_id) == 2

    assert [one >> 18 for one, *_ in await rows(Harness(nodes.make, a.store, a.registration))] == [3]


async def test_times_of_transient_messages_of_a_cluster_end_with_its_last_node(nodes: Nodes) -> None:
    a = await nodes.join("a")
    await a.insert(expiring(message_id(1, a.lane), 100), expiring(message_id(2, a.lane), 100, state=TRANSIENT))
    await nodes.evict(a)

    b = await nodes.join("b")

    assert [one >> 18 for one, *_ in await rows(Harness(nodes.make, b.store, b.registration))] == [1]


async def test_another_node_finds_the_times_of_one_that_died(nodes: Nodes) -> None:
    a, b = await nodes.join("a"), await nodes.join("b")
    inserted = expiring(message_id(1, a.lane), 100)
    await a.insert(inserted)
    await a.give(slot(a.lane, 1, 1))
    [given] = await b.store.slots.assign([row(slot(a.lane, 1, 1))], b.incarnation, await nodes.coordinate(b))
    await nodes.evict(a)

    assert given.owner == b.incarnation
    assert dict(await b.store.earliest_due()) == {7: inserted.due}
    assert [one.id for one in await b.store.read_due(ORDERS, inserted.due, FIRST, 10, 1000)] == [inserted.id]


# Damage, and rows too many


@pytest.fixture
def database(harness: Harness) -> Callable[[Callable[[Connection], Any]], Any]:
    if isinstance(harness.store, MemoryStore):
        pytest.skip("a message and its time are one")
    return lambda function: in_database(harness.store, function)


async def damage(harness: Harness, *message_ids: int) -> None:
    statement = update(METADATA).where(METADATA.c.message_id.in_(message_ids)).values(message_content=b"hellp")
    await in_database(harness.store, lambda connection: connection.execute(statement).rowcount)


@pytest.mark.usefixtures("database")
async def test_a_damaged_message_is_set_aside_with_its_time_and_the_next_ones_come(harness: Harness) -> None:
    await harness.insert(*(expiring(number, number) for number in range(1, 31)))
    await damage(harness, *range(1, 21))

    assert [one.id for one in await due(harness, limit=5)] == [21, 22, 23, 24, 25]
    assert await due_ids(harness) == list(range(21, 31))
    assert await earliest(harness) == {7: 21}
    assert await harness.store.next_due(ORDERS, FIRST) == START + 21


@pytest.mark.usefixtures("database")
async def test_what_was_set_aside_comes_back_with_its_time_at_the_next_start(harness: Harness) -> None:
    await harness.insert(expiring(1, 100), expiring(2, 200))
    await damage(harness, 1)
    assert await harness.ids() == [2]

    await in_database(
        harness.store, lambda connection: connection.execute(update(METADATA).values(message_content=b"hello")).rowcount
    )
    await harness.restart()

    assert await due_ids(harness) == [1, 2]
    assert await rows(harness) == [(1, 7, 100), (2, 7, 200)]


@pytest.mark.usefixtures("database")
async def test_a_deleted_queue_takes_the_times_of_what_was_set_aside_with_it(harness: Harness) -> None:
    await harness.insert(expiring(1, 100))
    await damage(harness, 1)
    await harness.ids()

    await harness.store.record([Drop(QueueKey("/", "orders", ORDERS.queue_id))])

    assert await rows(harness) == []


async def test_rows_without_a_message_hide_nothing_and_keep_nothing_from_being_written(
    harness: Harness, database: Callable[[Callable[[Connection], Any]], Any]
) -> None:
    await harness.insert(*(expiring(number, number) for number in range(1, 11)))
    gone = delete(METADATA).where(METADATA.c.message_id <= 8)
    await database(lambda connection: connection.execute(gone).rowcount)

    assert [one.id for one in await due(harness, limit=2)] == [9, 10]
    assert await due_ids(harness, 8) == []
    await harness.insert(expiring(1, 77), expiring(2, 2, state=TRANSIENT), expiring(3, 3, INVOICES))
    assert (await rows(harness))[:3] == [(1, 7, 77), (2, -7, 2), (3, 8, 3)]
    assert await due_ids(harness) == [2, 9, 10, 1]


def waiting(message_id: int, due: int) -> Message:
    """Return a message of a schedule, whose own expiration is another time."""
    inner = tail(encode_header(5, BasicProperties(expiration="7", delivery_mode=1)))
    message = Message(message_id, ORDERS, b"\1x\1k", sealed(inner, due, "orders"), tail(b"hello"), None, WRITING)
    note_due(message)
    return message


async def test_a_message_of_a_schedule_is_found_by_its_time_whole_and_moved_in_one_batch(harness: Harness) -> None:
    later, sooner = waiting(1, LATEST - 1), waiting(2, LATEST - 2)
    await harness.store.write(Batch([later, sooner]))
    found = await harness.store.read_due(ORDERS, LATEST, FIRST, 10, 1 << 20)
    assert [(each.id, each.due) for each in found] == [(2, LATEST - 2), (1, LATEST - 1)]
    assert (found[0].routing, found[0].payload) == (b"\1x\1k", b"hello")
    assert opened(found[0].header) == Envelope(opened(sooner.header).header, LATEST - 2, "orders")
    await harness.store.write(Batch([waiting(3, LATEST)], [found[0]]))
    assert [each.id for each in await harness.store.read_due(ORDERS, LATEST, FIRST, 10, 1 << 20)] == [1, 3]
    assert await harness.store.next_due(ORDERS, (LATEST - 1, 1)) == LATEST
