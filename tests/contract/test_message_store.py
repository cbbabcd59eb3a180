"""What every message store promises (`broker.ports.MessageStore`)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from broker.codec.field_table import FieldTable
from broker.codec.properties import BasicProperties, encode_header
from broker.errors import StoreError
from broker.message import MOST_DELIVERIES, STORED, TRANSIENT, Message, tail
from broker.ports.slot import ALL_LANES, Slot
from broker.ports.store import Batch
from tests.contract.harness import INVOICES, LATEST, ORDERS, Harness, Queue, message


async def test_a_message_comes_back_as_it_was_published(harness: Harness) -> None:
    published = message(5, body=b"\x00hello\xff")

    await harness.insert(published)
    [stored] = await harness.read()

    assert (stored.id, stored.queue, stored.state, stored.redelivered) == (5, ORDERS, STORED, False)
    assert (stored.routing, stored.header) == (published.routing, published.header)
    assert (stored.body, stored.chunks, stored.content_id) == (published.body, None, 0)


async def test_what_was_written_is_there_after_a_crash(harness: Harness) -> None:
    await harness.insert(message(5), message(6))

    await harness.crash()

    assert await harness.ids() == [5, 6]


async def test_inserts_may_come_in_any_order_and_are_read_ascending_by_id(harness: Harness) -> None:
    await harness.insert(message(9), message(3), message(6))

    assert await harness.ids() == [3, 6, 9]


async def test_a_message_lies_in_its_own_queue_only(harness: Harness) -> None:
    await harness.insert(message(1, ORDERS), message(2, INVOICES))

    assert await harness.ids(ORDERS) == [1]
    assert await harness.ids(INVOICES) == [2]


async def test_an_empty_batch_does_nothing(harness: Harness) -> None:
    await harness.store.write(Batch())

    assert await harness.ids() == []


async def test_more_messages_than_one_statement_takes_are_all_written(harness: Harness) -> None:
    await harness.insert(*(message(message_id, body=b"%d" % message_id) for message_id in range(1, 1025)))

    assert [stored.payload for stored in await harness.read(limit=1000)] == [
        b"%d" % number for number in range(1, 1001)
    ]
    assert [slot.count for slot in await harness.store.backlog()] == [1023, 1]


async def test_a_batch_may_delete_what_it_inserts(harness: Harness) -> None:
    cancelled = message(2)

    await harness.store.write(Batch(inserts=[message(1), cancelled], deletes=[cancelled]))

    assert await harness.ids() == [1]


async def test_deleting_a_row_that_is_not_there_is_no_error(harness: Harness) -> None:
    await harness.insert(message(1))

    await harness.delete(message(99), message(98, content_id=97))

    assert await harness.ids() == [1]


async def test_deleting_twice_is_no_error(harness: Harness) -> None:
    first = message(1)
    await harness.insert(first, message(2))

    await harness.delete(first)
    await harness.delete(first)

    assert await harness.ids() == [2]


async def test_a_batch_that_fails_does_nothing_at_all(harness: Harness) -> None:
    there = message(1)
    await harness.insert(there, message(2))

    with pytest.raises(StoreError):
        await harness.store.write(
            Batch(
                inserts=[message(3, content_id=3, body=b"shared"), message(2)],
                deletes=[there],
                purges=[Slot(7, 0, 0, LATEST, 0)],
                high_water=900,
            )
        )

    assert await harness.ids() == [1, 2]
    assert (await harness.restart()).last_message_id < 900


async def test_the_store_goes_on_after_a_batch_that_failed(harness: Harness) -> None:
    await harness.insert(message(1))
    with pytest.raises(StoreError):
        await harness.insert(message(1))

    await harness.insert(message(2))

    assert await harness.ids() == [1, 2]


async def test_a_cancelled_caller_does_not_stop_the_write(harness: Harness) -> None:
    loop = asyncio.get_running_loop()
    writing = loop.create_task(harness.insert(message(1)))
    await asyncio.sleep(0)
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)

    await harness.insert(message(2))

    assert await harness.ids() == [1, 2]


@pytest.mark.parametrize(
    "size",
    [0, 1, 65_499, 65_500, 65_501, 131_000, 131_001, 131_063, 131_064, 131_065, 200_000, 1 << 20, 20 << 20],
    ids=lambda size: f"{size}B",
)
async def test_a_body_of_any_size_comes_back_octet_for_octet(harness: Harness, size: int) -> None:
    body = (bytes(range(251)) * (size // 251 + 1))[:size]

    await harness.insert(message(5, body=body), message(6, body=b"neighbour"))
    large, neighbour = await harness.read()

    assert large.payload == body
    assert neighbour.payload == b"neighbour"


async def test_a_long_body_comes_back_in_frames_of_131072_octets(harness: Harness) -> None:
    body = b"x" * 200_000

    await harness.insert(message(5, body=body))
    [stored] = await harness.read()

    assert stored.body == b""
    assert stored.chunks == [tail(body[:131_064]), tail(body[131_064:])]


async def test_a_short_body_in_many_frames_comes_back_in_one(harness: Harness) -> None:
    await harness.insert(message(5, body=b"hello", frame_max=10))
    [stored] = await harness.read()

    assert (stored.body, stored.chunks) == (tail(b"hello"), None)


async def test_a_body_too_long_for_a_row_gets_its_message_id_as_content_id(harness: Harness) -> None:
    short, long = message(5, body=b"x" * 65_500), message(6, body=b"x" * 65_501)

    await harness.insert(short, long)

    assert (short.content_id, long.content_id) == (0, 6)
    assert [stored.content_id for stored in await harness.read()] == [0, 6]


@pytest.mark.parametrize("frame_max", [4096, 131_072, 1 << 20])
async def test_a_long_body_comes_back_whatever_frames_it_came_in(harness: Harness, frame_max: int) -> None:
    body = bytes(range(251)) * 800

    await harness.insert(message(5, body=body, frame_max=frame_max))

    assert [stored.payload for stored in await harness.read()] == [body]


async def test_long_bodies_survive_a_restart_and_a_crash(harness: Harness) -> None:
    await harness.insert(message(5, body=b"a" * 200_000), message(6, body=b"b" * 70_000))
    await harness.restart()
    await harness.insert(message(7, body=b"c" * 300_000))

    await harness.crash()

    assert [stored.payload for stored in await harness.read()] == [b"a" * 200_000, b"b" * 70_000, b"c" * 300_000]


async def test_long_and_short_bodies_of_one_batch_keep_apart(harness: Harness) -> None:
    sizes = [10, 200_000, 70_000, 1, 131_065, 5000]

    await harness.insert(*(message(number, body=b"%d" % number * size) for number, size in enumerate(sizes, 1)))

    assert [stored.payload for stored in await harness.read()] == [b"%d" % n * size for n, size in enumerate(sizes, 1)]


async def test_a_batch_may_delete_a_long_body_that_it_inserts(harness: Harness) -> None:
    cancelled, kept = message(1, body=b"x" * 200_000), message(2, body=b"y" * 200_000)

    await harness.store.write(Batch(inserts=[cancelled, kept], deletes=[cancelled]))

    assert [stored.payload for stored in await harness.read()] == [b"y" * 200_000]


@pytest.mark.parametrize("size", [6, 5000, 70_000, 200_000], ids=lambda size: f"{size}B")
async def test_content_of_any_size_is_shared_until_its_last_row_goes(harness: Harness, size: int) -> None:
    shared, anew = b"s" * size, b"n" * size
    clones = [message(number, Queue(number), shared, content_id=1) for number in (1, 2)]
    await harness.insert(*clones)
    await harness.insert(message(3, Queue(3), shared, content_id=1))

    await harness.delete(clones[0])
    await harness.restart()
    left = [await harness.read(Queue(number)) for number in (1, 2, 3)]
    await harness.delete(*left[1], *left[2])
    await harness.insert(message(4, Queue(4), anew, content_id=1))

    assert [[stored.payload for stored in found] for found in left] == [[], [shared], [shared]]
    assert [stored.payload for stored in await harness.read(Queue(4))] == [anew]


async def test_a_long_body_of_a_batch_that_failed_is_written_by_the_next(harness: Harness) -> None:
    await harness.insert(message(1))
    with pytest.raises(StoreError):
        await harness.insert(message(2, body=b"x" * 200_000), message(1))

    await harness.insert(message(2, body=b"y" * 200_000))

    assert [stored.payload for stored in await harness.read()] == [b"hello", b"y" * 200_000]


async def test_a_purge_deletes_long_bodies_too(harness: Harness) -> None:
    await harness.insert(*(message(number, body=b"%d" % number * 200_000) for number in range(1, 4)))

    await harness.store.write(Batch(purges=[Slot(7, 0, 1, 2, 2)]))

    assert [stored.payload for stored in await harness.read()] == [b"3" * 200_000]


async def test_long_transient_bodies_are_gone_after_a_restart(harness: Harness) -> None:
    await harness.insert(message(1, body=b"x" * 200_000, state=TRANSIENT), message(2, body=b"y" * 200_000))

    await harness.restart()

    assert [stored.payload for stored in await harness.read(transient=True)] == [b"y" * 200_000]


async def test_a_page_ends_soon_after_as_many_octets_of_long_bodies(harness: Harness) -> None:
    await harness.insert(*(message(number, body=b"x" * 200_000) for number in range(1, 6)))

    page = await harness.store.read(ORDERS, Slot(7, 0, 1, 5, 5), 100, 250_000)

    assert [stored.size for stored in page] == [200_000, 200_000]


async def test_clones_share_their_content(harness: Harness) -> None:
    await harness.insert(message(1, ORDERS, b"shared", content_id=1), message(2, INVOICES, b"shared", content_id=1))

    [order], [invoice] = await harness.read(ORDERS), await harness.read(INVOICES)

    assert (order.payload, order.content_id) == (b"shared", 1)
    assert (invoice.payload, invoice.content_id) == (b"shared", 1)


async def test_content_lives_until_the_last_row_that_names_it_is_deleted(harness: Harness) -> None:
    first, second = message(1, ORDERS, b"shared", content_id=1), message(2, INVOICES, b"shared", content_id=1)
    await harness.insert(first, second)

    await harness.delete(first)
    [left] = await harness.read(INVOICES)
    await harness.delete(second)
    await harness.insert(message(3, ORDERS, b"written anew", content_id=1))

    assert left.payload == b"shared"
    assert [stored.payload for stored in await harness.read(ORDERS)] == [b"written anew"]


async def test_content_survives_a_batch_that_deletes_one_clone_and_inserts_another(harness: Harness) -> None:
    first = message(1, ORDERS, b"shared", content_id=1)
    await harness.insert(first)

    await harness.store.write(Batch(inserts=[message(2, INVOICES, b"shared", content_id=1)], deletes=[first]))

    assert [stored.payload for stored in await harness.read(INVOICES)] == [b"shared"]


async def test_writing_content_that_is_there_already_is_no_error(harness: Harness) -> None:
    await harness.insert(message(1, ORDERS, b"x" * 70_000, content_id=1))
    await harness.insert(message(2, INVOICES, b"x" * 70_000, content_id=1))

    assert [stored.size for stored in await harness.read(INVOICES)] == [70_000]


async def test_empty_content_can_be_shared_too(harness: Harness) -> None:
    await harness.insert(message(1, body=b"", content_id=1), message(2, body=b"abc", content_id=2), message(3))

    assert [stored.payload for stored in await harness.read()] == [b"", b"abc", b"hello"]


async def test_a_message_read_back_can_be_deleted_with_its_content(harness: Harness) -> None:
    await harness.insert(message(1, body=b"shared", content_id=1))

    await harness.delete(*await harness.read())
    await harness.insert(message(2, body=b"written anew", content_id=1))

    assert [stored.payload for stored in await harness.read()] == [b"written anew"]


async def test_a_purge_deletes_the_range_of_its_queue_and_lane_only(harness: Harness) -> None:
    other_lane = 15 | 1 << 10
    await harness.insert(*map(message, (9, 10, 15, 20, 21, other_lane)), message(16, INVOICES))

    await harness.store.write(Batch(purges=[Slot(7, 0, 10, 20, 3)]))

    assert await harness.ids() == [9, 21]
    assert await harness.ids(INVOICES) == [16]
    assert await harness.store.read(ORDERS, Slot(7, 1, 0, LATEST, 1), 10, 1000) != []


async def test_a_purge_deletes_transient_rows_and_content_too(harness: Harness) -> None:
    await harness.insert(
        message(10, body=b"old", content_id=10), message(11, state=TRANSIENT), message(12, body=b"x" * 70_000)
    )

    await harness.store.write(Batch(purges=[Slot(7, 0, 10, 12, 3)]))
    await harness.insert(message(13, body=b"new", content_id=10))

    assert [stored.payload for stored in await harness.read(transient=True)] == [b"new"]


async def test_a_purge_sees_what_its_own_batch_inserts(harness: Harness) -> None:
    await harness.store.write(Batch(inserts=[message(10), message(30)], purges=[Slot(7, 0, 0, 20, 1)]))

    assert await harness.ids() == [30]


async def test_a_transient_message_is_read_in_id_order_when_the_slot_says_so(harness: Harness) -> None:
    await harness.insert(message(1), message(2, state=TRANSIENT), message(3), message(4, state=TRANSIENT))

    merged = await harness.read(transient=True)

    assert [(stored.id, stored.state) for stored in merged] == [
        (1, STORED),
        (2, TRANSIENT),
        (3, STORED),
        (4, TRANSIENT),
    ]
    assert await harness.ids() == [1, 3]


async def test_a_page_of_a_mixed_slot_ends_at_its_limit(harness: Harness) -> None:
    await harness.insert(message(1), message(2, state=TRANSIENT), message(3), message(4, state=TRANSIENT))

    assert [stored.id for stored in await harness.read(transient=True, limit=3)] == [1, 2, 3]


async def test_transient_rows_are_deleted_like_any_other(harness: Harness) -> None:
    await harness.insert(message(1, state=TRANSIENT), message(2, state=TRANSIENT))

    await harness.delete((await harness.read(transient=True))[0])

    assert await harness.ids(transient=True) == [2]


async def test_transient_rows_are_gone_after_a_restart(harness: Harness) -> None:
    await harness.insert(
        message(1, state=TRANSIENT, body=b"shared", content_id=1),
        message(2, body=b"shared", content_id=1),
        message(3, state=TRANSIENT, body=b"old", content_id=3),
    )

    await harness.restart()
    await harness.insert(message(4, body=b"new", content_id=3))

    assert [stored.payload for stored in await harness.read(transient=True)] == [b"shared", b"new"]


async def test_a_page_has_at_most_as_many_messages_as_asked_for(harness: Harness) -> None:
    await harness.insert(*map(message, range(1, 11)))

    assert [stored.id for stored in await harness.read(limit=4)] == [1, 2, 3, 4]


async def test_a_page_ends_soon_after_as_many_octets_as_asked_for(harness: Harness) -> None:
    await harness.insert(
        *(message(message_id, body=b"x" * 1000) for message_id in range(1, 6)),
        message(6, body=b"x" * 100_000),
        message(7, body=b"x" * 1000, content_id=7),
        message(8),
    )
    slot = Slot(7, 0, 1, 8, 8)

    assert [stored.id for stored in await harness.store.read(ORDERS, slot, 100, 2500)] == [1, 2, 3]
    assert [stored.id for stored in await harness.store.read(ORDERS, slot, 100, 6000)] == [1, 2, 3, 4, 5, 6]


async def test_headers_count_in_the_octets_of_a_page_and_come_back_whole(harness: Harness) -> None:
    large = encode_header(0, BasicProperties(headers=FieldTable.of({"large": "x" * 100_000})))[12:]
    inserted = [message(message_id, properties=large) for message_id in range(1, 6)]
    await harness.insert(*inserted)

    page = await harness.store.read(ORDERS, Slot(7, 0, 1, 5, 5), 100, 250_000)

    assert [(stored.id, stored.header) for stored in page] == [(each.id, each.header) for each in inserted[:3]]


async def test_a_page_has_at_least_one_message_however_large(harness: Harness) -> None:
    await harness.insert(message(1, body=b"x" * 100_000), message(2))

    assert [stored.id for stored in await harness.store.read(ORDERS, Slot(7, 0, 1, 2, 2), 100, 0)] == [1]


async def test_a_page_keeps_inside_the_slot(harness: Harness) -> None:
    await harness.insert(*map(message, range(1, 11)))

    page = await harness.store.read(ORDERS, Slot(7, 0, 4, 6, 3), 100, 1000)

    assert [stored.id for stored in page] == [4, 5, 6]


async def test_an_empty_slot_gives_an_empty_page(harness: Harness) -> None:
    assert await harness.store.read(ORDERS, Slot(7, 0, 1, 100, 0), 100, 1000) == []


def delivered(message_id: int, deliveries: int, **properties: Any) -> Message:
    counted = message(message_id, **properties)
    counted.redelivered = deliveries
    return counted


async def test_the_number_of_deliveries_is_as_stored(harness: Harness) -> None:
    most = delivered(4, MOST_DELIVERIES, content_id=3)
    await harness.insert(message(1), delivered(2, 1), message(3, content_id=3), most, delivered(5, 21))

    assert [stored.redelivered for stored in await harness.read()] == [0, 1, 0, MOST_DELIVERIES, 21]


async def test_a_transient_message_has_its_number_of_deliveries(harness: Harness) -> None:
    await harness.insert(delivered(1, 3, state=TRANSIENT))

    [stored] = await harness.store.read(ORDERS, Slot(7, 0, 0, 9, 1, transient=True), 10, 1000)

    assert stored.redelivered == 3


async def test_a_message_that_may_have_been_delivered_counts_one_delivery_more(harness: Harness) -> None:
    await harness.insert(message(1), delivered(2, 5), delivered(3, MOST_DELIVERIES))

    page = await harness.store.read(ORDERS, Slot(7, 0, 0, 9, 3, maybe_delivered=True), 10, 1000)

    assert [stored.redelivered for stored in page] == [1, 6, MOST_DELIVERIES]


async def test_a_message_that_comes_late_counts_as_delivered_once(harness: Harness) -> None:
    await harness.insert(message(1), delivered(2, 5))

    page = await harness.store.read(ORDERS, Slot(7, 0, 0, 9, 3, is_late=True), 10, 1000)

    assert [stored.redelivered for stored in page] == [1, 5]


async def test_messages_marked_as_redelivered_stay_so(harness: Harness) -> None:
    await harness.insert(message(1), message(2), message(3, content_id=3), message(4))

    await harness.store.mark_redelivered([message(2), message(3), delivered(4, 7), message(99)])
    await harness.restart()

    assert [stored.redelivered for stored in await harness.read()] == [0, 1, 1, 7]


async def test_a_batch_counts_deliveries_of_messages_that_are_stored_or_inserted_with_it(harness: Harness) -> None:
    shared = message(3, content_id=3)
    await harness.insert(message(1), message(2), shared, message(4))

    recounts = [delivered(5, 1), delivered(2, 2), delivered(3, 1), delivered(4, 9), delivered(99, 2)]
    await harness.store.write(Batch([message(5)], [message(4)], recounts=recounts))
    await harness.store.write(Batch(recounts=[delivered(2, 3), delivered(1, MOST_DELIVERIES)]))
    await harness.crash()

    assert [(stored.id, stored.redelivered) for stored in await harness.read()] == [
        (1, MOST_DELIVERIES),
        (2, 3),
        (3, 1),
        (5, 1),
    ]


async def test_the_backlog_is_one_exact_slot_per_queue_and_lane(harness: Harness) -> None:
    lane_1 = 1 << 10
    await harness.insert(*map(message, (5, 9, 7)), message(6, INVOICES), message(lane_1 + 8), message(lane_1 + 4))

    await harness.restart()
    slots = sorted(await harness.store.backlog(), key=lambda slot: (slot.queue_id, slot.lane))

    assert slots == [Slot(7, 0, 5, 9, 3), Slot(7, 1, lane_1 + 4, lane_1 + 8, 2), Slot(8, 0, 6, 6, 1)]


async def test_an_empty_store_has_no_backlog(harness: Harness) -> None:
    assert await harness.store.backlog() == []


async def test_many_queues_can_be_written_in_one_batch(harness: Harness) -> None:
    queues = [Queue(number) for number in range(1, 301)]

    await harness.insert(*(message(1000 + queue.queue_id, queue) for queue in queues))

    assert len(await harness.store.backlog()) == 300


async def test_reads_and_writes_may_overlap(harness: Harness) -> None:
    await harness.insert(*map(message, range(1, 101)))

    pages = await asyncio.gather(
        harness.insert(*map(message, range(101, 201))), harness.ids(), harness.insert(message(201)), harness.ids()
    )

    assert pages[1][:100] == list(range(1, 101))
    assert await harness.ids() == list(range(1, 202))


async def test_messages_of_all_lanes_are_read_together_in_the_order_of_their_ids(harness: Harness) -> None:
    ids = [(number << 18) | (number % 3 << 10) for number in range(1, 8)]
    await harness.insert(*map(message, ids), message(9 << 18, queue=INVOICES))

    page = await harness.store.read(ORDERS, Slot(7, ALL_LANES, 0, 1 << 60, 0, transient=True), 3, 1 << 20)
    rest = await harness.store.read(ORDERS, Slot(7, ALL_LANES, ids[2] + 1, ids[5], 0), 9, 1 << 20)

    assert [stored.id for stored in page] == ids[:3]
    assert [stored.id for stored in rest] == ids[3:6]
