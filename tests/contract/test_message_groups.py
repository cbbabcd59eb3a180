"""Every store keeps the index of message groups, and forgets it with the messages (`broker.ports.GroupStore`)."""

from __future__ import annotations

from broker.message import Message
from broker.ports.groups import BEFORE_GROUPS, GroupHead, GroupPage, GroupRow
from broker.ports.records import Drop, QueueKey
from broker.ports.slot import Slot
from broker.ports.store import Batch
from tests.contract.harness import INVOICES, ORDERS, Harness, Queue, message


async def insert(harness: Harness, groups: dict[int, int], queue: Queue = ORDERS) -> list[Message]:
    """Store messages, by id, of these groups."""
    made = [message(message_id, queue) for message_id in groups]
    rows = [GroupRow(message_id, queue.queue_id, group) for message_id, group in groups.items()]
    await harness.store.write(Batch(made, grouped=rows, high_water=max(groups)))
    return made


async def heads(harness: Harness, after: int = BEFORE_GROUPS, limit: int = 100, depth: int = 100) -> GroupPage:
    page = await harness.store.read_groups(ORDERS.queue_id, after, limit, depth)
    return GroupPage([GroupHead(head.group, list(head.message_ids)) for head in page.heads], page.last)


async def test_groups_come_in_the_order_of_their_numbers_with_their_oldest_messages(harness: Harness) -> None:
    await insert(harness, {1: 50, 2: 7, 3: 50, 4: 0, 5: 50, 6: (1 << 63) - 1})
    await insert(harness, {9: 50}, INVOICES)

    page = await heads(harness, depth=2)

    assert page == GroupPage(
        [GroupHead(0, [4]), GroupHead(7, [2]), GroupHead(50, [1, 3]), GroupHead((1 << 63) - 1, [6])], None
    )


async def test_pages_of_groups_follow_each_other_without_a_gap(harness: Harness) -> None:
    await insert(harness, {number: number % 40 for number in range(1, 201)})

    found: dict[int, list[int]] = {}
    after: int | None = BEFORE_GROUPS
    while after is not None:
        page = await heads(harness, after, limit=12, depth=3)
        assert page.heads
        found |= {head.group: list(head.message_ids) for head in page.heads}
        after = page.last

    assert list(found) == list(range(40))
    assert all(ids == sorted(ids) and len(ids) <= 3 for ids in found.values())
    assert all(min(ids) == (group or 40) for group, ids in found.items())


async def test_a_large_group_hides_no_small_one(harness: Harness) -> None:
    await insert(harness, dict.fromkeys(range(1, 101), 5) | {200: 9, 201: 8})

    first = await heads(harness, limit=10, depth=4)
    rest = await heads(harness, 5, limit=10, depth=4)

    assert first.heads[0] == GroupHead(5, [1, 2, 3, 4])
    assert rest == GroupPage([GroupHead(8, [201]), GroupHead(9, [200])], None)


async def test_entries_go_with_their_messages(harness: Harness) -> None:
    made = await insert(harness, {1: 5, 2: 5, 3: 6, 4: 7})

    await harness.store.write(Batch(deletes=[made[0], made[2]], ungrouped=[1, 3]))
    await harness.store.write(Batch(purges=[Slot(ORDERS.queue_id, 0, 4, 4, 1)]))

    assert (await heads(harness)).heads == [GroupHead(5, [2])]


async def test_an_entry_without_a_message_is_passed_over(harness: Harness) -> None:
    made = await insert(harness, {1: 5, 2: 5, 3: 6})

    await harness.delete(made[0], made[2])

    assert (await heads(harness)).heads == [GroupHead(5, [2])]
    assert (await heads(harness)).heads == [GroupHead(5, [2])]


async def test_entries_go_with_their_queue(harness: Harness) -> None:
    await insert(harness, {1: 5, 2: 5})

    await harness.store.record([Drop(QueueKey("/", "orders", ORDERS.queue_id))])

    assert (await heads(harness)) == GroupPage([], None)


async def test_listed_messages_come_whole_and_in_order_as_far_as_there_is_room(harness: Harness) -> None:
    sizes = {1: 10, 2: 100_000, 3: 10, 4: 10}
    await harness.insert(*(message(one, body=b"x" * size) for one, size in sizes.items()), message(5, INVOICES))

    async def read(ids: list[int], octets: int = 1 << 30) -> list[tuple[int, int]]:
        return [(one.id, one.size) for one in await harness.store.read_listed(ORDERS, ids, octets)]

    assert await read([1, 2, 4, 5, 9]) == [(1, 10), (2, 100_000), (4, 10)]
    assert await read([1, 2, 3, 4], 1000) == [(1, 10), (2, 100_000)]
    assert await read([5, 9]) == []


async def test_the_index_survives_a_restart(harness: Harness) -> None:
    await insert(harness, {1: 5, 2: 6})

    await harness.crash()

    assert (await heads(harness)).heads == [GroupHead(5, [1]), GroupHead(6, [2])]
