from __future__ import annotations

from dataclasses import dataclass

from broker.message import STORED, WRITING, Message, body_tails, tail
from broker.store.rows import message_of, metadata_of, name_large_content


@dataclass
class Queue:
    queue_id: int = 7


def message(body: bytes, frame_max: int = 131_072) -> Message:
    return Message(5, Queue(), b"\x01e\x00", tail(b"header"), *body_tails(body, frame_max), WRITING)


def test_metadata_is_routing_and_header_payload() -> None:
    assert metadata_of(message(b"x")) == b"\x01e\x00header"


def test_a_row_becomes_the_message_it_was() -> None:
    stored = message_of(5, Queue(), b"\x01e\x00header", b"body", STORED)

    assert (stored.id, stored.routing, stored.header, stored.body) == (5, b"\x01e\x00", tail(b"header"), tail(b"body"))
    assert stored.state == STORED


def test_exchange_and_routing_key_may_both_be_empty() -> None:
    stored = message_of(5, Queue(), b"\x00\x00header", b"", STORED)

    assert (stored.routing, stored.header_payload, stored.body) == (b"\x00\x00", b"header", b"")


def test_only_a_body_above_65500_octets_is_named_content() -> None:
    short, long = message(b"x" * 65_500), message(b"x" * 65_501)

    name_large_content([short, long])

    assert (short.content_id, long.content_id) == (0, 5)


def test_the_octets_count_and_not_the_frames() -> None:
    short, long = message(b"x" * 100, frame_max=18), message(b"x" * 65_501, frame_max=4096)

    name_large_content([short, long])

    assert (short.content_id, long.content_id) == (0, 5)


def test_a_content_id_that_is_there_stays() -> None:
    shared = message(b"x" * 70_000)
    shared.content_id = 3

    name_large_content([shared])

    assert shared.content_id == 3
