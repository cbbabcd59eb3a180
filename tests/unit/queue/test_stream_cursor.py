"""The place of a consumer in a stream: what it gets of a block, and where it goes on."""

from __future__ import annotations

import pytest

from broker.codec.field_table import FieldTable
from broker.codec.properties import BasicProperties, encode_header
from broker.codec.stream_records import RecordReader, StreamRecord
from broker.message import STORED, TRANSIENT, Message, first_id_at, tail
from broker.queue.stream_cache import Block
from broker.queue.stream_cursor import Since, StreamCursor, StreamWish
from tests.support.composition import new_queue

START_MS = 1_900_000_000_000
QUEUE = new_queue()


def records(*values: str | None, first: int = 0) -> list[StreamRecord]:
    """Return records, one in each second, that say this to filters."""
    messages = []
    for number, value in enumerate(values):
        headers = None if value is None else FieldTable.of({"x-stream-filter-value": value})
        header = tail(encode_header(0, BasicProperties(headers=headers)))
        made_id = first_id_at(START_MS + 1000 * (first + number))
        messages.append(Message(made_id, QUEUE, b"\0\0", header, b"", None, STORED))
    return RecordReader().of_messages(messages, first)


def block(*values: str | None, first: int = 0) -> Block:
    return Block(first, first + len(values), records(*values, first=first))


def taken(cursor: StreamCursor, found: Block, limit: int = 100, octets: int = 1 << 20) -> tuple[list[int], int]:
    places, following = cursor.take(found, limit, octets)
    return [found.records[place].offset for place in places], following


def test_a_consumer_gets_the_rest_of_the_block_that_it_is_in() -> None:
    assert taken(StreamCursor(12, StreamWish()), block(None, None, None, None, first=10)) == ([12, 13], 14)


def test_it_goes_on_with_the_first_that_it_had_no_room_for() -> None:
    found = block(None, None, None, None, first=10)
    assert taken(StreamCursor(10, StreamWish()), found, limit=2) == ([10, 11], 12)
    assert taken(StreamCursor(10, StreamWish()), found, octets=1) == ([10], 11)


def test_a_filter_skips_what_it_does_not_let_through_and_goes_on_behind_it() -> None:
    found = block("eu", "us", None, "eu", "us", first=10)
    cursor = StreamCursor(11, StreamWish(filters=frozenset({"eu"})))
    assert taken(cursor, found) == ([13], 15)
    assert taken(StreamCursor(10, StreamWish(filters=frozenset({"us"}))), found, limit=1) == ([11], 14)


@pytest.mark.parametrize(("second", "expected"), [(0, [10, 11, 12]), (11, [11, 12]), (12, [12]), (13, [])])
def test_a_time_is_found_by_the_message(second: int, expected: list[int]) -> None:
    cursor = StreamCursor(10, StreamWish(Since(START_MS + 1000 * second)))
    assert taken(cursor, block(None, None, None, first=10)) == (expected, 13)


def test_behind_the_first_message_of_its_time_a_consumer_gets_older_ones_too() -> None:
    late, early = records(None, first=9)[0], records(None, first=3)[0]
    found = Block(0, 2, [late._replace(offset=0), early._replace(offset=1)])
    assert taken(StreamCursor(0, StreamWish(Since(START_MS + 9000))), found) == ([0, 1], 2)


def test_the_place_that_is_kept_is_that_of_the_first_message_without_an_answer() -> None:
    cursor = StreamCursor(0, StreamWish(is_kept=True), "reader")
    messages = [Message(offset, QUEUE, b"", b"", b"", None, TRANSIENT) for offset in range(4)]
    cursor.on_taken(messages)
    cursor.next = 4
    kept = [cursor.kept]
    for answered in (1, 0, 3, 2):
        cursor.on_answered([messages[answered]])
        kept.append(cursor.kept)
    assert kept == [0, 0, 2, 2, 4]
