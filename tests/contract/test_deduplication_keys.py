"""Keys of de-duplication: recorded with the message that has them, once, and forgotten in bounded steps."""

from __future__ import annotations

import asyncio

import pytest

from broker.message import TRANSIENT, KeyClaim, KeyedMessage
from broker.ports.keys import FOREVER, digest_of, exchange_scope
from broker.ports.records import Drop, ExchangeKey, ExchangeRecord, Put, QueueKey, QueueRecord, VirtualHostRecord
from broker.ports.store import FIRST_KEY, Batch
from tests.contract.harness import INVOICES, ORDERS, Harness, Queue, message
from tests.contract.nodes import Nodes, OnServer, message_id

NOW = 1_000_000
EXCHANGE = exchange_scope("/", "sales")
IN_QUEUE = 0


def claim(
    key: str,
    owner: int,
    *,
    scope: int = ORDERS.queue_id,
    now: int = NOW,
    until: int = NOW + 1000,
    is_binding: bool = True,
) -> KeyClaim:
    return KeyClaim(scope, digest_of(scope, key.encode()), owner, now, until, is_binding)


def keyed(
    number: int, *claims: KeyClaim, queue: Queue = ORDERS, body: bytes = b"hello", **options: int
) -> KeyedMessage:
    plain = message(number, queue, body, **options)
    made = KeyedMessage(number, queue, plain.routing, plain.header, plain.body, plain.chunks, plain.state)
    made.claims, made.content_id = claims, plain.content_id
    return made


def with_key(
    number: int, key: str, *, until: int = NOW + 1000, now: int = NOW, is_binding: bool = True
) -> KeyedMessage:
    return keyed(number, claim(key, number, now=now, until=until, is_binding=is_binding))


def batch(*messages: KeyedMessage) -> Batch:
    inserts = [each for each in messages if each.state != TRANSIENT]
    return Batch([*inserts], high_water=max(each.id for each in messages), keyed=[*messages])


async def duplicates(harness: Harness, *messages: KeyedMessage) -> set[int]:
    written = batch(*messages)
    await harness.store.write(written)
    return written.duplicates


async def test_a_key_is_taken_by_the_first_message_and_the_next_is_left_out(harness: Harness) -> None:
    assert await duplicates(harness, with_key(1, "a"), with_key(2, "b")) == set()
    assert await duplicates(harness, with_key(3, "a"), with_key(4, "c"), with_key(5, "b")) == {3, 5}
    assert await harness.ids() == [1, 2, 4]


async def test_a_key_survives_a_crash_with_its_message(harness: Harness) -> None:
    await duplicates(harness, with_key(1, "a"))
    await harness.crash()
    assert await duplicates(harness, with_key(2, "a")) == {2}
    assert await harness.ids() == [1]


async def test_of_one_batch_the_first_message_with_a_key_has_it(harness: Harness) -> None:
    assert await duplicates(harness, with_key(1, "a"), with_key(2, "a"), with_key(3, "b"), with_key(4, "a")) == {2, 4}
    assert await harness.ids() == [1, 3]


async def test_messages_without_keys_in_the_batch_are_written_as_ever(harness: Harness) -> None:
    await duplicates(harness, with_key(1, "a"))
    both = batch(with_key(2, "a"))
    both.inserts.append(message(3))
    await harness.store.write(both)
    assert await harness.ids() == [1, 3]


async def test_a_key_whose_time_is_over_is_free(harness: Harness) -> None:
    await duplicates(harness, with_key(1, "a", until=NOW + 10), with_key(2, "b", until=NOW + 11))
    late = NOW + 10
    assert await duplicates(harness, with_key(3, "a", now=late, until=late + 10), with_key(4, "b", now=late)) == {4}
    assert await duplicates(harness, with_key(5, "a", now=late)) == {5}  # its time began anew
    assert await harness.ids() == [1, 2, 3]


async def test_a_key_for_as_long_as_its_message_is_there_is_free_after_that(harness: Harness) -> None:
    first = with_key(1, "a", until=IN_QUEUE)
    await duplicates(harness, first)
    assert await duplicates(harness, with_key(2, "a", until=IN_QUEUE)) == {2}
    await harness.delete(first)
    assert await duplicates(harness, with_key(3, "a", until=IN_QUEUE)) == set()
    assert await duplicates(harness, with_key(4, "a", until=IN_QUEUE)) == {4}
    assert await harness.ids() == [3]


async def test_a_message_that_goes_with_the_same_batch_has_its_key_no_more(harness: Harness) -> None:
    first = with_key(1, "a", until=IN_QUEUE)
    await duplicates(harness, first)
    both = batch(with_key(2, "a", until=IN_QUEUE))
    both.deletes.append(first)
    await harness.store.write(both)
    assert both.duplicates == set()
    assert await harness.ids() == [2]


async def test_the_same_key_in_other_scopes_is_another(harness: Harness) -> None:
    elsewhere = keyed(2, claim("a", 2, scope=INVOICES.queue_id), queue=INVOICES)
    assert await duplicates(harness, with_key(1, "a"), elsewhere, keyed(3, claim("a", 3, scope=EXCHANGE))) == set()


async def test_the_messages_of_one_publish_share_the_key_of_an_exchange(harness: Harness) -> None:
    shared = claim("a", 1, scope=EXCHANGE)
    assert await duplicates(harness, keyed(1, shared), keyed(2, shared, queue=INVOICES)) == set()
    again = claim("a", 3, scope=EXCHANGE)
    assert await duplicates(harness, keyed(3, again), keyed(4, again, queue=INVOICES)) == {3, 4}
    assert (await harness.ids(ORDERS), await harness.ids(INVOICES)) == ([1], [2])


async def test_who_does_not_get_the_first_key_does_not_take_the_second(harness: Harness) -> None:
    await duplicates(harness, keyed(1, claim("a", 1, scope=EXCHANGE), queue=INVOICES))
    assert await duplicates(harness, keyed(2, claim("a", 2, scope=EXCHANGE), claim("a", 2))) == {2}
    assert await duplicates(harness, with_key(3, "a")) == set()
    assert await harness.ids() == [3]


async def test_a_message_that_only_tells_its_key_is_never_left_out(harness: Harness) -> None:
    assert await duplicates(harness, with_key(1, "a"), with_key(2, "a", is_binding=False)) == set()
    assert await duplicates(harness, with_key(3, "b", is_binding=False), with_key(4, "b")) == {4}
    assert await harness.ids() == [1, 2, 3]


async def test_a_message_without_a_row_has_its_key_recorded(harness: Harness) -> None:
    shared = claim("a", 1, scope=EXCHANGE)
    assert await duplicates(harness, keyed(1, shared, state=TRANSIENT)) == set()
    assert await duplicates(harness, keyed(2, claim("a", 2, scope=EXCHANGE), state=TRANSIENT)) == {2}
    assert await harness.ids() == []


async def test_the_body_of_a_message_that_is_left_out_is_not_stored(harness: Harness) -> None:
    large = b"x" * 200_000
    await duplicates(harness, keyed(1, claim("a", 1), body=large, content_id=1))
    shared = [keyed(2, claim("a", 2), body=large, content_id=2), message(3, INVOICES, large, content_id=2)]
    both = Batch([*shared], high_water=3, keyed=[shared[0]])  # type: ignore[list-item]
    await harness.store.write(both)
    assert both.duplicates == {2}
    assert [read.payload for read in await harness.read(INVOICES)] == [large]
    assert await duplicates(harness, keyed(4, claim("a", 4), body=large, content_id=4)) == {4}
    assert await harness.ids() == [1]


async def test_writing_again_what_is_recorded_finds_its_own_keys(harness: Harness) -> None:
    only_keys = Batch(high_water=1, keyed=[keyed(1, claim("a", 1, scope=EXCHANGE), state=TRANSIENT)])
    await harness.store.write(only_keys)
    await harness.store.write(only_keys)
    assert only_keys.duplicates == set()


async def test_keys_are_looked_through_page_by_page_and_forgotten_when_they_are_over(harness: Harness) -> None:
    gone = with_key(1, "gone", until=IN_QUEUE)
    await duplicates(harness, gone, with_key(2, "there", until=IN_QUEUE), with_key(3, "over", until=NOW + 5))
    await duplicates(harness, with_key(4, "not over"), keyed(5, claim("kept", 5, scope=EXCHANGE, until=FOREVER)))
    await harness.delete(gone)
    first = await harness.store.sweep_keys(FIRST_KEY, NOW + 5, 3)
    assert (first.seen, first.last is None) == (3, False)
    assert first.last is not None
    second = await harness.store.sweep_keys(first.last, NOW + 5, 3)
    assert (second.seen, second.last) == (2, None)
    assert first.forgotten + second.forgotten == 2
    again = [with_key(10 + number, key) for number, key in enumerate(("gone", "there", "over", "not over"))]
    assert await duplicates(harness, *again) == {11, 13}


async def test_of_too_many_keys_the_oldest_are_forgotten_so_many_at_a_time(harness: Harness) -> None:
    await duplicates(harness, *(with_key(number, f"{number}") for number in range(1, 8)))
    assert await harness.store.trim_keys(ORDERS.queue_id, 3, 2) == 2
    assert await harness.store.trim_keys(ORDERS.queue_id, 3, 100) == 2
    assert await harness.store.trim_keys(ORDERS.queue_id, 3, 100) == 0
    again = [with_key(10 + number, f"{number}") for number in range(1, 8)]
    assert await duplicates(harness, *again) == {15, 16, 17}


async def test_keys_go_with_their_queue_and_their_exchange(harness: Harness) -> None:
    queue = QueueRecord("/", "orders", ORDERS.queue_id, False, False, b"")
    exchange = ExchangeRecord("/", "sales", "fanout", False, False, b"")
    await harness.store.record([Put(VirtualHostRecord("/")), Put(queue), Put(exchange)])
    await duplicates(harness, with_key(1, "a"), keyed(2, claim("a", 2, scope=EXCHANGE)))
    await harness.store.record([Drop(ExchangeKey("/", "sales"))])
    assert await duplicates(harness, with_key(3, "a"), keyed(4, claim("a", 4, scope=EXCHANGE))) == {3}
    await harness.store.record([Drop(VirtualHostRecord("/"))])
    assert await duplicates(harness, with_key(5, "a")) == set()
    assert await harness.ids() == [5]
    await harness.store.record(
        [Put(VirtualHostRecord("/")), Put(queue), Drop(QueueKey("/", "orders", ORDERS.queue_id))]
    )
    assert await duplicates(harness, with_key(6, "a")) == set()


async def test_of_two_nodes_one_gets_the_key(nodes: Nodes) -> None:
    if nodes.is_single:
        pytest.skip("one node has the store for itself")
    a, b = await nodes.join("a"), await nodes.join("b")
    numbers = range(1, 301)
    asked = [
        batch(*(with_key(message_id(number, node.lane), f"{number}") for number in part))
        for node, part in ((a, numbers), (b, reversed(numbers)))
    ]
    await asyncio.gather(a.store.write(asked[0]), b.store.write(asked[1]))
    left = [{one >> 18 for one in each.duplicates} for each in asked]
    assert left[0].isdisjoint(left[1])
    assert left[0] | left[1] == set(numbers)
    stored = [*await a.ids(lane=a.lane), *await a.ids(lane=b.lane)]
    assert sorted(stored) == [*numbers]


async def test_of_two_nodes_one_takes_over_a_key_that_is_over(nodes: Nodes) -> None:
    if nodes.is_single:
        pytest.skip("one node has the store for itself")
    a, b = await nodes.join("a"), await nodes.join("b")
    old = [with_key(message_id(number, a.lane), f"{number}", until=NOW + 1) for number in range(1, 101)]
    await a.store.write(batch(*old))
    for turn in range(3):
        late = NOW + 1 + turn
        asked = [
            batch(*(with_key(message_id(1000 * (turn + 1) + number, node.lane), f"{number}", now=late, until=late + 1)
                    for number in range(1, 101)))
            for node in (a, b)
        ]  # fmt: skip
        await asyncio.gather(*(node.store.write(each) for node, each in zip((a, b), asked, strict=True)))
        assert sum(len(each.duplicates) for each in asked) == 100


async def test_a_batch_waits_for_the_end_of_one_that_has_the_same_key(on_server: OnServer) -> None:
    a, b = await on_server.nodes.join("a"), await on_server.nodes.join("b")
    place = f"{ORDERS.queue_id},'{digest_of(ORDERS.queue_id, b'a')}'"
    store = a.store
    held = await store._engine.connect()
    insert = f'INSERT INTO "MB_DEDUPLICATION_KEY" VALUES ({place},77,{NOW + 1000})'
    if on_server.is_mariadb:
        await held.query(f"BEGIN;{insert.replace(chr(34), '`')}")
        while held._result.has_next:
            await held.next_result()
    else:
        await held.execute(f"BEGIN;{insert}")
    written = batch(with_key(message_id(1, b.lane), "a"))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(b.store.write(written))
        await on_server.someone_waits()
        await (held.query("COMMIT") if on_server.is_mariadb else held.execute("COMMIT"))
    store._dialect.abort(held)
    assert len(written.duplicates) == 1
