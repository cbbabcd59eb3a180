"""Streams in every store: offsets without gaps in the order of commits, pages, times, retention, places."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest

from broker.codec.stream_records import SEGMENT_OCTETS, RecordReader, StreamRecord
from broker.message import Message, first_id_at
from broker.ports.records import Drop, Put, QueueKey, QueueRecord, VirtualHostRecord
from broker.ports.store import Batch
from broker.ports.streams import NO_STREAM, NOTHING, StreamAppend, StreamBounds, StreamPage, TrimRule
from tests.contract.harness import INVOICES, ORDERS, Harness, Queue, message
from tests.contract.nodes import Nodes, OnServer

LOG, OTHER = ORDERS.queue_id, INVOICES.queue_id
ALL = 1 << 40


async def declare(harness: Harness, *queues: Queue) -> None:
    records = [QueueRecord("/", f"stream {each.queue_id}", each.queue_id, False, False, b"", True) for each in queues]
    await harness.store.record([Put(VirtualHostRecord("/")), *map(Put, records)])


@pytest.fixture
async def stream(harness: Harness) -> Harness:
    await declare(harness, ORDERS)
    return harness


def messages(*bodies: bytes, queue: Queue = ORDERS, at_ms: int = 1_900_000_000_000) -> list[Message]:
    return [message(first_id_at(at_ms) + number, queue, body) for number, body in enumerate(bodies)]


async def append(harness: Harness, *bodies: bytes, queue: Queue = ORDERS, at_ms: int = 1_900_000_000_000) -> int:
    written = StreamAppend(queue.queue_id, messages(*bodies, queue=queue, at_ms=at_ms))
    await harness.store.write(Batch(appends=[written]))
    return written.first


def records(page: StreamPage) -> list[StreamRecord]:
    reader = RecordReader()
    return [record for each in page.segments for record in reader.decode(each.content, each.first, each.count)]


def bodies(found: Iterable[StreamRecord]) -> dict[int, bytes]:
    return {
        record.offset: record.body[4:-1] if record.chunks is None else b"".join(part[4:-1] for part in record.chunks)
        for record in found
    }


async def read(harness: Harness, offset: int = 0, limit: int = ALL, queue_id: int = LOG) -> dict[int, bytes]:
    return bodies(records(await harness.store.read_stream(queue_id, offset, limit)))


async def test_offsets_count_from_zero_in_the_order_of_commits(stream: Harness) -> None:
    assert [await append(stream, b"a", b"b"), await append(stream, b"c"), await append(stream, b"d")] == [0, 2, 3]
    assert await read(stream) == {0: b"a", 1: b"b", 2: b"c", 3: b"d"}


async def test_a_stream_survives_a_crash_and_goes_on_where_it_ended(stream: Harness) -> None:
    await append(stream, b"a", b"b")
    await stream.crash()
    assert await append(stream, b"c") == 2
    assert await read(stream) == {0: b"a", 1: b"b", 2: b"c"}


async def test_a_message_comes_back_with_exchange_key_and_properties(stream: Harness) -> None:
    sent = message(first_id_at(1_900_000_000_000), ORDERS, b"hello", properties=b"\x20\x00\x00\x00\x00\x04\x01at\x01")
    await stream.store.write(Batch(appends=[StreamAppend(LOG, [sent])]))
    (record,) = records(await stream.store.read_stream(LOG, 0, ALL))
    assert (record.routing, record.body, record.published_ms) == (sent.routing, sent.body, 1_900_000_000_000)
    assert record.header[16:].startswith(b"\x20\x00")
    assert b"x-stream-offset" in record.header


async def test_a_page_begins_with_the_segment_that_has_the_offset(stream: Harness) -> None:
    for body in (b"abc", b"def"):
        await append(stream, *(bytes([each]) for each in body))
    page = await stream.store.read_stream(LOG, 4, ALL)
    assert ([(each.first, each.count) for each in page.segments], page.end) == ([(3, 3)], 6)


async def test_a_page_is_bounded_by_octets_and_the_next_one_begins_at_its_end(stream: Harness) -> None:
    large = SEGMENT_OCTETS // 3
    await append(stream, *(bytes([number]) * large for number in range(12)))
    offset, pages = 0, []
    while (page := await stream.store.read_stream(LOG, offset, 2 * SEGMENT_OCTETS)).end > offset:
        pages.append(list(bodies(records(page))))
        offset = page.end
    assert [number for page_ in pages for number in page_] == list(range(12))
    assert len(pages) >= 3


async def test_behind_the_end_there_is_nothing(stream: Harness) -> None:
    page = await stream.store.read_stream(LOG, 0, ALL)
    assert (list(page.segments), page.end) == ([], 0)
    await append(stream, b"a")
    page = await stream.store.read_stream(LOG, 1, ALL)
    assert (list(page.segments), page.end) == ([], 1)


async def test_a_message_larger_than_a_row_is_read_whole(stream: Harness) -> None:
    body = bytes(range(256)) * 2000
    await append(stream, b"before", body, b"after")
    assert await read(stream) == {0: b"before", 1: body, 2: b"after"}


async def test_an_empty_body_and_one_in_several_frames_come_back(stream: Harness) -> None:
    cut = message(first_id_at(1_900_000_000_000), ORDERS, b"x" * 10_000, frame_max=4096)
    await stream.store.write(Batch(appends=[StreamAppend(LOG, [*messages(b""), cut])]))
    assert await read(stream) == {0: b"", 1: b"x" * 10_000}


async def test_what_is_appended_to_a_stream_that_is_gone_has_no_place(stream: Harness) -> None:
    await append(stream, b"a")
    await stream.store.keep_places({(LOG, "reader"): 1})
    await stream.store.record([Drop(QueueKey("/", f"stream {LOG}", LOG))])
    assert await append(stream, b"b") == NO_STREAM
    assert await stream.store.stream_bounds([LOG]) == {}
    await stream.store.keep_places({(LOG, "reader"): 1})
    assert await stream.store.place_in_stream((LOG, "reader")) is None


async def test_two_streams_of_a_batch_have_offsets_of_their_own(stream: Harness) -> None:
    await declare(stream, INVOICES)
    both = [StreamAppend(OTHER, messages(b"x", b"y", queue=INVOICES)), StreamAppend(LOG, messages(b"a"))]
    await stream.store.write(Batch(appends=both))
    assert [each.first for each in both] == [0, 0]
    assert (await read(stream), await read(stream, queue_id=OTHER)) == ({0: b"a"}, {0: b"x", 1: b"y"})


async def test_messages_of_queues_are_written_with_those_of_streams(stream: Harness) -> None:
    inserted = message(5, INVOICES)
    await stream.store.write(Batch([inserted], appends=[StreamAppend(LOG, messages(b"a"))], high_water=5))
    assert (await stream.ids(INVOICES), await read(stream)) == ([5], {0: b"a"})


async def test_bounds_tell_offsets_and_octets(stream: Harness) -> None:
    assert await stream.store.stream_bounds([LOG, OTHER]) == {}
    await append(stream, b"a", b"b")
    one = (await stream.store.stream_bounds([LOG]))[LOG]
    await append(stream, b"c", b"d")
    two = (await stream.store.stream_bounds([OTHER, LOG])).get(LOG, NOTHING)
    assert (one.first, one.end, two) == (0, 2, StreamBounds(0, 4, 2 * one.octets))


async def test_a_time_is_found_by_the_first_segment_that_has_something_so_young(stream: Harness) -> None:
    for number in range(20):
        await append(stream, b"a", b"b", b"c", at_ms=1_900_000_000_000 + 1000 * number)
    find = stream.store.find_in_stream
    for number in range(20):
        assert await find(LOG, 1_900_000_000_000 + 1000 * number) == 3 * number
        assert await find(LOG, 1_900_000_000_000 + 1000 * number - 999) == 3 * number
    assert (await find(LOG, 0), await find(LOG, 1_900_000_019_001), await find(OTHER, 0)) == (0, None, None)


async def test_times_never_go_back_within_a_stream(stream: Harness) -> None:
    await append(stream, b"late", at_ms=1_900_000_009_000)
    await append(stream, b"of another clock", at_ms=1_900_000_001_000)
    assert await stream.store.find_in_stream(LOG, 1_900_000_009_000) == 0


async def test_retention_by_octets_never_leaves_less_than_it_has_to(stream: Harness) -> None:
    for _ in range(10):
        await append(stream, b"x" * 1000)
    whole = (await stream.store.stream_bounds([LOG]))[LOG].octets
    keep = whole // 10 * 4 + 1
    assert await stream.store.trim_stream(LOG, TrimRule(keep, None), 100) == 5
    left = (await stream.store.stream_bounds([LOG]))[LOG]
    assert (left.first, left.end) == (5, 10)
    assert left.octets >= keep
    assert await stream.store.trim_stream(LOG, TrimRule(keep, None), 100) == 0


async def test_retention_by_age_leaves_what_is_young_enough(stream: Harness) -> None:
    for number in range(6):
        await append(stream, b"a", b"b", at_ms=1_900_000_000_000 + 1000 * number)
    assert await stream.store.trim_stream(LOG, TrimRule(None, 1_900_000_003_000), 100) == 3
    assert list(await read(stream)) == [6, 7, 8, 9, 10, 11]


async def test_the_last_segment_stays_and_offsets_go_on_behind_it(stream: Harness) -> None:
    for body in (b"a", b"b", b"c"):
        await append(stream, body)
    assert await stream.store.trim_stream(LOG, TrimRule(0, 1_900_000_999_000), 100) == 2
    assert (await read(stream), await append(stream, b"d")) == ({2: b"c"}, 3)


async def test_a_step_of_retention_is_bounded(stream: Harness) -> None:
    for _ in range(8):
        await append(stream, b"a")
    trim = stream.store.trim_stream
    assert [await trim(LOG, TrimRule(0, None), 3) for _ in range(4)] == [3, 3, 1, 0]


async def test_what_retention_has_deleted_is_skipped(stream: Harness) -> None:
    for body in (b"a", b"b", b"c"):
        await append(stream, body)
    await stream.store.trim_stream(LOG, TrimRule(0, None), 100)
    page = await stream.store.read_stream(LOG, 0, ALL)
    assert (bodies(records(page)), page.end) == ({2: b"c"}, 3)


async def test_places_of_consumers_are_kept_by_stream_and_name(stream: Harness) -> None:
    store = stream.store
    await store.keep_places({(LOG, "b"): 7, (LOG, "a"): 3})
    await store.keep_places({(LOG, "a"): 5, (OTHER, "a"): 9})
    assert await store.places_in_stream(LOG) == {"a": 5, "b": 7}
    await stream.crash()
    assert [await stream.store.place_in_stream((queue, "a")) for queue in (LOG, OTHER)] == [5, None]
    assert [await stream.store.forget_place((LOG, "a")) for _ in range(2)] == [True, False]
    assert await stream.store.place_in_stream((LOG, "a")) is None


async def test_nodes_that_append_at_once_share_the_offsets_without_a_gap(nodes: Nodes) -> None:
    if nodes.is_single:
        pytest.skip("one node has a SQLite store for itself")
    first, second = await nodes.join("node-a"), await nodes.join("node-b")
    record = QueueRecord("/", "log", LOG, False, False, b"", True)
    await first.store.record([Put(VirtualHostRecord("/")), Put(record)])
    written: list[StreamAppend] = []

    async def publish(store: object, name: bytes) -> None:
        for number in range(20):
            each = StreamAppend(LOG, messages(b"%s %d" % (name, number), b"more"))
            await store.write(Batch(appends=[each]))  # type: ignore[attr-defined]
            written.append(each)

    await asyncio.gather(publish(first.store, b"a"), publish(second.store, b"b"))
    assert sorted(each.first for each in written) == list(range(0, 80, 2))
    page = await second.store.read_stream(LOG, 0, ALL)
    found = bodies(records(page))
    assert list(found) == list(range(80))
    assert all(found[each.first] == each.messages[0].payload for each in written)


async def test_bounds_of_many_streams_are_found_together(stream: Harness) -> None:
    others = [Queue(100 + number) for number in range(30)]
    await declare(stream, *others)
    for number, each in enumerate(others):
        for _ in range(number % 4):
            await append(stream, b"a", b"b", queue=each)
    found = await stream.store.stream_bounds([each.queue_id for each in others])
    assert {key - 100: each.end for key, each in found.items()} == {
        number: 2 * (number % 4) for number in range(30) if number % 4
    }


@pytest.mark.parametrize("on_server", ["mariadb"], indirect=True)
async def test_the_ends_of_long_streams_are_found_without_a_look_at_what_lies_between(on_server: OnServer) -> None:
    """It is MariaDB that would read all of it for min() and max(), and that counts what it has read."""
    node = await on_server.nodes.join("a")
    records = [QueueRecord("/", f"stream {number}", number) for number in (100, 101)]
    await node.store.record([Put(VirtualHostRecord("/")), *map(Put, records)])
    fill = "SELECT 100 + seq % 2, seq, 0, 2, seq, seq, 1, 0, x'00' FROM seq_0_to_999"
    on_server.sql(f'INSERT INTO "MB_STREAM_SEGMENT" {fill}; ANALYZE TABLE "MB_STREAM_SEGMENT", "MB_QUEUE"')

    def rows_read() -> int:
        return sum(int(line.split()[1]) for line in on_server.sql("SHOW GLOBAL STATUS LIKE 'Handler_read%'"))

    before = rows_read()
    found = await node.store.stream_bounds([100, 101])

    assert rows_read() - before < 200
    assert found == {100: StreamBounds(0, 1000, 999), 101: StreamBounds(1, 1001, 999)}
