"""Records of streams: what is written of messages, and what is delivered of it."""

from __future__ import annotations

import pytest

from broker.codec.field_table import FieldTable
from broker.codec.properties import BasicProperties, decode_properties, encode_header
from broker.codec.stream_records import SEGMENT_OCTETS, RecordReader, StreamRecord, encode_segments, filter_value
from broker.message import STORED, Message, body_tails, first_id_at, tail


class Log:
    queue_id = 7
    is_stream = True


def message(body: bytes = b"hello", number: int = 0, frame_max: int = 131_072, **properties: object) -> Message:
    header = encode_header(len(body), BasicProperties(**properties))  # type: ignore[arg-type]
    made_id = first_id_at(1_900_000_000_000) + number
    return Message(made_id, Log(), b"\x01e\x03key", tail(header), *body_tails(body, frame_max), STORED)


def decoded(*messages: Message, first: int = 0) -> list[StreamRecord]:
    records: list[StreamRecord] = []
    for segment in encode_segments(messages):
        records += RecordReader().decode(segment.content, first + len(records), segment.count)
    return records


def payload(record: StreamRecord) -> bytes:
    return record.body[4:-1] if record.chunks is None else b"".join(chunk[4:-1] for chunk in record.chunks)


@pytest.mark.parametrize(
    "body", [b"", b"x", b"x" * 65_000, b"x" * 131_063, b"x" * 131_064, b"x" * 131_080, b"x" * 400_000]
)
@pytest.mark.parametrize("frame_max", [4096, 131_072])
def test_a_body_comes_back_in_frames_of_this_brokers_size(body: bytes, frame_max: int) -> None:
    (record,) = decoded(message(body, frame_max=frame_max))
    assert payload(record) == body
    assert all(len(chunk) <= 131_072 - 3 for chunk in record.chunks or ())


def test_messages_are_put_into_segments_until_these_are_full() -> None:
    third = SEGMENT_OCTETS // 3
    sizes = [third, third, third, 10, 2 * SEGMENT_OCTETS, 10]
    segments = encode_segments([message(b"x" * size, number) for number, size in enumerate(sizes)])
    assert [segment.count for segment in segments] == [2, 2, 1, 1]
    assert sum(segment.count for segment in segments) == len(sizes)


def test_a_segment_tells_when_its_youngest_message_was_published() -> None:
    late, early = message(number=5 << 18), message(number=2 << 18)
    assert [segment.last_ms for segment in encode_segments([late, early])] == [1_900_000_000_005]


def test_each_record_tells_its_offset_beside_its_own_headers() -> None:
    own = {"a": "b", "x-stream-offset": "mine"}
    plain, with_headers = message(content_type="text/plain"), message(headers=FieldTable.of(own), priority=3)
    records = decoded(plain, with_headers, first=40)
    found = [decode_properties(record.header[4:-1]) for record in records]
    assert [each.headers.values for each in found if each.headers is not None] == [
        {"x-stream-offset": 40},
        {"a": "b", "x-stream-offset": 41},
    ]
    assert (found[0].content_type, found[1].priority) == ("text/plain", 3)


def test_what_was_appended_makes_the_same_records_as_what_is_read() -> None:
    messages = [message(b"%d" % number, number, headers=FieldTable.of({"n": number})) for number in range(5)]
    assert RecordReader().of_messages(messages, 10) == decoded(*messages, first=10)


def test_a_header_that_cannot_be_read_is_delivered_without_its_properties() -> None:
    broken = message()
    broken.header = tail(b"\x00\x3c\x00\x00" + (5).to_bytes(8, "big") + b"\x80\x00\xff")
    (record,) = decoded(broken)
    properties = decode_properties(record.header[4:-1])
    assert properties.headers is not None
    assert properties.headers.values == {"x-stream-offset": 0}


@pytest.mark.parametrize(("cut", "count"), [(1, 1), (30, 1), (0, 2)])
def test_octets_that_are_no_segment_are_refused(cut: int, count: int) -> None:
    (segment,) = encode_segments([message()])
    with pytest.raises(ValueError, match=r"octets|buffer"):
        RecordReader().decode(segment.content[: len(segment.content) - cut], 0, count)


@pytest.mark.parametrize(
    ("headers", "value"),
    [
        (None, None),
        ({"x-stream-filter-value": "eu"}, "eu"),
        ({"x-stream-filter-value": 5}, None),
        ({"other": "x-stream-filter-value"}, None),
    ],
)
def test_a_filter_sees_the_header_that_is_for_it(headers: dict[str, object] | None, value: str | None) -> None:
    (record,) = decoded(message(headers=None if headers is None else FieldTable.of(headers)))
    assert filter_value(record.header) == value
