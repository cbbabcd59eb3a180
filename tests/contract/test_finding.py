"""Every store finds messages by what they say of themselves, page by page (`broker.ports.SearchStore`)."""

from __future__ import annotations

from broker.message import TRANSIENT, Message
from broker.ports.finding import BEHIND_ALL, MOST_FOUND, FoundPage
from tests.contract.harness import INVOICES, ORDERS, Harness, Queue, message

ONE = b"\x07order-1"
TWO = b"\x07order-2"


def named(message_id: int, name: bytes, queue: Queue = ORDERS, **options: int) -> Message:
    """Return a message with the property message-id; `name` begins with its length."""
    return message(message_id, queue, properties=b"\x00\x80" + name, **options)


def ids(page: FoundPage) -> list[int]:
    return [row.message_id for row in page.rows]


async def test_messages_of_all_queues_are_found_the_newest_first(harness: Harness) -> None:
    await harness.insert(named(1, ONE), named(2, TWO), named(3, ONE, INVOICES), named(4, ONE, state=TRANSIENT))

    page = await harness.store.find_messages(ONE, BEHIND_ALL, 100)

    assert (ids(page), page.seen, page.last) == ([4, 3, 1], 4, None)
    assert [row.queue_id for row in page.rows] == [7, 8, 7]
    assert [row.is_transient for row in page.rows] == [True, False, False]
    assert page.rows[2].metadata == b"\x05sales\x03new\x00\x3c\x00\x00" + bytes(7) + b"\x05\x00\x80" + ONE


async def test_what_is_told_is_how_often_a_message_was_delivered(harness: Harness) -> None:
    returned = named(1, ONE)
    await harness.insert(returned)
    returned.redelivered = 3
    await harness.store.mark_redelivered([returned])

    (row,) = (await harness.store.find_messages(ONE, BEHIND_ALL, 100)).rows

    assert row.redelivered == 3


async def test_a_page_ends_after_the_rows_that_it_may_look_at(harness: Harness) -> None:
    await harness.insert(named(1, ONE), *(named(number, TWO) for number in range(2, 21)))

    first = await harness.store.find_messages(ONE, BEHIND_ALL, 15)
    second = await harness.store.find_messages(ONE, first.last or 0, 15)
    third = await harness.store.find_messages(ONE, 1, 15)

    assert (ids(first), first.seen, first.last) == ([], 15, 6)
    assert (ids(second), second.seen, second.last) == ([1], 5, None)
    assert (ids(third), third.seen, third.last) == ([], 0, None)


async def test_a_page_with_many_finds_ends_with_the_last_of_them(harness: Harness) -> None:
    await harness.insert(*(named(number, ONE) for number in range(1, MOST_FOUND + 6)))

    first = await harness.store.find_messages(ONE, BEHIND_ALL, 1000)
    second = await harness.store.find_messages(ONE, first.last or 0, 1000)

    assert (len(first.rows), first.last) == (MOST_FOUND, 6)
    assert (ids(second), second.last) == ([5, 4, 3, 2, 1], None)


async def test_one_message_is_found_by_its_id(harness: Harness) -> None:
    await harness.insert(named(1, ONE), named(3, TWO))

    assert ids(await harness.store.find_messages(b"", 4, 1)) == [3]
    assert ids(await harness.store.find_messages(b"", 3, 1)) == [1]


async def test_octets_that_are_no_text_are_compared_as_octets(harness: Harness) -> None:
    await harness.insert(named(1, b"\x04\x00\xff%_"), named(2, b"\x04\x00\xfe%_"), named(3, b"\x04\x00\xffxx"))

    assert ids(await harness.store.find_messages(b"\x04\x00\xff%_", BEHIND_ALL, 100)) == [1]
